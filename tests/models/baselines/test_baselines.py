"""Baselines score as documented, and those that learn find a planted taste."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import bpr, neighbours
from models.baselines import simple as baselines
from models.baselines.bpr import _Model, _Sampler, _standardised
from models.baselines.settings import BprSettings
from models.data.factors import item_means
from models.metrics import evaluate
from tests.models.planted import planted

SMALL = BprSettings(k=8, batch_size=64, max_epochs=30)
GRID = ({"regularisation": 0.01},)


def features(data) -> np.ndarray:
    """Compute the mean colour of each picture, shifted off the origin, in place of a frozen network's features."""
    return data.bank[data.bank_row].mean((1, 2)).astype(np.float32) / 50 + 10


def auc(data, factors) -> float:
    touched = np.concatenate([data.train, data.validation, data.test])
    return evaluate.exact_auc(factors, data.test, touched)


def test_picture_count_counts_pictures() -> None:
    data = planted()
    expected = [int((data.image_item == item).sum()) for item in range(len(data.items))]
    assert baselines.picture_count(data).item_bias.tolist() == expected


def test_random_scores_are_seeded_and_have_an_auc_near_one_half() -> None:
    data = planted(users=400, items=100, triplets=1)
    one, again, other = (baselines.random(data, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.theta, again.theta)
    assert not np.array_equal(one.theta, other.theta)
    assert abs(auc(data, one) - 0.5) < 0.06  # four standard errors


def test_visual_neighbours_is_the_mean_cosine_of_centred_features() -> None:
    data = planted()
    raw = features(data)
    factors = baselines.visual_neighbours(data, raw)
    item = np.stack([raw[data.image_item == i].mean(0) for i in range(len(data.items))])
    item = item - item[sorted(set(data.train[:, 1].tolist()))].mean(0)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    for user in (0, 5):
        mine = data.train[data.train[:, 0] == user, 1]
        for candidate in (0, 7, 31):
            expected = np.mean([cosine(item[candidate], item[own]) for own in mine])
            assert factors.theta[user] @ factors.item[candidate] == pytest.approx(expected, abs=1e-4)
    assert auc(data, factors) > 0.7


@pytest.mark.parametrize("nearest", [1, 2, 9])
def test_best_neighbours_score_is_the_mean_of_the_largest_cosines_to_the_history(nearest: int) -> None:
    data = planted()
    raw = features(data)
    model = baselines.visual_neighbours_best(data, raw, nearest)
    item = np.stack([raw[data.image_item == i].mean(0) for i in range(len(data.items))])
    centre = item[sorted(set(data.train[:, 1].tolist()))].mean(0)
    item = item - centre
    norm = np.linalg.norm(item, axis=1)
    users = np.array([5, 0])
    scorer = model.scorer(torch.device("cpu"))
    items, pictures = scorer.items(users).numpy(), scorer.pictures(users).numpy()
    assert items.shape == (2, len(data.items)) and pictures.shape == (2, len(data.image_item))
    for row, user in enumerate(users):
        mine = item[data.train[data.train[:, 0] == user, 1]]
        mine = mine / np.linalg.norm(mine, axis=1)[:, None]
        for candidate in range(len(data.items)):
            largest = sorted(mine @ item[candidate] / norm[candidate])[-nearest:]
            assert items[row, candidate] == pytest.approx(np.mean(largest), abs=1e-4)
        for image, candidate in enumerate(data.image_item):
            largest = sorted(mine @ (raw[image] - centre) / norm[candidate])[-nearest:]
            assert pictures[row, image] == pytest.approx(np.mean(largest), abs=1e-3)
    assert auc(data, model) > 0.7


def test_the_block_size_of_histories_does_not_change_scores(monkeypatch) -> None:
    data = planted()
    data = replace(data, train=data.train[data.train[:, 0] != 3])
    model = baselines.visual_neighbours_best(data, features(data))
    users = np.arange(len(data.users))
    whole = model.scorer(torch.device("cpu")).items(users)
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", 4 * 60 * 5)  # five items of histories at a time
    torch.testing.assert_close(model.scorer(torch.device("cpu")).items(users), whole)
    assert not whole[3].any()


def test_a_user_without_a_history_scores_all_items_alike_and_has_an_auc_of_one_half() -> None:
    data = planted()
    data = replace(data, train=data.train[data.train[:, 0] != 3])
    model = baselines.visual_neighbours_best(data, features(data))
    touched = np.concatenate([data.train, data.validation, data.test])
    assert evaluate.exact_auc(model, data.test[3:4], touched) == 0.5


def test_every_baseline_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    data = planted()
    for name, model in (
        ("mean", baselines.visual_neighbours(data, features(data))),
        ("best", baselines.visual_neighbours_best(data, features(data), 2)),
    ):
        model.save(tmp_path / f"{name}.npz")
        back = type(model).load(tmp_path / f"{name}.npz")
        assert type(back) is type(model)
        for field, value in vars(model).items():
            np.testing.assert_array_equal(getattr(back, field), value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nearest": np.array(0)}, "nearest=0; at least one item"),
        ({"history": np.array([[24, 0]])}, r"names user rows outside 0\.\.23"),
        ({"history": np.array([[0, -1]])}, r"names item rows outside 0\.\.59"),
        ({"phi": np.zeros((3, 3))}, "one finite row a picture"),
    ],
)
def test_neighbours_with_mismatched_arrays_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(baselines.visual_neighbours_best(planted(), features(planted())), **changes)


