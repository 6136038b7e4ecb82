"""The generator on frozen features: its upsampling and prior equal their slow forms, and it fits where G is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.garments.generator import ConditionalNorm, Generator, settle
from models.garments.prior import Prior
from models.garments.upsampling import UpsampledConv
from tests.models.garments.tiny import TINY


def test_upsampling_equals_nearest_enlargement_and_a_3x3_convolution() -> None:
    layer = UpsampledConv(5, 3).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    slow = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)
    fast = layer(x)
    torch.testing.assert_close(fast, slow)
    seen = torch.randn_like(slow)
    inputs = [x, layer.weight, layer.bias]
    for ours, wanted in zip(*(torch.autograd.grad((y * seen).sum(), inputs) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_generator_follows_the_size(size: int) -> None:
    generator = Generator(replace(TINY, size=size)).eval()
    pictures = generator(torch.randn(3, 6), torch.tensor([0, 1, 1]))
    assert pictures.shape == (3, 3, size, size)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1


def test_a_norm_starts_near_plain_batch_norm_and_depends_on_the_condition() -> None:
    generator = Generator(TINY)
    norm, h = generator.norms()[0], torch.randn(16, 8, 4, 4)
    condition = torch.randn(16, 10)
    plain = F.batch_norm(h, None, None, training=True)
    torch.testing.assert_close(norm(h, torch.zeros(16, 10)), plain)
    assert 0.01 < (norm(h, condition) - plain).std() < 0.3


def test_the_scale_and_shift_of_a_row_are_linear_in_its_condition() -> None:
    norm = ConditionalNorm(2, 3)
    h, condition = torch.randn(4, 2, 5, 5), torch.randn(4, 3)
    wanted = torch.empty_like(h)
    for row in range(4):
        values = norm.modulation.weight @ condition[row] + norm.modulation.bias
        for channel in range(2):
            apart = h[row, channel] - h[:, channel].mean()
            normal = apart / (h[:, channel].var(correction=0) + 1e-5).sqrt()
            wanted[row, channel] = normal * (1 + values[channel]) + values[2 + channel]
    torch.testing.assert_close(norm(h, condition), wanted)


def test_gradients_reach_z_through_the_prior() -> None:
    generator = Generator(TINY).eval()
    z = torch.randn(2, 6, requires_grad=True)
    generator(z, torch.tensor([0, 1])).sum().backward()
    assert z.grad is not None
    assert (z.grad != 0).all()


def fitted() -> tuple[Prior, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = np.array([0] * 40 + [1] * 30)
    means = rng.normal(size=(70, 6)) @ rng.normal(size=(6, 6)) + labels[:, None]
    variances = rng.uniform(0.1, 0.4, size=(70, 6))
    prior = Prior(2, 6)
    prior.fit(torch.from_numpy(means), torch.from_numpy(variances), torch.from_numpy(labels))
    return prior, means, variances, labels


def test_the_prior_of_a_class_has_the_mean_and_covariance_of_its_codes() -> None:
    prior, means, variances, labels = fitted()
    for c in range(2):
        of_class = means[labels == c]
        covariance = np.cov(of_class.T, bias=True) + np.diag(variances[labels == c].mean(axis=0))
        factor = prior.factor[c].double().numpy()
        np.testing.assert_allclose(prior.mean[c], of_class.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-4, atol=1e-5)


def test_the_generator_with_a_prior_equals_the_explicit_transform_of_z() -> None:
    generator = Generator(TINY).eval()
    prior, *_ = fitted()
    generator.prior.load_state_dict(prior.state_dict())
    z, y = torch.randn(4, 6), torch.tensor([0, 1, 1, 0])
    codes = torch.stack([prior.factor[c] @ row + prior.mean[c] for row, c in zip(z, y.tolist(), strict=True)])
    torch.testing.assert_close(generator(z, y), generator.decode(codes, y), atol=1e-5, rtol=1e-4)


def test_latent_undoes_code() -> None:
    prior, *_ = fitted()
    z, y = torch.randn(4, 6), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(prior.latent(prior.code(z, y), y), z, atol=1e-4, rtol=1e-4)


def test_the_prior_of_a_class_with_one_picture_is_its_posterior() -> None:
    prior = Prior(2, 3)
    mean = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    prior.fit(mean, torch.full((3, 3), 0.25), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(prior.mean[0], mean[0])
    torch.testing.assert_close(prior.factor[0], 0.5 * torch.eye(3))


def test_an_unfitted_prior_changes_nothing() -> None:
    z = torch.randn(3, 6)
    assert torch.equal(Prior(2, 6).code(z, torch.tensor([0, 1, 0])), z)


def test_settled_norms_hold_the_statistics_of_the_priors_codes() -> None:
    generator = Generator(TINY)
    prior, *_ = fitted()
    generator.prior.load_state_dict(prior.state_dict())
    settle(generator, 3, seed=5)
    noise = torch.Generator().manual_seed(5)
    labels = torch.arange(64) % 2
    inputs = []
    for _ in range(3):
        code = prior.code(torch.randn(64, 6, generator=noise), labels)
        y = generator.embedding(F.one_hot(labels, 2).float())
        inputs.append(generator.input(torch.cat([code, y], dim=1)).unflatten(1, (-1, 4, 4)))
    mean = torch.stack([h.mean(dim=(0, 2, 3)) for h in inputs]).mean(dim=0)
    torch.testing.assert_close(generator.norms()[0].norm.running_mean, mean)
    assert not generator.training
