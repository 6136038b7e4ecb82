"""`modern` follows its equations, hides a positive from its own history, and scores a new item by its pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.data.dataset import Dataset
from models.modern import model as modern
from models.modern.model import Histories, ModernNetwork
from models.modern.settings import PRESETS, ModernSettings
from tests.models.planted import planted

CPU = torch.device("cpu")
WHOLE = ModernSettings(k=5, components=None, user="both", pooling="attention", start="random")


def colours(data: Dataset, dimensions: int = 6) -> np.ndarray:
    """Make features like a frozen network's: each picture's mean colour among noise, shifted off the origin."""
    colour = data.bank[data.bank_row].mean((1, 2)).astype(np.float32) / 50
    noise = np.random.default_rng(0).standard_normal((len(colour), dimensions)).astype(np.float32)
    return np.concatenate([colour, noise], 1) + 10


def built(settings: ModernSettings = WHOLE) -> tuple[Dataset, ModernNetwork, Histories, torch.Tensor]:
    """Build a model with weights moved off their start, its histories, and the pictures in its space."""
    data = planted()
    space = modern.fit_space(data, colours(data), settings)
    model = ModernNetwork(len(data.users), len(data.items), space, settings).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.3)
    images = space.project(colours(data))
    items = np.stack([images[data.image_item == item].mean(0) for item in range(len(data.items))])
    return data, model, Histories(data, items, CPU), torch.from_numpy(images)


def never_seen(data: Dataset) -> np.ndarray:
    return np.setdiff1d(np.arange(len(data.items)), data.train[:, 1])


def test_the_softmax_loss_equals_a_plain_sum_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.standard_normal(7) * 5, rng.standard_normal((7, 11)) * 5
    same = rng.random((7, 11)) < 0.2
    expected = np.mean(
        [
            np.log(np.exp(positive[b]) + sum(np.exp(negative[b, n]) for n in range(11) if not same[b, n])) - positive[b]
            for b in range(7)
        ]
    )
    found = modern.loss("softmax", torch.tensor(positive), torch.tensor(negative), torch.tensor(same))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_the_bpr_loss_equals_a_plain_mean_in_double_precision() -> None:
    rng = np.random.default_rng(1)
    positive, negative = rng.standard_normal(7) * 5, rng.standard_normal((7, 11)) * 5
    same = rng.random((7, 11)) < 0.2
    same[3] = True  # a row without any negative left counts as nothing
    rows = []
    for b in range(7):
        left = [np.log1p(np.exp(negative[b, n] - positive[b])) for n in range(11) if not same[b, n]]
        rows.append(np.mean(left) if left else 0.0)
    found = modern.loss("bpr", torch.tensor(positive), torch.tensor(negative), torch.tensor(same))
    assert float(found) == pytest.approx(np.mean(rows), rel=1e-12)


def test_a_negative_that_is_the_positive_has_no_gradient() -> None:
    for name in ("softmax", "bpr"):
        positive = torch.tensor([0.3, -0.2], requires_grad=True)
        negative = torch.tensor([[0.1, 0.4], [0.7, 0.2]], requires_grad=True)
        same = torch.tensor([[True, False], [False, False]])
        modern.loss(name, positive, negative, same).backward()
        assert negative.grad is not None
        assert (negative.grad == 0).tolist() == same.tolist()


def test_the_exported_factors_give_the_scores_of_the_equations() -> None:
    data, model, histories, images = built()
    factors = modern.factors(model, histories, data, images, 0.4)
    w = {name: value.detach().numpy().astype(np.float64) for name, value in model.named_parameters()}
    x = images.numpy().astype(np.float64)
    count = np.bincount(data.train[:, 1], minlength=len(data.items))
    mean = np.stack([x[data.image_item == item].mean(0) for item in range(len(data.items))])
    tells = np.exp(3 * np.tanh(mean @ w["attention"] / x.shape[1] ** 0.5))
    prior = np.log1p(count)
    for user in (0, 5):
        mine = data.train[data.train[:, 0] == user, 1]
        history = (tells[mine, None] * mean[mine]).sum(0) / tells[mine].sum()
        theta = history @ w["taste"] + w["gamma"][user]
        for item in (*data.train[:2, 1], never_seen(data)[0]):
            seen = count[item] > 0
            phi = mean[item] @ w["looks"] + (w["item_id"][item] if seen else 0)
            bias = mean[item] @ w["visual_bias"] + (w["item_bias"][item] if seen else 0)
            expected = theta @ phi + bias + 0.4 * (prior[item] if seen else prior[count > 0].mean())
            found = factors.theta[user] @ factors.item[item] + factors.item_bias[item]
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_row_of_an_item_is_the_mean_or_the_first_of_its_pictures_as_set() -> None:
    for way in ("mean", "first"):
        data, model, histories, images = built(replace(WHOLE, score_picture=way))
        factors = modern.factors(model, histories, data, images, 0.0)
        two = int(np.flatnonzero(np.bincount(data.image_item) == 2)[0])
        rows = factors.phi[data.image_item == two]
        assert not np.allclose(rows[0], rows[1])
        expected = rows.mean(0) if way == "mean" else rows[0]
        np.testing.assert_allclose(factors.item[two], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_history_without_the_positive_does_not_depend_on_the_positive(pooling: str) -> None:
    data, model, histories, _ = built(replace(WHOLE, pooling=pooling))
    user, item = (torch.from_numpy(data.train[:, column].astype(np.int64)) for column in (0, 1))
    before = histories.pooled(model.attention, user, item)
    # Move the first positive anywhere: its user's vector without it must stay, and with it must not.
    moved = histories.items.numpy().copy()
    moved[data.train[0, 1]] += 100
    other = Histories(data, moved, CPU)
    torch.testing.assert_close(other.pooled(model.attention, user[:1], item[:1]), before[:1], rtol=1e-3, atol=1e-3)
    whole, whole_moved = (each.pooled(model.attention, user[:1], None) for each in (histories, other))
    assert float((whole - whole_moved).detach().abs().max()) > 1


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_leaving_one_item_out_equals_pooling_the_others(pooling: str) -> None:
    data, model, histories, _ = built(replace(WHOLE, pooling=pooling))
    user, item = data.train[4].tolist()
    rest = replace(data, train=np.delete(data.train, 4, axis=0))
    without = histories.pooled(model.attention, torch.tensor([user]), torch.tensor([item]))
    expected = Histories(rest, histories.items.numpy(), CPU).pooled(model.attention, torch.tensor([user]), None)
    torch.testing.assert_close(without, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_history_of_one_item_is_empty_without_it(pooling: str) -> None:
    data, model, histories, _ = built(replace(WHOLE, pooling=pooling))
    single = replace(data, train=data.train[:1])
    user, item = (torch.tensor([int(row)]) for row in data.train[0])
    pooled = Histories(single, histories.items.numpy(), CPU).pooled(model.attention, user, item)
    assert pooled.abs().max() == 0


def test_a_cold_items_id_part_has_no_influence() -> None:
    data, model, histories, images = built()
    before = modern.factors(model, histories, data, images, 0.2)
    cold = never_seen(data)
    assert len(cold)
    with torch.no_grad():
        assert model.item_id is not None
        assert model.item_bias is not None
        model.item_id[cold] += 1000
        model.item_bias[cold] -= 1000
    after = modern.factors(model, histories, data, images, 0.2)
    np.testing.assert_array_equal(before.item, after.item)
    np.testing.assert_array_equal(before.item_bias, after.item_bias)
    np.testing.assert_array_equal(before.phi, after.phi)
    with torch.no_grad():
        model.item_id[data.train[0, 1]] += 1  # a warm one's has
    assert not np.array_equal(modern.factors(model, histories, data, images, 0.2).item, after.item)


def test_an_item_with_a_dropped_id_is_scored_by_its_pictures() -> None:
    _, model, _, images = built()
    rows = torch.arange(4)
    phi, bias = model.items(images[:4], rows, torch.zeros(4))
    torch.testing.assert_close(phi, images[:4] @ model.looks)
    torch.testing.assert_close(bias, images[:4] @ model.visual_bias)


def test_a_new_user_is_represented_by_the_history_alone() -> None:
    _, model, histories, _ = built()
    pooled = histories.items[:2].mean(0, keepdim=True)
    one, other = (model.users(pooled, torch.tensor([row]), torch.zeros(1)) for row in (0, 7))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(model.users(pooled, torch.tensor([0])), one)


def test_the_popularity_prior_gives_an_unseen_item_the_mean_of_the_seen() -> None:
    prior = modern.log_popularity(np.array([0, 1, 3, 0]))
    np.testing.assert_allclose(prior, [1.5 * np.log(2), np.log(2), 2 * np.log(2), 1.5 * np.log(2)], rtol=1e-6)
    assert not modern.log_popularity(np.zeros(3)).any()


def test_negatives_are_drawn_by_popularity_and_include_unseen_items_only_if_set() -> None:
    count = np.array([0, 1, 4])
    chances = modern.negative_chances(count, ModernSettings(negative_power=0.5, unseen_negatives=False))
    np.testing.assert_allclose(chances, [0, 1 / 3, 2 / 3])
    chances = modern.negative_chances(count, ModernSettings(negative_power=1.0, unseen_negatives=True))
    np.testing.assert_allclose(chances, [1 / 6, 1 / 6, 4 / 6])
    with pytest.raises(ValueError, match="no item can be a negative"):
        modern.negative_chances(np.zeros(3), ModernSettings(unseen_negatives=False))


@pytest.mark.parametrize("components", [None, 4])
def test_the_space_is_fitted_on_train_items_only(components: int | None) -> None:
    data = planted()
    raw = colours(data)
    moved = raw.copy()
    moved[np.isin(data.image_item, never_seen(data))] *= -3
    settings = replace(WHOLE, components=components)
    one, other = (modern.fit_space(data, features, settings) for features in (raw, moved))
    np.testing.assert_array_equal(one.centre, other.centre)
    np.testing.assert_array_equal(one.basis, other.basis)


def test_components_preserve_the_distances_between_features() -> None:
    data = planted()
    raw = colours(data)
    whole = modern.fit_space(data, raw, replace(WHOLE, components=None)).project(raw)
    turned = modern.fit_space(data, raw, replace(WHOLE, components=raw.shape[1], whiten=0.0)).project(raw)
    np.testing.assert_allclose(whole @ whole.T, turned @ turned.T, rtol=1e-3, atol=1e-3)


def test_whitened_components_have_equal_spread() -> None:
    data = planted()
    raw = colours(data)
    space = modern.fit_space(data, raw, replace(WHOLE, components=5, whiten=1.0))
    seen = np.unique(data.train[:, 1])
    items = np.stack([space.project(raw)[data.image_item == item].mean(0) for item in seen])
    np.testing.assert_allclose(items.T @ items / len(seen), np.eye(5), atol=1e-3)


@pytest.mark.parametrize("spoil", [lambda f: f[:-1], lambda f: f[:, 0], lambda f: np.where(f > 11, np.nan, f)])
def test_features_that_do_not_match_the_pictures_are_refused(spoil) -> None:
    data = planted()
    with pytest.raises(ValueError, match="one finite row for each of 90 pictures"):
        modern.fit_space(data, spoil(colours(data)), WHOLE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"k": 0},
        {"user": "nobody"},
        {"loss": "hinge"},
        {"id_dropout": 1.0},
        {"whiten": 1.5},
        {"popularity_weights": ()},
        {"components": 0},
        {"learning_rate": 0.0},
        {"early_stopping_patience": 0},
    ],
)
def test_the_error_for_an_invalid_setting_names_it(wrong: dict) -> None:
    with pytest.raises(ValueError, match=rf"ModernSettings\.{next(iter(wrong))}="):
        replace(PRESETS["modern"], **wrong)


def test_settings_are_rebuilt_from_plain_values() -> None:
    assert ModernSettings.from_plain(WHOLE.plain()) == WHOLE


def test_looks_of_the_catalogue_equal_looks_of_the_same_features_without_ids() -> None:
    data, model, histories, images = built()
    found = modern.factors(model, histories, data, images, 0.4)
    touched = np.bincount(data.train[:, 1], minlength=len(data.items)) > 0
    assert not touched.all()  # an item without an id part has none to lose
    unknown = torch.zeros(len(images))
    phi, bias = model.items(images, unknown.long(), unknown)
    expected = torch.cat([phi, bias[:, None]], 1).detach().numpy()
    np.testing.assert_allclose(modern.looks(model, found, touched), expected, atol=1e-5)
    assert np.abs(found.phi - expected).max() > 0.01