def test_visual_only_vbpr_has_the_score_of_dvbpr_without_id_factors_and_biases() -> None:
    data = planted(users=60, items=200)
    factors = bpr.vbpr_visual(data, features(data), SMALL)
    assert not factors.item_bias.any()
    np.testing.assert_array_equal(factors.theta[:, -1], 1)  # VBPR's beta . f, which is nothing here
    assert not factors.phi[:, -1].any() and factors.theta.shape[1] == SMALL.k + 1
    twin = features(data)
    twin[data.image_item == 7] = twin[data.image_item == 8].mean(0)
    alike = bpr.vbpr_visual(data, twin, SMALL)  # items that look alike have equal scores
    mean = np.stack([alike.item[7], alike.phi[data.image_item == 8].mean(0)])
    np.testing.assert_allclose(*(alike.theta @ row for row in mean), atol=1e-4)
    assert auc(data, factors) > 0.65
    with pytest.raises(ValueError, match="id_factors=False leaves nothing of BPR-MF"):
        bpr.bpr_mf(data, replace(SMALL, id_factors=False))


def test_features_of_held_out_items_do_not_change_the_centre() -> None:
    data = planted()
    raw = features(data)
    never_trained = ~np.isin(data.image_item, data.train[:, 1])
    assert never_trained.any()
    moved = raw.copy()
    moved[never_trained] += 1000
    for fit in (baselines.centred, _standardised):
        np.testing.assert_array_equal(fit(data, raw)[~never_trained], fit(data, moved)[~never_trained])


def test_vbpr_and_neighbours_learn_a_visual_taste_that_bpr_mf_cannot_see() -> None:
    data = planted(users=60, items=200)
    blind = auc(data, bpr.bpr_mf(data, SMALL, GRID))
    seeing = auc(data, bpr.vbpr(data, features(data), SMALL, GRID))
    assert seeing > 0.65 > blind + 0.05


def test_bpr_mf_learns_a_taste_that_many_shoppers_share() -> None:
    rng = np.random.default_rng(0)
    data = planted(users=120, items=40, triplets=1)
    group = np.arange(120) % 2
    owned = np.stack([rng.choice(np.arange(20) * 2 + g, 10, replace=False) for g in group])
    user = np.arange(120)
    data = replace(
        data,
        train=np.stack([np.repeat(user, 8), owned[:, 2:].ravel()], 1),
        validation=np.stack([user, owned[:, 0]], 1),
        test=np.stack([user, owned[:, 1]], 1),
    )
    assert auc(data, bpr.bpr_mf(data, SMALL, GRID)) > 0.75


