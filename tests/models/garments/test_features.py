"""Frozen features: calibrated to unit spread, cached as computed fresh, and never of another trunk by mistake."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.data.pictures import normalise
from models.garments.features import FrozenFeatures, TrainingFeatures, check_maps, summary
from models.garments.trunk import RandomTrunk, read_trunk
from models.training.files import UnusableFileError
from tests.models.garments.tiny import garments, trunk

PIXELS = torch.from_numpy(garments()[0])


def calibrated() -> FrozenFeatures:
    features = FrozenFeatures(trunk(), mixed=8, seed=0)
    features.calibrate(PIXELS)
    return features


def test_each_scale_has_unit_spread_on_the_pictures_that_calibrate_it() -> None:
    for scale in calibrated()(normalise(PIXELS)):
        torch.testing.assert_close(scale.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_mixing_adds_the_upsampled_coarser_scale_to_each_finer_one() -> None:
    features, pictures = calibrated(), normalise(PIXELS[:3])
    maps, wanted = features.trunk(pictures), None
    for place in (3, 2, 1, 0):
        mixed = F.conv2d(maps[place], features.across[place].weight)
        if wanted is not None:
            mixed = mixed + F.conv2d(F.interpolate(wanted, scale_factor=2), features.down[place].weight, padding=1)
        wanted = mixed
        torch.testing.assert_close(features(pictures)[place], wanted, atol=1e-4, rtol=1e-4)


def test_the_gradient_of_the_pictures_flows_and_that_of_the_weights_does_not() -> None:
    features, pictures = calibrated(), normalise(PIXELS[:2]).requires_grad_()
    sum(scale.square().sum() for scale in features(pictures)).backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in features.parameters())


@pytest.mark.parametrize("gigabytes", [1.0, 0.0], ids=["kept", "computed whenever asked for"])
def test_cached_features_equal_fresh_ones(gigabytes: float) -> None:
    features = calibrated()
    cached = TrainingFeatures(features, PIXELS, gigabytes)
    assert (cached.kept is not None) == (gigabytes > 0)
    rows = torch.tensor([5, 0, 13, 5])
    fresh = features(normalise(PIXELS[rows]))
    for ours, wanted in zip(cached(rows), fresh, strict=True):
        # The last bit of bfloat16: the convolutions of another batch may round another way.
        torch.testing.assert_close(ours, wanted, rtol=2**-7, atol=1e-3)
    stored = [scale.bfloat16() for scale in fresh]
    torch.testing.assert_close(cached.summaries[rows], summary(stored, normalise(PIXELS[rows])), atol=1e-2, rtol=1e-2)


def test_the_summary_pools_each_scale_to_2x2_and_the_picture_to_8x8() -> None:
    features, pictures = calibrated(), normalise(PIXELS[:2])
    found = summary(features.stored(pictures), pictures)
    assert found.shape == (2, features.shapes(32)[0]) == (2, 4 * 8 * 4 + 3 * 64)
    corner = features.stored(pictures)[0][0, 0].float()[: 8 // 2, : 8 // 2].mean()
    torch.testing.assert_close(found[0, 0], corner, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(found[1, 4 * 8 * 4], pictures[1, 0, :4, :4].mean())


def test_a_trunk_with_other_maps_is_refused() -> None:
    maps = [torch.zeros(1, 4, side, side) for side in (8, 4, 4, 2)]
    with pytest.raises(ValueError, match="four are needed, each half as wide"):
        check_maps(maps)
    with pytest.raises(ValueError, match="four are needed"):
        check_maps(maps[:2])


def test_another_trunk_is_noticed_and_the_same_one_is_not() -> None:
    state = calibrated().mixing()
    assert not [name for name in state if name.startswith("trunk")]
    again, other = FrozenFeatures(trunk(), 8, seed=9), FrozenFeatures(RandomTrunk(seed=1, width=0.2), 8, seed=9)
    for features in (again, other):
        features.load_mixing(state)
    again.expect_same_trunk(32)
    with pytest.raises(ValueError, match="the features of another trunk"):
        other.expect_same_trunk(32)


def test_features_stay_in_eval_mode_inside_a_network_that_trains() -> None:
    around = torch.nn.Sequential(calibrated())
    around.train()
    assert not any(module.training for module in around[0].modules())


def test_an_exported_trunk_is_read_from_its_file(tmp_path) -> None:
    rows = torch.export.Dim("rows")
    program = torch.export.export(trunk(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: rows},))
    torch.export.save(program, tmp_path / "trunk.pt2")
    read, pictures = read_trunk(tmp_path / "trunk.pt2").eval(), normalise(PIXELS[:3])
    for ours, wanted in zip(read(pictures), trunk()(pictures), strict=True):
        torch.testing.assert_close(ours, wanted)
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(UnusableFileError, match="export the trunk again"):
        read_trunk(tmp_path / "other.npy")
