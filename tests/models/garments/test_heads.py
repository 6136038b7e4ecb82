"""The heads and the encoder against slow forms, and the scale of realism."""

import math

import torch

from models.garments.encoder import Encoder, PictureEncoder, divergence
from models.garments.features import FrozenFeatures, summary
from models.garments.heads import (
    Heads,
    Realism,
    adversarial_loss,
    hinge_loss,
    mean_logit,
    within_class,
)
from models.garments.prior import Prior
from tests.models.garments.tiny import TINY, trunk

SIDES = [8, 4, 2, 1]


def maps(rows: int, seed: int = 0) -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 8, side, side, generator=noise) for side in SIDES]


def test_the_deviation_within_a_class_equals_a_loop_over_classes() -> None:
    h, labels = torch.randn(7, 3, 2, 2), torch.tensor([0, 0, 2, 0, 2, 1, 2])
    found = within_class(h, torch.nn.functional.one_hot(labels, 4).float())
    for c in (0, 2):
        torch.testing.assert_close(found[c], h[labels == c].std(dim=0, correction=0).mean(), atol=1e-4, rtol=1e-3)
    assert (found[[1, 3]] < 1e-3).all()  # one row, and none


def test_alike_rows_change_the_logits_only_through_the_deviation_of_their_class() -> None:
    heads = Heads(TINY, SIDES).eval()
    varied, labels = maps(6), torch.tensor([0, 0, 0, 1, 1, 1])
    alike = [torch.cat([scale[:3], scale[3:4].expand(3, -1, -1, -1)]) for scale in varied]
    for before, after in zip(heads(varied, labels), heads(alike, labels), strict=True):
        torch.testing.assert_close(before[:3], after[:3])
        assert not torch.allclose(before[3], after[3])


def test_with_given_deviations_rows_do_not_depend_on_each_other() -> None:
    heads, features, labels = Heads(TINY, SIDES).eval(), maps(6), torch.tensor([0, 1, 0, 1, 1, 0])
    given = heads.deviations(features, labels)
    whole = mean_logit(heads(features, labels, given))
    for row in range(6):
        alone = heads([scale[row : row + 1] for scale in features], labels[row : row + 1], given)
        torch.testing.assert_close(mean_logit(alone)[0], whole[row], atol=1e-5, rtol=1e-4)


def test_the_losses_are_the_hinge_by_hand() -> None:
    real, fake = [torch.tensor([[0.5, 2.0]])], [torch.tensor([[-3.0, 1.0]])]
    assert hinge_loss(real, fake).item() == (0.5 + 0.0) / 2 + (0.0 + 2.0) / 2
    assert adversarial_loss(fake).item() == 1.0


def test_every_weight_of_a_head_has_spectral_norm_one() -> None:
    heads = Heads(TINY, SIDES).train()
    for _ in range(50):
        heads(maps(4), torch.tensor([0, 1, 0, 1]))
    heads.eval()
    for head in heads.each:
        for layer in (*head.halving, head.conv, head.output, head.projection):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
            torch.testing.assert_close(largest, torch.tensor(1.0), atol=0.02, rtol=0)


def test_realism_is_1_at_the_mean_of_a_class_and_0_two_deviations_below() -> None:
    heads = Heads(TINY, SIDES).eval()
    realism = Realism(FrozenFeatures(trunk(), 8, 0), heads).eval()
    labels = torch.tensor([0, 1] * 6)
    batches = [(maps(12, seed), labels) for seed in range(4)]
    realism.calibrate(batches)
    for c in range(2):
        logits = torch.cat([mean_logit(heads(f, y, list(realism.deviation)))[y == c] for f, y in batches])
        below = logits.mean() - 2 * logits.std(correction=0)
        for logit, wanted in ((logits.mean(), 1.0), (below, 0.0)):
            torch.testing.assert_close(realism._scaled(logit[None], torch.tensor([c])), torch.tensor([wanted]),
                                       atol=1e-4, rtol=0)  # fmt: skip


def test_realism_gives_gradients_to_the_pictures() -> None:
    realism = Realism(FrozenFeatures(trunk(), 8, 0), Heads(TINY, SIDES)).eval()
    pictures = torch.rand(2, 3, 32, 32, requires_grad=True)
    realism(pictures, torch.tensor([0, 1])).sum().backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0


def test_the_divergence_equals_that_of_torch() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    ours = torch.distributions.Normal(mean, (log_variance / 2).exp())
    slow = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(divergence(mean, log_variance), slow)


def test_the_encoder_standardises_its_inputs_on_the_training_pictures() -> None:
    encoder, inputs = Encoder(TINY, 5), torch.randn(40, 5) * torch.tensor([1.0, 9, 0, 2, 3]) + 7
    encoder.standardise(inputs)
    standard = (inputs - encoder.mean) / encoder.spread
    torch.testing.assert_close(standard.mean(dim=0), torch.zeros(5), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard[:, [0, 1, 3, 4]].std(dim=0, correction=0), torch.ones(4))
    mean, log_variance = encoder(inputs)
    assert mean.shape == log_variance.shape == (40, 6)
    assert mean.abs().max() < 1
    assert math.isclose(log_variance.mean().item(), 0, abs_tol=0.2)


def test_a_pictures_z_is_the_one_whose_code_is_the_encoders_mean() -> None:
    features, prior = FrozenFeatures(trunk(), 8, 0), Prior(2, 6)
    encoder = Encoder(TINY, features.shapes(32)[0])
    prior.fit(torch.randn(20, 6), torch.full((20, 6), 0.1), torch.arange(20) % 2)
    pictures, labels = torch.rand(3, 3, 32, 32), torch.tensor([1, 0, 1])
    z = PictureEncoder(features, encoder, prior)(pictures, labels)
    mean, _ = encoder(summary(features.stored(pictures), pictures))
    torch.testing.assert_close(prior.code(z, labels), mean, atol=1e-4, rtol=1e-4)