def test_vbpr_exports_items_as_the_mean_of_their_pictures_with_unchanged_scores() -> None:
    data = planted()
    factors = bpr.vbpr(data, features(data), replace(SMALL, max_epochs=2), GRID)
    for item in (0, 11):
        np.testing.assert_allclose(
            factors.phi[data.image_item == item].mean(0), factors.item[item], rtol=1e-4, atol=1e-5
        )
    model = _Model(data, features(data), SMALL, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.bias.normal_()
        model.beta.normal_()
    plain = replace(SMALL, regularisation=0.0)
    model.settings = plain
    user, positive, negative = torch.tensor([0, 3]), torch.tensor([1, 2]), torch.tensor([5, 5])
    scores = model.factors(data)
    x = [
        scores.theta[u] @ (scores.item[i] - scores.item[j]) + scores.item_bias[i] - scores.item_bias[j]
        for u, i, j in zip(user, positive, negative, strict=True)
    ]
    assert model.loss(user, positive, negative).item() == pytest.approx(
        float(np.mean(np.log1p(np.exp(-np.array(x))))), rel=1e-4
    )


def test_visual_only_vbpr_scores_an_item_by_its_pictures_only() -> None:
    data = planted()
    raw = features(data)
    warm, cold = int(data.train[0, 1]), int(np.setdiff1d(np.arange(len(data.items)), data.train[:, 1])[0])
    raw[data.image_item == cold] = item_means(raw, data.image_item, len(data.items))[warm]
    factors = bpr.vbpr_visual(data, raw, replace(SMALL, max_epochs=3), grid=GRID)
    np.testing.assert_allclose(factors.item[cold], factors.item[warm], rtol=1e-4, atol=1e-5)
    assert not factors.item_bias.any()
    assert factors.theta.shape == (len(data.users), SMALL.k + 1)  # theta and the visual bias, no gamma


def test_the_grid_point_that_is_best_on_validation_is_the_one_returned() -> None:
    data = planted(users=60)
    seen = []
    grid = ({"regularisation": 1e6}, {"regularisation": 0.01})
    chosen = bpr.vbpr(data, features(data), SMALL, grid, seen.append)
    touched = np.concatenate([data.train, data.validation, data.test])
    best = max(progress.metrics["validation_auc"] for progress in seen)
    assert [progress.done for progress in seen] == [1, 2]
    assert evaluate.exact_auc(chosen, data.validation, touched) == pytest.approx(best)


def test_negatives_are_never_train_items_of_their_user_and_users_are_drawn_uniformly() -> None:
    data = planted(users=10, items=12)
    user, positive, negative = (
        column.numpy() for column in _Sampler(data, torch.Generator().manual_seed(0)).draw(5000)
    )
    mine = {tuple(pair) for pair in data.train.tolist()}
    assert all((u, i) in mine for u, i in zip(user.tolist(), positive.tolist(), strict=True))
    assert not any((u, j) in mine for u, j in zip(user.tolist(), negative.tolist(), strict=True))
    assert np.bincount(user).min() > 400  # 500 expected, standard deviation 21
    assert len(set(negative.tolist())) == 12


def test_features_that_do_not_match_the_pictures_are_refused() -> None:
    data = planted()
    for wrong in (features(data)[:-1], np.full_like(features(data), np.nan)):
        with pytest.raises(ValueError, match="one finite row for each of 90 pictures"):
            baselines.visual_neighbours(data, wrong)
        with pytest.raises(ValueError, match="one finite row for each of 90 pictures"):
            bpr.vbpr(data, wrong)
