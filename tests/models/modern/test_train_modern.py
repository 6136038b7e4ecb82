"""The trainer of `modern` learns a planted taste, resumes bit for bit, refuses other checkpoints, stops at NaN."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.metrics import evaluate
from models.modern import model as modern
from models.modern import train as train_modern
from models.modern.batches import BatchScorer, Draws, picture_lists
from models.modern.optimiser import rate
from models.modern.settings import ModernSettings
from models.modern.train import load, train
from models.training import checkpoint
from models.training.divergence import DivergedError
from models.training.progress import Progress
from tests.models.modern.test_modern import colours
from tests.models.planted import planted
from tests.models.training.killed import KilledError, kill_at

CPU = torch.device("cpu")
TINY = ModernSettings(
    k=4, components=5, epochs=3, batch_size=32, negatives=16, user="both", pooling="attention", feature_noise=0.1
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "last.pt")["model"]


def held_out_auc(data: Dataset, factors: Factors) -> float:
    return evaluate.exact_auc(factors, data.test, np.concatenate([data.train, data.validation, data.test]))


def test_a_planted_taste_is_learned(tmp_path: Path) -> None:
    data = planted(users=60, items=120)
    settings = replace(TINY, epochs=15, start="random", learning_rate=1e-2)
    trained = train(data, colours(data), settings, tmp_path, CPU)
    assert trained.history[0]["validation_auc"] < trained.validation_auc
    assert held_out_auc(data, trained.factors) > 0.7  # colour alone gives at most about 0.78
    assert trained.validation_auc == max(row["validation_auc"] for row in trained.history)


@pytest.mark.parametrize("loss", ["softmax", "bpr"])
def test_both_losses_learn_a_planted_taste_with_popular_negatives(loss: str, tmp_path: Path) -> None:
    data = planted(users=60, items=120)
    settings = replace(TINY, epochs=15, start="random", learning_rate=1e-2, loss=loss, negative_power=1.0, log_q=True)
    assert held_out_auc(data, train(data, colours(data), settings, tmp_path, CPU).factors) > 0.65


def test_random_held_out_items_have_an_auc_of_one_half(tmp_path: Path) -> None:
    data = planted(users=300, items=100)
    rng = np.random.default_rng(3)
    owned = np.concatenate([data.train, data.validation, data.test])
    free = np.ones((300, 100), bool)
    free[owned[:, 0], owned[:, 1]] = False
    shuffled = np.stack([np.arange(300), [rng.choice(np.flatnonzero(row)) for row in free]], 1)
    data = replace(data, test=shuffled)
    trained = train(data, colours(data), replace(TINY, epochs=6, learning_rate=1e-2), tmp_path, CPU)
    measured = evaluate.evaluate(trained.factors, data.test, data.train, data.validation)
    low, high = evaluate.bootstrap_mean(measured.auc, seed=0)
    assert low < 0.5 < high
    assert trained.validation_auc > high  # the validation items, which fit their users, are above it


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    data = planted()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(data, colours(data), replace(TINY, epochs=1, seed=seed), tmp_path / name, CPU)
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["taste"], c["taste"])


def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path: Path) -> None:
    data = planted()
    whole = train(data, colours(data), TINY, tmp_path / "whole", CPU)
    with pytest.raises(KilledError):
        train(data, colours(data), TINY, tmp_path / "cut", CPU, kill_at(2))
    torch.manual_seed(99)  # the new process may draw before it resumes
    resumed = train(data, colours(data), TINY, tmp_path / "cut", CPU)
    assert (whole.resumed_from, resumed.resumed_from) == (0, 2)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [row["validation_auc"] for row in whole.history] == [row["validation_auc"] for row in resumed.history]
    np.testing.assert_array_equal(whole.factors.item, resumed.factors.item)
    np.testing.assert_array_equal(whole.factors.theta, resumed.factors.theta)


def test_a_run_killed_within_an_epoch_repeats_the_epoch_identically(tmp_path: Path, monkeypatch) -> None:
    data = planted()
    train(data, colours(data), TINY, tmp_path / "whole", CPU)
    steps, loss = iter(range(1000)), modern.loss

    def dying_loss(*arguments):
        if next(steps) == 4:  # epochs have 3 steps, so this is in the second one
            raise KilledError
        return loss(*arguments)

    monkeypatch.setattr(modern, "loss", dying_loss)
    with pytest.raises(KilledError):
        train(data, colours(data), TINY, tmp_path / "cut", CPU)
    monkeypatch.undo()
    assert train(data, colours(data), TINY, tmp_path / "cut", CPU).resumed_from == 1
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_training_does_not_change_the_global_random_state(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(planted(), colours(planted()), replace(TINY, epochs=1), tmp_path, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_loss_of_nan_raises_with_epoch_and_step_and_keeps_the_last_good_epoch(tmp_path: Path, monkeypatch) -> None:
    steps, loss = iter(range(1000)), modern.loss
    monkeypatch.setattr(modern, "loss", lambda *given: loss(*given) * (float("nan") if next(steps) == 4 else 1.0))
    with pytest.raises(
        DivergedError,
        match=r"epoch 2, step 2 of 3: the loss is not a number; the last good epoch is kept in .*last\.pt",
    ):
        train(planted(), colours(planted()), TINY, tmp_path, CPU)
    assert checkpoint.load(tmp_path / "last.pt")["epoch"] == 1
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    load(tmp_path, CPU)


def test_early_stopping_waits_for_its_patience_and_survives_a_resume(tmp_path: Path, monkeypatch) -> None:
    aucs = iter([0.6, 0.7, 0.65, 0.64, 0.9])
    monkeypatch.setattr(evaluate, "exact_auc", lambda *_: next(aucs))
    settings = replace(TINY, epochs=6, early_stopping_patience=2, popularity_weights=(0.0,))
    with pytest.raises(KilledError):
        train(planted(), colours(planted()), settings, tmp_path, CPU, kill_at(3))
    trained = train(planted(), colours(planted()), settings, tmp_path, CPU)
    assert (len(trained.history), trained.best_epoch, trained.stopped_early) == (4, 2, True)


def test_the_popularity_weight_is_the_best_on_validation_and_part_of_the_factors(tmp_path: Path, monkeypatch) -> None:
    data = planted()
    chosen = {0.0: 0.6, 0.5: 0.8, 1.0: 0.7}
    asked = iter(list(chosen.values()))
    monkeypatch.setattr(evaluate, "exact_auc", lambda *_: next(asked))
    settings = replace(TINY, epochs=1, item_bias=False, popularity_weights=tuple(chosen))
    trained = train(data, colours(data), settings, tmp_path, CPU)
    assert (trained.popularity_weight, trained.validation_auc) == (0.5, 0.8)
    expected = 0.5 * modern.log_popularity(modern.counts(data))
    np.testing.assert_allclose(trained.factors.item_bias, expected, rtol=1e-6)


def test_without_validation_pairs_the_last_epoch_is_the_best_and_patience_is_refused(tmp_path: Path) -> None:
    data = replace(planted(), validation=np.zeros((0, 2)))
    with pytest.raises(ValueError, match="early_stopping_patience needs validation pairs"):
        train(data, colours(data), replace(TINY, early_stopping_patience=1), tmp_path, CPU)
    trained = train(data, colours(data), replace(TINY, early_stopping_patience=None), tmp_path, CPU)
    assert (trained.best_epoch, trained.popularity_weight) == (3, TINY.popularity_weights[0])


def test_a_checkpoint_of_other_settings_or_features_is_refused_with_all_differences(tmp_path: Path) -> None:
    data = planted()
    train(data, colours(data), replace(TINY, epochs=1), tmp_path, CPU)
    other = replace(TINY, epochs=1, k=5, learning_rate=1e-2)
    with pytest.raises(
        ValueError, match=r"(?s)last\.pt.*another run.*k 4 there, 5 here.*learning_rate .* there.*data set or features"
    ):
        train(data, colours(data) + 1, other, tmp_path, CPU)


def test_a_loaded_model_gives_the_factors_that_training_returned(tmp_path: Path) -> None:
    data = planted()
    trained = train(data, colours(data), TINY, tmp_path, CPU)
    model, meta = load(tmp_path, CPU)
    assert not model.training
    assert (meta["settings"], meta["epoch"]) == (TINY, trained.best_epoch)
    space = modern.fit_space(data, colours(data), TINY)
    images = space.project(colours(data))
    items = np.stack([images[data.image_item == item].mean(0) for item in range(len(data.items))])
    again = modern.factors(
        model, modern.Histories(data, items, CPU), data, torch.from_numpy(images), meta["popularity_weight"]
    )
    np.testing.assert_allclose(again.item, trained.factors.item, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(again.theta, trained.factors.theta, rtol=1e-4, atol=1e-5)


def test_the_random_picture_of_an_item_is_one_of_its_own(tmp_path: Path) -> None:
    data = planted()
    first, count = picture_lists(data)
    for item in (0, 17, len(data.items) - 1):
        assert (data.image_item[first[item] : first[item] + count[item]] == item).all()
    with pytest.raises(ValueError, match="not in the order of their items"):
        picture_lists(replace(data, image_item=data.image_item[::-1]))


def test_users_are_drawn_uniformly_or_each_interaction_once() -> None:
    data = planted()
    heavy = replace(data, train=np.concatenate([data.train, [[0, item] for item in range(20, 60)]]))
    pairs = np.unique(heavy.train, axis=0)
    user, item, _ = Draws(heavy, replace(TINY, user_uniform=False)).epoch(1)
    np.testing.assert_array_equal(np.unique(np.stack([user, item], 1), axis=0), pairs)
    draws = Draws(heavy, replace(TINY, user_uniform=True))
    drawn = np.concatenate([draws.epoch(epoch)[0] for epoch in range(1, 200)])
    assert abs((drawn == 0).mean() - 1 / len(data.users)) < 0.01


def test_an_item_that_is_never_trained_on_is_never_a_negative() -> None:
    data = planted()
    draws = Draws(data, replace(TINY, unseen_negatives=False, negatives=500))
    assert set(np.unique(draws.epoch(1)[2])) == set(np.unique(data.train[:, 1]))


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    settings = replace(TINY, learning_rate=1.0, warm_up=0.1)
    rates = [rate(settings, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == 1.0
    assert rates[-1] < 0.001
    assert {rate(replace(settings, schedule="constant"), step, 100) for step in range(10, 100)} == {1.0}


def test_progress_reports_the_validation_auc_of_each_epoch_and_the_time_left(tmp_path: Path) -> None:
    seen: list[Progress] = []
    trained = train(planted(), colours(planted()), TINY, tmp_path, CPU, seen.append)
    ends = [progress.metrics["validation_auc"] for progress in seen if "validation_auc" in progress.metrics]
    assert ends == [row["validation_auc"] for row in trained.history]
    assert (seen[-1].done, seen[-1].total, seen[-1].seconds_left) == (9, 9, 0)


def test_the_command_trains_from_a_folder_and_names_a_missing_file(tmp_path: Path, capsys) -> None:
    data = planted()
    data.save(tmp_path / "data")
    of_bank = np.zeros((len(data.bank), 9), np.float32)
    of_bank[data.bank_row] = colours(data)
    np.save(tmp_path / "data" / "features.npy", of_bank)
    knobs = ["--k", "4", "--components", "5", "--epochs", "1", "--batch-size", "32", "--popularity-weights", "0", "0.3"]
    call = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--device", "cpu", *knobs]
    assert train_modern.main(call) == 0
    assert "validation AUC" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"best.pt", "last.pt", "factors.npz"}
    assert Factors.load(tmp_path / "out" / "factors.npz").sees_pictures
    assert train_modern.main([*call, "--id-dropout", "1.5"]) == 2
    assert "ModernSettings.id_dropout=1.5" in capsys.readouterr().err
    assert train_modern.main([*call, "--k", "6"]) == 1
    assert "k 4 there, 6 here" in capsys.readouterr().err
    np.save(tmp_path / "data" / "features.npy", of_bank[1:])
    assert train_modern.main(call) == 2
    assert f"one row for each of the bank's {len(data.bank)}" in capsys.readouterr().err
    (tmp_path / "data" / "features.npy").unlink()
    assert train_modern.main(call) == 2
    assert "features.npy: not there" in capsys.readouterr().err


def test_weights_that_become_nan_in_the_last_step_of_an_epoch_are_not_saved(tmp_path: Path, monkeypatch) -> None:
    steps, scores = iter(range(1000)), BatchScorer.scores

    def nan_gradient(self, user, positive, negative):
        own, others = scores(self, user, positive, negative)
        if next(steps) == 5:  # the last step of the second epoch: its loss is finite, the weights after it are not
            own.register_hook(lambda gradient: gradient * float("nan"))
        return own, others

    monkeypatch.setattr(BatchScorer, "scores", nan_gradient)
    with pytest.raises(DivergedError, match=r"epoch 2: the loss is not a number .*; the last good epoch"):
        train(planted(), colours(planted()), TINY, tmp_path, CPU)
    assert checkpoint.load(tmp_path / "last.pt")["epoch"] == 1
