"""The loss, its gradients and the optimiser equal K17's in every term."""

import numpy as np
import pytest
import torch

from models.dvbpr import objective as dvbpr
from models.dvbpr.cnnf import CNNF
from tests.models.dvbpr.test_cnnf import slow_forward


def slow_loss(theta: np.ndarray, user: list[int], positive: np.ndarray, negative: np.ndarray, decay: float) -> float:
    total = 0.0
    for row, u in enumerate(user):
        x = float(theta[u] @ positive[row] - theta[u] @ negative[row])
        total += -np.log(1 / (1 + np.exp(-x)))
        total += decay * float(theta[u] @ theta[u]) / 2
    return total


def hand_made() -> tuple[np.ndarray, list[int], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(3, 2)), [0, 2, 2], rng.normal(size=(3, 2)), rng.normal(size=(3, 2))


def test_the_loss_is_the_published_sum_and_theta_is_regularised_once_per_occurrence() -> None:
    theta, user, positive, negative = hand_made()
    tensors = [torch.from_numpy(array) for array in (theta[user], positive, negative[:, None])]
    assert float(dvbpr.loss(*tensors, theta_decay=0.7)) == pytest.approx(
        slow_loss(theta, user, positive, negative, 0.7)
    )
    # user 2 occurs twice and weighs twice; user 1 does not occur and does not weigh
    plain = float(dvbpr.loss(*tensors, theta_decay=0.0))
    regularised = float(dvbpr.loss(*tensors, theta_decay=1.0)) - plain
    assert regularised == pytest.approx((theta[0] @ theta[0] + 2 * theta[2] @ theta[2]) / 2)


def test_the_loss_of_one_triplet_equals_a_hand_computed_value() -> None:
    theta, positive, negative = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[[0.0, 1.0]]])
    # x = 3 - 2 = 1; -ln sigmoid(1) = 0.313262; 1 * (1 + 4) / 2 = 2.5
    assert float(dvbpr.loss(theta, positive, negative, 1.0)) == pytest.approx(2.813262, abs=1e-6)


def test_the_loss_stays_finite_where_the_logarithm_of_a_sigmoid_would_not() -> None:
    theta, far = torch.tensor([[1.0]]), torch.tensor([[[500.0]]])
    assert float(dvbpr.loss(theta, torch.zeros(1, 1), far, 0.0)) == pytest.approx(500.0)


def test_the_objective_and_all_its_gradients_equal_float64_numpy() -> None:
    """Checks K17's whole objective on a batch of three: sums, half squares, the eight weight tensors and no bias.

    The value comes from numpy loops, the gradients from finite differences of every number of every tensor.
    """
    theta_decay, weight_decay = 0.7, 0.3
    generator = torch.Generator().manual_seed(0)
    cnn = CNNF(2, input_size=39, padding="same", width=1 / 64, hidden=1 / 1024, generator=generator).double().eval()
    with torch.no_grad():
        for bias in cnn.biases():
            bias.uniform_(0.05, 0.2, generator=generator)
    theta = torch.nn.Parameter(torch.rand(3, 2, dtype=torch.float64, generator=generator))
    user = [0, 2, 2]
    pictures = torch.rand(6, 3, 39, 39, dtype=torch.float64, generator=generator) * 2 - 1

    def objective(phi: np.ndarray) -> float:
        pairs = phi.reshape(3, 2, 2)
        weights = sum(float((p.detach().numpy() ** 2).sum()) / 2 for p in cnn.weights())
        ranking = slow_loss(theta.detach().numpy(), user, pairs[:, 0], pairs[:, 1], theta_decay)
        return ranking + weight_decay * weights

    @torch.no_grad()
    def nudged() -> float:
        return objective(cnn(pictures).numpy())

    phi = cnn(pictures).unflatten(0, (3, 2))
    loss = dvbpr.loss(theta[user], phi[:, 0], phi[:, 1:], theta_decay)
    loss.backward()
    halves = sum(float(p.detach().pow(2).sum()) / 2 for p in cnn.weights())
    by_loops = objective(np.stack([slow_forward(cnn, picture.numpy()) for picture in pictures]))
    assert loss.item() + weight_decay * halves == pytest.approx(by_loops, rel=1e-10)
    assert len(list(cnn.named_parameters())) == 16
    for name, parameter in [*cnn.named_parameters(), ("theta", theta)]:
        decay = weight_decay if name.endswith("weight") else 0.0  # what coupled L2 adds to the gradient
        flat, gradient = parameter.data.view(-1), (parameter.grad + decay * parameter.data).view(-1)
        expected = np.empty(len(flat))
        for index in range(len(flat)):
            kept, step = float(flat[index]), 1e-6
            flat[index] = kept + step
            above = nudged()
            flat[index] = kept - step
            expected[index] = (above - nudged()) / (2 * step)
            flat[index] = kept
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-7, err_msg=name)
    assert not theta.grad[1].any()  # a user who is not in the batch


