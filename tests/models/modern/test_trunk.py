"""The trunk is trained only in its own epochs and last layers; scores then use its features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.data.augment import diff_augment
from models.data.dataset import Dataset
from models.data.pictures import normalise
from models.modern import model as modern
from models.modern.settings import ModernSettings
from models.modern.train import FROZEN, TrainedModern, load, train
from models.modern.trunk import Pixels, Trunk, retrained
from models.training import checkpoint
from models.training.divergence import DivergedError
from tests.models.planted import planted
from tests.models.training.killed import KilledError, kill_at

CPU = torch.device("cpu")
TINY = ModernSettings(
    k=4, components=5, epochs=2, batch_size=32, negatives=16, early_stopping_patience=None,
    trunk_epochs=2, trunk_layers=2, trunk_batch=16, trunk_negatives=8, trunk_rate=1e-2, trunk_augment="mirror,crop",
)  # fmt: skip
LAST_TWO = ["4.bias", "4.weight", "7.bias", "7.weight"]


def small_trunk(size: int = 16) -> Trunk:
    """Make a network of three weight layers and a batch norm whose statistics do not fit the planted pictures."""
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(6, 6, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 8),
    ).eval()  # fmt: skip
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.nn.init.constant_(norm.running_mean, 0.3)
    return Trunk(network, size)


def frozen(data: Dataset, trunk: Trunk) -> np.ndarray:
    """Compute features like the pipeline, without the code that trains the trunk."""
    with torch.no_grad():
        return trunk.network(normalise(torch.from_numpy(data.bank[data.bank_row]))).numpy()


def trained(out: Path, settings: ModernSettings = TINY, data: Dataset | None = None, on_progress=None) -> TrainedModern:
    data, trunk = data or planted(), small_trunk()
    return train(data, frozen(data, trunk), settings, out, CPU, on_progress, trunk)


def kept_trunk(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / name)["trunk"]


def test_the_trunk_is_trained_only_after_the_frozen_epochs_and_only_in_its_last_layers(tmp_path: Path) -> None:
    trunk = small_trunk()
    before = {name: value.clone() for name, value in trunk.network.state_dict().items()}
    found = trained(tmp_path)
    assert [row["epoch"] for row in found.history] == [1, 2, 3, 4]
    assert kept_trunk(tmp_path / FROZEN) == {}
    learnt = kept_trunk(tmp_path)
    assert sorted(learnt) == LAST_TWO
    assert not any(torch.equal(learnt[name], before[name]) for name in LAST_TWO)


def test_batch_norms_and_the_given_network_are_not_changed(tmp_path: Path) -> None:
    data, trunk = planted(), small_trunk()
    before = {name: value.clone() for name, value in trunk.network.state_dict().items()}
    seen: list[Pixels] = []
    made = Pixels.__init__

    def noted(self: Pixels, *given: object) -> None:
        made(self, *given)  # ty: ignore[invalid-argument-type]
        seen.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pixels, "__init__", noted)
        train(data, frozen(data, trunk), replace(TINY, trunk_layers=99), tmp_path, CPU, trunk=trunk)
    after = seen[0].network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name.startswith("1."))
    assert not torch.equal(before["0.weight"], after["0.weight"])  # the convolutions are trained, the norm is not
    assert not seen[0].network.training  # so dropout is off
    assert all(torch.equal(value, before[name]) for name, value in trunk.network.state_dict().items())


def test_gradients_reach_only_the_trainable_layers() -> None:
    data = planted()
    pixels = Pixels(small_trunk(), 1, "mirror,crop", data, CPU)
    pixels.features(torch.arange(5)).square().sum().backward()
    reached = {name for name, weight in pixels.network.named_parameters() if weight.grad is not None}
    assert reached == {"7.weight", "7.bias"} == set(pixels.weights())
    assert Pixels(small_trunk(), 0, "", data, CPU).weights() == {}
    assert len(Pixels(small_trunk(), 99, "", data, CPU).weights()) == 6


def test_exported_pictures_use_the_trained_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, trunk = planted(), small_trunk()
    # Here it is up to chance whether an epoch beats the frozen model, so the test makes every epoch better.
    aucs = iter(np.linspace(0.6, 0.9, 100).tolist())
    monkeypatch.setattr("models.metrics.evaluate.exact_auc", lambda *_: next(aucs))
    found = trained(tmp_path, data=data)
    model, meta = load(tmp_path, CPU)
    assert (found.best_epoch, meta["epoch"]) == (4, 4)
    own = retrained(trunk.network, meta["trunk"])
    with torch.no_grad():
        phi = model.looks_of(torch.from_numpy(frozen(data, replace(trunk, network=own))))
        as_frozen = model.looks_of(torch.from_numpy(frozen(data, trunk)))
    assert not np.allclose(as_frozen, phi, atol=1e-3)
    unknown = ~np.isin(data.image_item, data.train[:, 1])  # the phi of other items includes an id part
    np.testing.assert_allclose(found.factors.phi[unknown], phi[unknown], rtol=1e-4, atol=1e-5)


def test_each_epoch_is_evaluated_with_the_features_of_its_trunk(tmp_path: Path, monkeypatch) -> None:
    aucs, factors = iter(np.linspace(0.6, 0.9, 100).tolist()), modern.factors
    monkeypatch.setattr("models.metrics.evaluate.exact_auc", lambda *_: next(aucs))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(model, histories, data, images, weight):
        seen.append((images, histories.sums))
        return factors(model, histories, data, images, weight)

    monkeypatch.setattr(modern, "factors", watched)
    trained(tmp_path)
    *epochs, end = seen  # one per epoch, and at the end that of the best epoch
    assert len(epochs) == 4
    for what in (0, 1):
        assert torch.equal(epochs[0][what], epochs[1][what])  # frozen
        assert not torch.allclose(epochs[1][what], epochs[2][what], atol=1e-3)
        assert not torch.allclose(epochs[2][what], epochs[3][what], atol=1e-3)
        assert torch.equal(epochs[3][what], end[what])


def test_the_frozen_model_stays_best_if_the_trunk_does_not_improve_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = planted()
    aucs = iter(np.linspace(0.9, 0.6, 100).tolist())
    monkeypatch.setattr("models.metrics.evaluate.exact_auc", lambda *_: next(aucs))
    found = trained(tmp_path / "both", replace(TINY, early_stopping_patience=1), data)
    assert (found.best_epoch, len(found.history), found.stopped_early) == (1, 3, True)
    aucs = iter(np.linspace(0.9, 0.6, 100).tolist())
    alone = train(data, frozen(data, small_trunk()), replace(TINY, trunk_epochs=0), tmp_path / "alone", CPU)
    np.testing.assert_array_equal(found.factors.item, alone.factors.item)
    assert load(tmp_path / "both", CPU)[1]["trunk"] == {}


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(epoch: int, tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(KilledError):
        trained(tmp_path / "cut", on_progress=kill_at(epoch))
    torch.manual_seed(99)
    resumed = trained(tmp_path / "cut")
    assert resumed.resumed_from == epoch
    for name in ("model", "trunk"):
        one, other = (checkpoint.load(tmp_path / folder / "last.pt")[name] for folder in ("whole", "cut"))
        assert len(one) and all(torch.equal(one[key], other[key]) for key in one)
    assert [row["validation_auc"] for row in whole.history] == [row["validation_auc"] for row in resumed.history]
    np.testing.assert_array_equal(whole.factors.phi, resumed.factors.phi)
    np.testing.assert_array_equal(whole.factors.theta, resumed.factors.theta)


def test_a_run_killed_within_a_trunk_epoch_repeats_the_epoch_identically(tmp_path: Path, monkeypatch) -> None:
    trained(tmp_path / "whole")
    steps, loss = iter(range(1000)), modern.loss

    def dying_loss(*arguments):
        if next(steps) == 2 * 3 + 5 + 2:  # after two frozen epochs of 3 steps and one trunk epoch of 5, in the next one
            raise KilledError
        return loss(*arguments)

    monkeypatch.setattr(modern, "loss", dying_loss)
    with pytest.raises(KilledError):
        trained(tmp_path / "cut")
    monkeypatch.undo()
    assert trained(tmp_path / "cut").resumed_from == 3
    one, other = kept_trunk(tmp_path / "whole"), kept_trunk(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_loss_of_nan_raises_and_keeps_the_last_good_trunk(tmp_path: Path, monkeypatch) -> None:
    steps, loss = iter(range(1000)), modern.loss
    monkeypatch.setattr(modern, "loss", lambda *given: loss(*given) * (float("nan") if next(steps) == 12 else 1.0))
    with pytest.raises(
        DivergedError, match=r"epoch 4, step 2 of 5: the loss is not a number; the last good epoch is kept in"
    ):
        trained(tmp_path)
    assert checkpoint.load(tmp_path / "last.pt")["history"][-1]["epoch"] == 3
    assert all(value.isfinite().all() for value in kept_trunk(tmp_path).values())


def test_a_missing_trunk_or_one_that_did_not_make_the_features_is_refused(tmp_path: Path) -> None:
    data, trunk = planted(), small_trunk()
    with pytest.raises(ValueError, match="trunk_epochs needs the trunk that made the features"):
        train(data, frozen(data, trunk), TINY, tmp_path, CPU)
    with pytest.raises(ValueError, match=r"the trunk makes other features .* off by"):
        train(data, frozen(data, trunk) + 1, TINY, tmp_path / "shifted", CPU, trunk=trunk)
    with pytest.raises(ValueError, match=r"trained with another trunk: 9.weight not in this one|of another shape"):
        retrained(trunk.network, {"9.weight": torch.zeros(2)})
    trained(tmp_path / "run")
    with pytest.raises(ValueError, match="the trunk makes other features"):
        train(data, frozen(data, trunk), TINY, tmp_path / "run", CPU, trunk=replace(trunk, size=24))
    nearly = retrained(trunk.network, {"7.bias": trunk.network.state_dict()["7.bias"] + 1e-5})
    with pytest.raises(ValueError, match=r"last\.pt.*another run[^.]*data set or features"):
        train(data, frozen(data, trunk), TINY, tmp_path / "run", CPU, trunk=replace(trunk, network=nearly))


def test_settings_that_would_send_every_picture_through_the_trunk_are_refused() -> None:
    with pytest.raises(ValueError, match="train_picture='mean'; it must be random, where trunk_epochs is above 0"):
        ModernSettings(trunk_epochs=1, train_picture="mean")
    with pytest.raises(ValueError, match="augment names flip"):
        ModernSettings(trunk_augment="flip")


def test_a_crop_is_a_window_of_the_picture_stretched_to_full_size() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(64, 3, 32, 32).contiguous()  # from left to right
    torch.manual_seed(0)
    found = diff_augment(ramp, "crop")
    assert found.shape == ramp.shape and found.min() >= -1 and found.max() <= 1
    left, right = found[:, 0, 5, 0], found[:, 0, 5, -1]
    assert ((right - left) / 2 > 0.74).all() and ((right - left) / 2).std() > 0.03  # the window is 3/4 to 1 of a side
    slope = found[:, :, :, 2:-2].diff(dim=3)
    torch.testing.assert_close(slope, slope[..., :1].expand_as(slope), rtol=0, atol=1e-4)  # stretched evenly
    torch.testing.assert_close(found[:, :, :1].expand_as(found), found)  # rows stay equal
