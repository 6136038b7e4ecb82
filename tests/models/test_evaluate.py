"""Every metric equals a slow, obvious version of itself, ties included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import evaluate
from models.factors import Factors


def problem(seed: int, users: int = 7, items: int = 60, visual: bool = True):
    """Small whole numbers as factors: exact in float32 and full of ties. Every item has one picture or more."""
    rng = np.random.default_rng(seed)
    image_item = np.concatenate([np.arange(items), rng.integers(0, items, items)])
    rng.shuffle(image_item)
    k = 3
    factors = Factors(
        users=np.arange(users) * 3 + 1,
        items=np.arange(items) + 100,
        theta=rng.integers(-2, 3, (users, k)),
        item=rng.integers(-2, 3, (items, k)),
        item_bias=rng.integers(-1, 2, items),
        phi=rng.integers(-2, 3, (len(image_item) if visual else 0, k)),
        image_item=image_item,
    )
    touched = [rng.choice(items, rng.integers(3, 12), replace=False) for _ in range(users)]
    validation = np.array([[user, mine[0]] for user, mine in enumerate(touched)])
    test = np.array([[user, mine[1]] for user, mine in enumerate(touched)])
    train = np.array([[user, item] for user, mine in enumerate(touched) for item in mine[2:]])
    return factors, train, validation, test


def slow_metrics(factors: Factors, user: int, target: int, train, others, seed: int) -> dict[str, float]:
    mine = {int(i) for u, i in train if u == user}
    touched = mine | {int(i) for u, i in others if u == user} | {target}
    score = [float(factors.theta[user] @ factors.item[i] + factors.item_bias[i]) for i in range(len(factors.items))]
    below = sum(score[i] < score[target] for i in range(len(score)) if i not in touched)
    equal = sum(score[i] == score[target] for i in range(len(score)) if i not in touched)
    n = len(score) - len(touched)
    rank = n - below - equal / 2
    drawn = np.random.default_rng([seed, int(factors.users[user])]).choice(
        len(score), min(100, len(score)), False, shuffle=False
    )
    drawn = [i for i in drawn if i not in mine and i != target]
    pictures = []
    for image, item in enumerate(factors.image_item):
        own = (
            float(factors.theta[user] @ factors.phi[image] + factors.item_bias[item])
            if len(factors.phi)
            else score[item]
        )
        pictures.append((int(item), own))
    others_pictures = [value for item, value in pictures if item not in touched]
    shares = [
        sum((other < value) + 0.5 * (other == value) for other in others_pictures) / len(others_pictures)
        for item, value in pictures
        if item == target
    ]
    return {
        "auc": (below + equal / 2) / n,
        "auc_strict": below / n,
        "auc_sampled100": sum(score[i] < score[target] for i in drawn) / len(drawn),
        "auc_picture": sum(shares) / len(shares),
        "recall_at_10": float(rank < 10),
        "ndcg_at_10": 1 / math.log2(rank + 2) if rank < 10 else 0.0,
        "cold": target not in {int(i) for u, i in train if u != user},
    }


@given(seed=st.integers(0, 10_000), visual=st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_metric_equals_its_slow_version_with_ties(seed: int, visual: bool) -> None:
    factors, train, validation, test = problem(seed, visual=visual)
    per_user = evaluate.evaluate(factors, test, train, validation, seed=5)
    touched = np.concatenate([train, validation, test])
    assert evaluate.exact_auc(factors, test, touched) == pytest.approx(per_user.auc.mean(dtype=float), abs=1e-6)
    for row, (user, item) in enumerate(test):
        for name, value in slow_metrics(factors, user, item, train, validation, 5).items():
            assert getattr(per_user, name)[row] == pytest.approx(value, abs=1e-6), (name, user)


@given(seed=st.integers(0, 10_000), visual=st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_metric_is_the_same_where_the_held_out_item_also_trains(seed: int, visual: bool) -> None:
    factors, train, validation, test = problem(seed, visual=visual)
    again = np.concatenate([train, test[::2], validation[1::2]])
    leaky = evaluate.evaluate(factors, test, again, validation, seed=5)
    whole = evaluate.evaluate(factors, test, train, validation, seed=5)
    for name in ("auc", "auc_strict", "auc_picture", "recall_at_10", "ndcg_at_10"):
        np.testing.assert_array_equal(getattr(leaky, name), getattr(whole, name))
    for row, (user, item) in enumerate(test):
        for name, value in slow_metrics(factors, user, item, again, validation, 5).items():
            assert getattr(leaky, name)[row] == pytest.approx(value, abs=1e-6), (name, user)
    touched = np.concatenate([again, validation, test])
    assert evaluate.exact_auc(factors, test, touched) == pytest.approx(whole.auc.mean(dtype=float), abs=1e-6)


def test_small_chunks_change_nothing(monkeypatch) -> None:
    factors, train, validation, test = problem(1, users=30)
    whole = evaluate.evaluate(factors, test, train, validation)
    best = evaluate.top_k(factors, train, 5)
    monkeypatch.setattr(evaluate, "_CHUNK_BYTES", 1000)  # two users at a time
    for name, values in vars(evaluate.evaluate(factors, test, train, validation)).items():
        np.testing.assert_array_equal(values, getattr(whole, name))
    for again, once in zip(evaluate.top_k(factors, train, 5), best, strict=True):
        np.testing.assert_array_equal(again, once)


def constant(users: int, items: int) -> Factors:
    return Factors(
        np.arange(users),
        np.arange(items),
        np.zeros((users, 1)),
        np.zeros((items, 1)),
        np.zeros(items),
        np.zeros((0, 1)),
        np.arange(items),
    )


def test_a_model_that_says_nothing_has_half_an_auc_and_no_strict_win_or_hit() -> None:
    pairs = np.array([[0, 3], [1, 4]])
    per_user = evaluate.evaluate(constant(2, 50), pairs, pairs[:0], pairs[:0])
    assert per_user.auc.tolist() == per_user.auc_picture.tolist() == [0.5, 0.5]
    assert per_user.auc_strict.tolist() == per_user.auc_sampled100.tolist() == per_user.recall_at_10.tolist() == [0, 0]


def test_a_user_who_touched_everything_has_no_auc_and_spoils_no_mean() -> None:
    factors = constant(2, 3)
    held_out, train = np.array([[0, 0], [1, 0]]), np.array([[0, 1], [0, 2]])
    per_user = evaluate.evaluate(factors, held_out, train, train[:0])
    assert np.isnan(per_user.auc[0])
    assert evaluate.mean(per_user.auc) == 0.5
    assert evaluate.bootstrap_mean(per_user.auc, 0) == (0.5, 0.5)


def test_an_item_that_only_the_held_out_pair_knows_is_cold() -> None:
    train = np.array([[0, 1], [1, 2]])
    per_user = evaluate.evaluate(constant(2, 5), np.array([[0, 2], [1, 4]]), train, train[:0])
    assert per_user.cold.tolist() == [False, True]


def test_an_item_that_its_own_user_alone_trains_on_is_cold_however_often_it_stands_there() -> None:
    train = np.array([[0, 1], [0, 1], [0, 2], [1, 2]])
    per_user = evaluate.evaluate(constant(2, 5), np.array([[0, 1], [0, 2], [1, 1]]), train, train[:0])
    assert per_user.cold.tolist() == [True, False, False]


def test_a_users_sample_does_not_depend_on_who_else_is_measured() -> None:
    factors, train, validation, test = problem(2, items=300)
    everyone = evaluate.evaluate(factors, test, train, validation, seed=1).auc_sampled100
    alone = evaluate.evaluate(factors, test[3:4], train, validation, seed=1).auc_sampled100
    assert alone[0] == everyone[3]
    assert (evaluate.evaluate(factors, test, train, validation, seed=2).auc_sampled100 != everyone).any()


def test_shuffled_labels_give_half_an_auc_within_the_interval() -> None:
    rng = np.random.default_rng(0)
    users, items = 400, 300
    theta = rng.normal(size=(users, 8))
    factors = Factors(
        np.arange(users),
        np.arange(items),
        theta,
        rng.normal(size=(items, 8)),
        np.zeros(items),
        np.zeros((0, 8)),
        np.arange(items),
    )
    liked = (factors.theta @ factors.item.T).argmax(1)
    for labels, inside in ((rng.permutation(liked), True), (liked, False)):
        held_out = np.stack([np.arange(users), labels], 1)
        low, high = evaluate.bootstrap_mean(evaluate.evaluate(factors, held_out, held_out[:0], held_out[:0]).auc, 0)
        assert (low <= 0.5 <= high) is inside


def test_the_bootstrap_interval_is_seeded_and_agrees_with_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.3, 2000)
    low, high = evaluate.bootstrap_mean(values, 1)
    assert (low, high) == evaluate.bootstrap_mean(values, 1) != evaluate.bootstrap_mean(values, 2)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.15 * error)


def test_a_paired_difference_is_narrower_than_the_models_own_intervals() -> None:
    rng = np.random.default_rng(0)
    users = rng.normal(0.7, 0.3, 500)
    difference, low, high = evaluate.paired_difference(users + 0.02 + rng.normal(0, 0.01, 500), users, 0)
    assert difference == pytest.approx(0.02, abs=0.002)
    assert 0.018 < low < difference < high < 0.022
    with pytest.raises(ValueError, match="same users"):
        evaluate.paired_difference(users, users[:-1], 0)


@given(seed=st.integers(0, 10_000), k=st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_top_k_equals_a_sort_of_all_that_is_not_excluded_ties_to_the_lower_row(seed: int, k: int) -> None:
    factors, train, _, _ = problem(seed)
    items, scores = evaluate.top_k(factors, train, k)
    for user in range(len(factors.users)):
        values = factors.item @ factors.theta[user] + factors.item_bias
        left = [i for i in range(len(values)) if [user, i] not in train.tolist()]
        best = sorted(left, key=lambda i: (-values[i], i))[:k]
        assert items[user].tolist() == best + [-1] * (k - len(best))
        assert scores[user].tolist() == [values[i] for i in best] + [-math.inf] * (k - len(best))


def test_rows_of_another_data_set_are_refused() -> None:
    with pytest.raises(ValueError, match="user rows 2 to 2 asked for, the factors have 2"):
        evaluate.evaluate(constant(2, 3), np.array([[2, 0]]), np.zeros((0, 2)), np.zeros((0, 2)))
