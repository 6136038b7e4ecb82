"""`modern` finds what a shop's customers go by, its factors are the sum of its parts, and no test pair reaches it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.factors import Factors
from models.data.item_facts import ItemFacts
from models.metrics import selection
from models.modern import fusion
from models.modern import train as train_modern
from models.modern.model import ModernModel
from models.modern.part import Histories, fit_space
from models.modern.parts import build
from models.modern.pictures import PhiOfPictures
from models.modern.settings import PARTS, ModernSettings
from models.modern.train import TrainedModern, train
from models.training.progress import Progress
from tests.models.modern.shop import ITEMS, USERS, Shop, shop

CPU = torch.device("cpu")
SMALL = ModernSettings(components=8, factors=6, comparisons=40_000)


def fitted(planted: Shop, folder: Path, settings: ModernSettings = SMALL) -> TrainedModern:
    return train(planted.data, planted.features, settings, folder, CPU, facts=planted.facts)


def scores(factors: Factors) -> np.ndarray:
    return factors.theta @ factors.item.T + factors.item_bias


@pytest.mark.parametrize("decides", ["image", "text", "bought_together", "recency"])
def test_the_weights_find_the_part_that_alone_carries_the_taste(decides: str, tmp_path: Path) -> None:
    planted = shop(decides)
    parts = ("image", "text", "categories", "recency")
    if decides not in parts:  # whatever decides, people of one taste buy the same things
        parts = (*parts, decides)
    trained = fitted(planted, tmp_path, replace(SMALL, parts=parts))
    weight, low, _ = trained.weights[decides]
    others = {name: ends for name, ends in trained.weights.items() if name != decides}
    assert low > 0 and weight > 2 * max(abs(other) for other, _, _ in others.values())
    pairs = [planted.data.train, planted.data.validation, planted.data.test]
    assert selection.measures(trained.factors, planted.data.test, np.concatenate(pairs))["auc"] > 0.65


def test_a_faint_feature_that_decides_is_learnt_from_purchases(tmp_path: Path) -> None:
    planted = shop("image")
    loud = planted.features * np.where(np.arange(12) < 4, 1.0, 8.0)  # the kind is in the first four
    trained = fitted(replace(planted, features=loud), tmp_path, replace(SMALL, components=12, parts=("image",)))
    pairs = [planted.data.train, planted.data.validation, planted.data.test]
    assert selection.measures(trained.factors, planted.data.test, np.concatenate(pairs))["auc"] > 0.65


def test_where_nothing_decides_held_out_items_have_an_auc_of_one_half(tmp_path: Path) -> None:
    aucs = []
    for seed in range(4):
        planted = shop("", seed)
        trained = fitted(planted, tmp_path)
        pairs = [planted.data.train, planted.data.validation, planted.data.test]
        aucs.append(selection.measures(trained.factors, planted.data.test, np.concatenate(pairs))["auc"])
    assert abs(np.mean(aucs) - 0.5) < 3 * 0.29 / np.sqrt(4 * USERS)  # 0.29: the spread of one pair's AUC


def test_the_score_of_the_factors_is_the_sum_of_the_parts(tmp_path: Path) -> None:
    planted = shop("image")
    trained = fitted(planted, tmp_path)
    parts, _ = build(planted.data, planted.features, planted.facts, SMALL)
    expected = np.zeros((USERS, ITEMS))
    for part in parts:
        expected += trained.weights[part.name][0] * (part.theta @ part.item.T + part.bias)
    np.testing.assert_allclose(scores(trained.factors), expected, atol=1e-4)
    for user, item in ((0, 0), (7, 33), (USERS - 1, ITEMS - 1)):
        explained = trained.model.contributions(trained.factors, user, item)
        assert set(explained) == set(trained.weights)
        assert sum(explained.values()) == pytest.approx(expected[user, item], abs=1e-4)


def test_each_part_has_spread_one_over_the_seen_items() -> None:
    planted = shop("text")
    parts, _ = build(planted.data, planted.features, planted.facts, SMALL)
    seen = Histories(planted.data).seen
    assert not seen.all()
    for part in parts:
        assert (part.theta @ part.item.T + part.bias)[:, seen].std() == pytest.approx(1, abs=1e-3), part.name


def test_a_new_product_scores_like_the_same_product_in_the_catalogue_that_nobody_has(tmp_path: Path) -> None:
    planted = shop("image")
    trained = fitted(planted, tmp_path)
    unseen = int(np.flatnonzero(~Histories(planted.data).seen)[0])
    picture = planted.features[planted.data.image_item == unseen].mean(0, keepdims=True)
    facts = planted.facts.rows(np.array([unseen]))
    model = ModernModel.load(tmp_path)
    new = model.score_new(trained.factors, picture, facts.text, facts.categories)
    np.testing.assert_allclose(new[:, 0], scores(trained.factors)[:, unseen], atol=1e-4)


def test_an_unseen_item_has_the_mean_of_the_seen_ones_in_all_that_rests_on_purchases() -> None:
    planted = shop("recency")
    parts, _ = build(planted.data, planted.features, planted.facts, SMALL)
    seen = Histories(planted.data).seen
    for part in parts:
        if part.name in ("popularity", "recent_popularity", "recency", "bought_together", "dates"):
            found = part.theta @ part.item.T + part.bias
            np.testing.assert_allclose(found[:, ~seen].mean(1), found[:, seen].mean(1), atol=1e-3)
            assert found[:, ~seen].std(1).max() < 1e-5, part.name


def test_test_pairs_never_reach_the_fit_and_validation_pairs_only_its_weights(tmp_path: Path) -> None:
    planted = shop("text")
    data, rng = planted.data, np.random.default_rng(1)
    other_test = replace(
        planted, data=replace(data, test=np.stack([data.test[:, 0], rng.permutation(ITEMS)[:USERS]], 1))
    )
    np.testing.assert_array_equal(
        scores(fitted(planted, tmp_path / "a").factors), scores(fitted(other_test, tmp_path / "b").factors)
    )
    shuffled = np.stack([data.validation[:, 0], rng.permutation(ITEMS)[:USERS]], 1)
    parts, _ = build(data, planted.features, planted.facts, SMALL)
    again, _ = build(replace(data, validation=shuffled), planted.features, planted.facts, SMALL)
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part.theta @ part.item.T + part.bias, same.theta @ same.item.T + same.bias)


def test_the_weights_minimise_the_loss_as_a_slow_search_does() -> None:
    planted = shop("image")
    parts = build(planted.data, planted.features, planted.facts, replace(SMALL, parts=("image", "popularity")))[0]
    found = fusion.fit(planted.data, parts, SMALL)
    rows, share, _ = fusion.comparisons(planted.data, parts, SMALL)
    pull = SMALL.pull / USERS

    def loss(weight: np.ndarray) -> float:
        away = weight - SMALL.weight
        return float((share * np.log1p(np.exp(rows @ weight))).sum() + pull * away @ away / 2)

    assert share.sum() == pytest.approx(1)
    assert loss(found.weight) == pytest.approx(found.path[-1][1], abs=1e-5)
    for step in 0.02 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]):
        assert loss(found.weight) < loss(found.weight + step)
    assert [loss for _, loss in found.path] == sorted((loss for _, loss in found.path), reverse=True)


def test_the_intervals_are_about_those_of_a_bootstrap_over_users() -> None:
    planted = shop("")
    data, rng = planted.data, np.random.default_rng(2)
    parts = build(data, planted.features, planted.facts, replace(SMALL, parts=("image", "text")))[0]
    found = fusion.fit(data, parts, SMALL)
    rows, share, user = fusion.comparisons(data, parts, SMALL)
    drawn = []
    for _ in range(60):
        times = np.bincount(rng.integers(0, USERS, USERS), minlength=USERS)
        weight = found.weight
        for _ in range(8):
            away = SMALL.pull / USERS
            chance = 1 / (1 + np.exp(-(rows @ weight)))
            w = share * times[user]
            gradient = (w * chance) @ rows + away * (weight - SMALL.weight)
            curvature = (rows * (w * chance * (1 - chance))[:, None]).T @ rows + away * np.eye(2)
            weight = weight - np.linalg.solve(curvature, gradient)
        drawn.append(weight)
    np.testing.assert_allclose((found.high - found.low) / 2 / 1.96, np.std(drawn, 0), rtol=0.35)


def test_no_item_that_the_user_has_is_compared_with() -> None:
    planted = shop("image")
    parts = build(planted.data, planted.features, planted.facts, replace(SMALL, parts=("popularity",)))[0]
    _, _, user = fusion.comparisons(planted.data, parts, SMALL)
    counts = np.bincount(user, minlength=USERS)
    owned = {
        u: len({i for w, i in np.concatenate([planted.data.train, planted.data.validation]) if w == u})
        for u in range(USERS)
    }
    assert all(counts[u] == ITEMS - owned[u] for u in range(USERS))  # with few items, all are compared with


def test_two_fits_are_equal_bit_for_bit_and_leave_the_random_state_alone(tmp_path: Path) -> None:
    planted = shop("image")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = fitted(planted, tmp_path / "a").factors
    assert torch.equal(torch.rand(3), expected)
    other = fitted(planted, tmp_path / "b").factors
    for name in ("theta", "item", "item_bias", "phi"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_the_picture_part_of_a_picture_is_its_phi_and_gradients_reach_the_picture(tmp_path: Path) -> None:
    planted = shop("image")
    trained = fitted(planted, tmp_path)
    theta, phi = trained.model.looks(trained.factors)
    assert theta.shape[1] == phi.shape[1] == 8
    judge = PhiOfPictures(torch.nn.Flatten(), trained.model.spaces["image"])
    pictures = torch.from_numpy(planted.features.astype(np.float32)).requires_grad_()
    np.testing.assert_allclose(judge(pictures).detach().numpy(), phi, rtol=1e-4, atol=1e-5 * np.abs(phi).max())
    (torch.from_numpy(theta[:1]) * judge(pictures)).sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0


def test_an_item_scores_the_mean_over_its_pictures(tmp_path: Path) -> None:
    factors = fitted(shop("image"), tmp_path).factors
    for item in (0, 1, 3):
        np.testing.assert_allclose(factors.item[item], factors.phi[factors.image_item == item].mean(0), atol=1e-5)


def test_parts_that_the_data_cannot_give_are_left_out_with_the_reason(tmp_path: Path) -> None:
    planted = shop("image", times=False)
    bare = replace(planted, facts=ItemFacts.none(ITEMS))
    trained = fitted(bare, tmp_path)
    assert set(trained.weights) == {"image", "popularity", "bought_together"}
    left_out = [note for note in trained.notes if "left out" in note]
    assert left_out == [
        "text left out: no item has a text",
        "categories left out: no item has a category",
        "recent_popularity left out: no purchase has a time",
        "recency left out: no purchase has a time",
        "dates left out: no purchase has a time",
    ]


def test_one_category_for_all_and_pictures_that_are_all_alike_are_left_out(tmp_path: Path) -> None:
    planted = shop("text")
    same = ItemFacts(planted.facts.text, np.zeros((ITEMS, 1)), (("all",),))
    trained = fitted(Shop(planted.data, np.ones_like(planted.features), same), tmp_path)
    assert "image" not in trained.weights and "category 1" not in trained.weights
    assert "category 1 left out: it is the same for all items" in trained.notes
    assert "image left out: it is the same for all items" in trained.notes
    with pytest.raises(ValueError, match="no part that distinguishes the items: image left out"):
        fitted(Shop(planted.data, np.ones_like(planted.features), same), tmp_path, replace(SMALL, parts=("image",)))


def test_without_validation_pairs_every_part_keeps_the_weight_of_the_settings(tmp_path: Path) -> None:
    planted = shop("image")
    trained = fitted(replace(planted, data=replace(planted.data, validation=np.zeros((0, 2)))), tmp_path)
    assert {weight for weight, _, _ in trained.weights.values()} == {SMALL.weight}
    assert np.isnan(trained.validation_auc)


def test_weights_fitted_on_one_user_have_no_interval(tmp_path: Path) -> None:
    planted = shop("image")
    one = planted.data.validation[planted.data.validation[:, 0] == 3]
    trained = fitted(replace(planted, data=replace(planted.data, validation=one)), tmp_path)
    assert len(one) and trained.weights["image"][0] != SMALL.weight
    assert np.isnan([ends for _, *ends in trained.weights.values()]).all()


def test_a_user_without_a_history_gets_what_sells(tmp_path: Path) -> None:
    planted = shop("image")
    train_pairs = planted.data.train[planted.data.train[:, 0] != 3]
    times = planted.data.train_time[planted.data.train[:, 0] != 3]
    factors = fitted(
        replace(planted, data=replace(planted.data, train=train_pairs, train_time=times)), tmp_path
    ).factors
    np.testing.assert_allclose(scores(factors)[3], factors.item_bias, atol=1e-5)


def test_features_and_facts_of_other_data_are_refused(tmp_path: Path) -> None:
    planted = shop("image")
    with pytest.raises(ValueError, match="one finite row for each of 320 pictures"):
        fitted(replace(planted, features=planted.features[1:]), tmp_path)
    with pytest.raises(ValueError, match="the facts are of 5 items, the data has 240"):
        fitted(replace(planted, facts=ItemFacts.none(5)), tmp_path)
    with pytest.raises(ValueError, match="needs train interactions"):
        fitted(replace(planted, data=replace(planted.data, train=np.zeros((0, 2)), train_time=np.zeros(0))), tmp_path)


def test_a_space_without_spread_maps_all_to_zero_and_whitening_makes_axes_equal() -> None:
    assert not fit_space(np.ones((9, 4)), 3, 0.5).basis.any()
    features = np.random.default_rng(0).normal(size=(400, 3)) * [9, 3, 1]
    assert fit_space(features, 3, 1.0).project(features).std(0) == pytest.approx([1, 1, 1], abs=0.01)


def test_the_parts_setting_names_what_is_allowed() -> None:
    assert ModernSettings().parts == PARTS
    with pytest.raises(ValueError, match=r"ModernSettings.parts=\('looks',\); it must be one or more of image, text"):
        ModernSettings(parts=("looks",))
    with pytest.raises(ValueError, match=r"parts=\('image', 'image'\); it must be one or more of .*, each once"):
        ModernSettings(parts=("image", "image"))


def test_the_history_has_the_loss_and_the_validation_auc_of_each_step(tmp_path: Path) -> None:
    planted, seen = shop("image"), list[Progress]()
    trained = train(planted.data, planted.features, SMALL, tmp_path, CPU, seen.append, planted.facts)
    assert [row["epoch"] for row in trained.history] == list(range(1, len(trained.history) + 1))
    assert [now.metrics["validation_auc"] for now in seen] == [row["validation_auc"] for row in trained.history]
    assert trained.validation_auc == trained.history[-1]["validation_auc"]
    pairs = np.concatenate([planted.data.train, planted.data.validation, planted.data.test])
    figures = selection.measures(trained.factors, planted.data.validation, pairs)
    assert trained.validation_auc == pytest.approx(figures["auc"])


def test_the_command_fits_from_a_folder_and_names_a_missing_file(tmp_path: Path, capsys) -> None:
    planted = shop("text")
    planted.data.save(tmp_path / "data")
    np.save(tmp_path / "data" / "features.npy", planted.features)
    np.save(tmp_path / "data" / "text.npy", planted.facts.text)
    call = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--device", "cpu", "--components", "8"]
    assert train_modern.main([*call, "--parts", "image", "text"]) == 0
    said = capsys.readouterr().out
    assert "text: weight" in said and "validation AUC" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"modern.npz", "factors.npz"}
    assert train_modern.main([*call, "--whiten", "1.5"]) == 2
    assert "ModernSettings.whiten=1.5" in capsys.readouterr().err
    np.save(tmp_path / "data" / "text.npy", planted.facts.text[1:])
    assert train_modern.main(call) == 2
    assert "one row an item" in capsys.readouterr().err
    (tmp_path / "data" / "features.npy").unlink()
    assert train_modern.main(call) == 2
    assert "features.npy: not there" in capsys.readouterr().err