def test_several_negatives_count_as_one_triplet() -> None:
    theta, _, positive, negative = hand_made()
    one = dvbpr.loss(*(torch.from_numpy(a) for a in (theta, positive, negative[:, None])), theta_decay=1.0)
    thrice = dvbpr.loss(
        *(torch.from_numpy(a) for a in (theta, positive, negative[:, None].repeat(3, 1))), theta_decay=1.0
    )
    assert float(one) == pytest.approx(float(thrice))


def test_a_step_is_adam_with_coupled_l2_on_the_weights_only() -> None:
    cnn = CNNF(2, input_size=39, padding="valid", width=1 / 64, hidden=1 / 1024).double()
    theta = torch.nn.Parameter(torch.rand(3, 2, dtype=torch.float64))
    with torch.no_grad():
        for bias in cnn.biases():
            bias.fill_(0.5)
    adam = dvbpr.optimiser(cnn, theta, learning_rate=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.3)
    generator = torch.Generator().manual_seed(5)
    parameters = [(name, p, p.detach().numpy().copy()) for name, p in [*cnn.named_parameters(), ("theta", theta)]]
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, _, value in parameters}
    expected = {name: value for name, _, value in parameters}
    for step in (1, 2, 3):
        for name, parameter, _ in parameters:
            parameter.grad = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            gradient = parameter.grad.numpy().copy()
            if name.endswith("weight"):
                gradient = gradient + 0.3 * expected[name]  # of 0.3 * ||W||^2 / 2, inside the moments: not AdamW
            first, second = moments[name]
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            moments[name] = first, second
            update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            expected[name] = expected[name] - 0.01 * update
        adam.step()
    for name, parameter, _ in parameters:
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], rtol=1e-6, err_msg=name)


def test_theta_starts_uniform_between_zero_and_a_hundredth() -> None:
    theta = dvbpr.initial_theta(2000, 50, torch.Generator().manual_seed(0)).detach()
    assert 0 <= float(theta.min()) < 1e-6 < 0.00999 < float(theta.max()) <= 0.01
    assert float(theta.mean()) == pytest.approx(0.005, abs=5e-5)


def test_a_users_moments_decay_in_steps_that_do_not_touch_the_user() -> None:
    cnn = CNNF(2, input_size=39, padding="valid", width=1 / 64, hidden=1 / 1024)
    theta = dvbpr.initial_theta(2, 2)
    adam = dvbpr.optimiser(cnn, theta, learning_rate=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for user in (0, 1):
        adam.zero_grad()
        dvbpr.loss(theta[[user]], torch.ones(1, 2), torch.zeros(1, 1, 2), 1.0).backward()
        before = adam.state[theta]["exp_avg"][0].clone() if user else None
        adam.step()
    torch.testing.assert_close(adam.state[theta]["exp_avg"][0], 0.9 * before)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        dvbpr.loss(torch.zeros(4, 2), torch.zeros(1, 2), torch.zeros(4, 1, 2), 1.0)
    with pytest.raises(ValueError, match="do not fit"):
        dvbpr.loss(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(4, 2), 1.0)
    with pytest.raises(ValueError, match="one shape"):
        dvbpr.score(torch.zeros(4, 1), torch.zeros(4, 2))
