"""The trainer of DVBPR learns, resumes bit for bit, refuses another run's checkpoint, and stops when it diverges."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.factors import item_means
from models.dvbpr import train as train_dvbpr
from models.dvbpr.settings import PRESETS, DvbprSettings
from models.dvbpr.train import Dataset, embed, load, train
from models.metrics import evaluate, selection
from models.training import checkpoint, deciding
from models.training.divergence import DivergedError
from models.training.progress import Progress
from tests.models.planted import planted
from tests.models.training.killed import KilledError, kill_at

CPU = torch.device("cpu")
TINY = DvbprSettings(
    k=4,
    input_size=16,
    padding="same",
    width=1 / 16,
    hidden=1 / 64,
    epochs=3,
    batch_size=32,
    learning_rate=2e-3,
    theta_decay=0.01,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.load(folder / "last.pt")
    return {**state["cnn"], "theta": state["theta"]}


def test_the_presets_are_the_published_settings() -> None:
    paper, kang = PRESETS["paper"], PRESETS["kang2017"]
    assert (paper.k, paper.epochs, paper.padding) == (50, 14, "valid")
    assert (kang.k, kang.epochs, kang.padding, kang.resize_filter) == (100, 20, "same", "nearest")
    for preset in (paper, kang):
        assert (preset.learning_rate, preset.betas, preset.eps, preset.batch_size) == (1e-4, (0.9, 0.999), 1e-8, 128)
        assert (preset.weight_decay, preset.theta_decay, preset.dropout) == (1e-3, 1.0, 0.5)
        assert (preset.input_size, preset.width, preset.hidden) == (224, 1.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"padding": "full"},
        {"dropout": 1.0},
        {"betas": (0.9,)},
        {"precision": "half"},
        {"epochs": -1},
        {"resize_filter": "lanczos"},
        {"early_stopping_patience": 0},
    ],
)
def test_the_error_for_an_invalid_setting_names_it(wrong: dict) -> None:
    with pytest.raises(ValueError, match=rf"DvbprSettings\.{next(iter(wrong))}="):
        replace(TINY, **wrong)


def test_a_planted_taste_is_learned_from_pixels_alone(tmp_path: Path) -> None:
    data = planted()
    trained = train(data, replace(TINY, epochs=6, dropout=0.0, learning_rate=5e-3), tmp_path, CPU)
    assert trained.validation_auc > 0.7  # colour alone gives at most about 0.78
    touched = np.concatenate([data.train, data.validation, data.test])
    assert evaluate.exact_auc(trained.factors, data.validation, touched) == pytest.approx(trained.validation_auc)
    assert evaluate.exact_auc(trained.factors, data.test, touched) > 0.65
    assert trained.history[trained.best_epoch - 1]["validation_auc"] == max(
        r["validation_auc"] for r in trained.history
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    data = planted()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(data, replace(TINY, epochs=1, seed=seed), tmp_path / name, CPU)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["full8.weight"], c["full8.weight"])


def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    data = planted()
    whole = train(data, TINY, tmp_path / "whole", CPU)
    with pytest.raises(KilledError):
        train(data, TINY, tmp_path / "cut", CPU, kill_at(2))
    torch.manual_seed(99)  # the new process may draw before it resumes
    resumed = train(data, TINY, tmp_path / "cut", CPU)
    assert (whole.resumed_from, resumed.resumed_from) == (0, 2)
    one, other = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    for key in one["cnn"]:
        assert torch.equal(one["cnn"][key], other["cnn"][key]), key
    assert torch.equal(one["theta"], other["theta"])
    assert [row["validation_auc"] for row in whole.history] == [row["validation_auc"] for row in resumed.history]
    np.testing.assert_array_equal(whole.factors.phi, resumed.factors.phi)


def test_a_run_killed_within_an_epoch_repeats_the_epoch_identically(tmp_path: Path, monkeypatch) -> None:
    data = planted()
    train(data, TINY, tmp_path / "whole", CPU)
    steps = iter(range(1000))
    loss = train_dvbpr.dvbpr.loss

    def dying_loss(*args):
        if next(steps) == 13:  # epochs have 8 steps, so this is in the second one
            raise KilledError
        return loss(*args)

    monkeypatch.setattr(train_dvbpr.dvbpr, "loss", dying_loss)
    with pytest.raises(KilledError):
        train(data, TINY, tmp_path / "cut", CPU)
    monkeypatch.undo()
    assert train(data, TINY, tmp_path / "cut", CPU).resumed_from == 1
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_training_does_not_change_the_global_random_state(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(planted(), replace(TINY, epochs=1), tmp_path, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_not_trained_again_but_can_be_extended(tmp_path: Path) -> None:
    data = planted()
    first = train(data, replace(TINY, epochs=2), tmp_path, CPU)
    again = train(data, replace(TINY, epochs=2), tmp_path, CPU, kill_at(2))  # would raise if an epoch were trained
    np.testing.assert_array_equal(first.factors.theta, again.factors.theta)
    longer = train(data, TINY, tmp_path, CPU)
    assert (longer.resumed_from, len(longer.history)) == (2, 3)


def test_a_checkpoint_of_another_architecture_or_data_set_is_refused_with_all_differences(tmp_path: Path) -> None:
    data = planted()
    train(data, replace(TINY, epochs=1), tmp_path, CPU)
    with pytest.raises(
        ValueError, match=r"(?s)last\.pt.*another run.*k 4 there, 5 here.*learning_rate 0\.002 there.*data set"
    ):
        train(planted(seed=1), replace(TINY, epochs=1, k=5, learning_rate=1e-3), tmp_path, CPU)


def test_one_changed_pixel_is_another_data_set() -> None:
    data, bank = planted(), planted().bank.copy()
    assert data.digest() == planted().digest()
    bank[data.bank_row[0], 0, 0, 0] ^= 1
    assert replace(data, bank=bank).digest() != data.digest()


def test_a_loss_of_nan_raises_with_epoch_and_step_and_keeps_the_last_good_epoch(tmp_path: Path, monkeypatch) -> None:
    steps = iter(range(1000))
    loss = train_dvbpr.dvbpr.loss
    monkeypatch.setattr(
        train_dvbpr.dvbpr, "loss", lambda *args: loss(*args) * (float("nan") if next(steps) == 10 else 1.0)
    )
    with pytest.raises(
        DivergedError,
        match=r"epoch 2, step 3 of 8: the loss is not a number; the last good epoch is kept in .*last\.pt",
    ):
        train(planted(), TINY, tmp_path, CPU)
    assert checkpoint.load(tmp_path / "last.pt")["epoch"] == 1
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    load(tmp_path, CPU)


def test_early_stopping_waits_for_its_patience_and_survives_a_resume(tmp_path: Path, monkeypatch) -> None:
    aucs = iter([0.6, 0.7, 0.65, 0.64, 0.9])
    monkeypatch.setattr(selection, "measures", lambda *_: {"auc": next(aucs), "ndcg_at_100": 0.0})
    settings = replace(TINY, epochs=6, early_stopping_patience=2)
    with pytest.raises(KilledError):
        train(planted(), settings, tmp_path, CPU, kill_at(3))
    trained = train(planted(), settings, tmp_path, CPU)
    assert (len(trained.history), trained.best_epoch, trained.stopped_early) == (4, 2, True)


def test_a_thousand_validation_pairs_choose_the_epoch_by_ndcg_and_the_history_keeps_both(tmp_path, monkeypatch) -> None:
    found = iter([(0.6, 0.03), (0.7, 0.02), (0.65, 0.05)])
    monkeypatch.setattr(deciding, "ENOUGH_PAIRS", 1)
    monkeypatch.setattr(selection, "measures", lambda *_: dict(zip(("auc", "ndcg_at_100"), next(found), strict=True)))
    with pytest.raises(KilledError):
        train(planted(), replace(TINY, epochs=3), tmp_path, CPU, kill_at(3))
    trained = train(planted(), replace(TINY, epochs=3), tmp_path, CPU)
    assert (trained.selected_by, trained.best_epoch, trained.validation_auc) == ("ndcg_at_100", 3, 0.65)
    assert [row["validation_auc"] for row in trained.history] == [0.6, 0.7, 0.65]
    assert [row["validation_ndcg_at_100"] for row in trained.history] == [0.03, 0.02, 0.05]


def test_a_run_from_before_ndcg_decided_is_resumed_and_goes_on_choosing_by_auc(tmp_path, monkeypatch) -> None:
    found = iter([(0.7, 0.02), (0.6, 0.05), (0.8, 0.01)])
    monkeypatch.setattr(selection, "measures", lambda *_: dict(zip(("auc", "ndcg_at_100"), next(found), strict=True)))
    train(planted(), replace(TINY, epochs=1), tmp_path, CPU)
    state = checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(tmp_path / "last.pt", {k: v for k, v in state.items() if k not in ("selected_by", "best_value")})
    monkeypatch.setattr(deciding, "ENOUGH_PAIRS", 1)
    trained = train(planted(), replace(TINY, epochs=2), tmp_path, CPU)
    assert (trained.selected_by, trained.best_epoch, trained.validation_auc) == ("auc", 1, 0.7)
    assert train(planted(), replace(TINY, epochs=3), tmp_path, CPU).best_epoch == 3


def test_more_epochs_than_the_triplet_table_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"epochs=7, but the triplet table holds 6; sample the triplets again"):
        train(planted(), replace(TINY, epochs=7), tmp_path, CPU)


def test_a_loaded_model_gives_the_factors_that_training_returned(tmp_path: Path) -> None:
    data = planted()
    trained = train(data, TINY, tmp_path, CPU)
    cnn, theta, meta = load(tmp_path, CPU)
    assert not cnn.training
    np.testing.assert_array_equal(theta.numpy(), trained.factors.theta)
    np.testing.assert_array_equal(embed(cnn, data.bank, data.bank_row, CPU), trained.factors.phi)
    assert (meta["epoch"], meta["input_size"], meta["settings"]) == (trained.best_epoch, 16, TINY)
    np.testing.assert_array_equal(meta["users"], data.users)


def test_both_sides_share_one_forward_pass_and_the_reported_loss_is_the_published_one(tmp_path: Path) -> None:
    data = planted(epochs=1, triplets=20)
    settings = replace(TINY, epochs=1, dropout=0.0, batch_size=64, theta_decay=1.0)
    trained = train(data, settings, tmp_path, CPU)
    cnn, theta = train_dvbpr.build(settings, len(data.users), CPU)  # the seed gives the same initial weights
    phi = embed(cnn, data.bank, data.bank_row, CPU).astype(np.float64)
    rows = theta.detach().numpy().astype(np.float64)[data.triplets_user[0]]
    x = (rows * (phi[data.triplets_positive[0]] - phi[data.triplets_negative[0, :, 0]])).sum(1)
    expected = np.log1p(np.exp(-x)).sum() + 0.5 * (rows**2).sum()
    assert trained.history[0]["loss"] == pytest.approx(expected / 20, rel=1e-5)


def test_progress_reports_speed_time_left_and_the_validation_auc_of_each_epoch(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = train(planted(), TINY, tmp_path, CPU, seen.append)
    ends = [progress for progress in seen if "validation_auc" in progress.metrics]
    assert [progress.done for progress in ends] == [8, 16, 24]
    assert [progress.metrics["validation_auc"] for progress in ends] == [
        row["validation_auc"] for row in trained.history
    ]
    assert all(progress.metrics["pictures_per_second"] > 0 for progress in seen)
    assert seen[-1].seconds_left == 0


def test_the_command_trains_from_a_folder_and_names_a_missing_file(tmp_path: Path, capsys) -> None:
    planted().save(tmp_path / "data")
    shape = ["--k", "4", "--input-size", "16", "--padding", "same", "--width", "0.0625", "--hidden", "0.016"]
    knobs = [*shape, "--epochs", "1", "--batch-size", "32"]
    call = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--device", "cpu", *knobs]
    assert train_dvbpr.main(call) == 0
    assert "validation AUC" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"best.pt", "last.pt", "factors.npz"}
    assert train_dvbpr.main([*call, "--dropout", "1.5"]) == 2
    assert "DvbprSettings.dropout=1.5" in capsys.readouterr().err
    assert train_dvbpr.main([*call, "--epochs", "9"]) == 1
    (tmp_path / "data" / "bank.npy").unlink()
    assert train_dvbpr.main(call) == 2
    assert "bank.npy: not there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"users": np.zeros(0), "train": [], "validation": [], "test": []}, "0 users"),
        ({"triplets_user": np.full((6, 256), 24)}, r"triplets_user runs from 24 to 24, outside 0\.\.23"),
        ({"triplets_user": np.full((6, 256), -1)}, r"triplets_user runs from -1 to -1, outside 0\.\.23"),
        ({"validation": [[24, 0]]}, r"validation: user runs from 24 to 24, outside 0\.\.23"),
        ({"bank": np.zeros((5, 16, 16, 3), np.uint8)}, "the bank has 5: bank and catalogue do not belong together"),
        ({"image_item": np.zeros(90, int)}, "59 of 60 items have no picture"),
    ],
)
def test_mismatched_arrays_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(planted(), **changes)


def test_a_data_set_is_loaded_as_saved_with_the_bank_memory_mapped(tmp_path: Path) -> None:
    data = planted()
    data.save(tmp_path)
    back = Dataset.load(tmp_path)
    assert isinstance(back.bank, np.memmap)
    assert back.digest() == data.digest()


def test_the_same_weights_have_nearly_the_same_auc_in_bfloat16_and_float32(tmp_path) -> None:
    data = planted()
    learning = replace(TINY, epochs=6, dropout=0.0, learning_rate=5e-3, precision="float32")
    trained = train(data, learning, tmp_path, CPU)
    cnn, theta, _ = load(tmp_path, CPU)
    touched = np.concatenate([data.train, data.validation, data.test])

    def auc(precision: str) -> float:
        phi = embed(cnn, data.bank, data.bank_row, CPU, precision=precision)
        item = item_means(phi, data.image_item, len(data.items))
        factors = replace(trained.factors, theta=theta.detach().numpy(), item=item, phi=phi)
        return evaluate.exact_auc(factors, data.test, touched, CPU)

    assert auc("float32") > 0.6
    assert abs(auc("float32") - auc("bfloat16")) < 0.01  # seven swapped pairs of 24 x 55 make 0.005
