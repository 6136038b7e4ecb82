"""Every metric equals a slow, plain version of itself, also with ties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.factors import Factors
from models.metrics import evaluate, ranking
from tests.models.metrics.problems import problem

CATEGORY = np.random.default_rng(4).integers(-1, 4, 60)  # of the problem's items; -1 has none


def slow_list(score: list[float], among: set[int], k: int = 10) -> list[int]:
    """List the k best, with ties to the lower number, filled up with -1."""
    best = sorted(among, key=lambda i: (-score[i], i))[:k]
    return best + [-1] * (k - len(best))


def slow_metrics(factors: Factors, user: int, target: int, train, others, seed: int) -> dict[str, float]:
    mine = {int(i) for u, i in train if u == user}
    touched = mine | {int(i) for u, i in others if u == user} | {target}
    score = [float(factors.theta[user] @ factors.item[i] + factors.item_bias[i]) for i in range(len(factors.items))]
    below = sum(score[i] < score[target] for i in range(len(score)) if i not in touched)
    equal = sum(score[i] == score[target] for i in range(len(score)) if i not in touched)
    n = len(score) - len(touched)
    rank = n - below - equal / 2
    ranked = slow_list(score, {i for i in range(len(score)) if i not in touched} | {target})
    same = [i for i in range(len(score)) if i not in touched and CATEGORY[i] == CATEGORY[target] != -1]
    beaten = sum((score[i] < score[target]) + (score[i] == score[target]) / 2 for i in same)
    fans = [len({u for u, i in train.tolist() if i == item}) for item in ranked if item >= 0]
    surprise = [-math.log2((f + 1) / (len(factors.users) + 1)) for f in fans]
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
        "auc_category": beaten / len(same) if same else math.nan,
        "recall_at_10": float(rank < 10),
        "recall_at_50": float(rank < 50),
        "ndcg_at_10": 1 / math.log2(rank + 2) if rank < 10 else 0.0,
        "ndcg_at_50": 1 / math.log2(rank + 2) if rank < 50 else 0.0,
        "reciprocal_rank": 1 / (rank + 1),
        "novelty_at_10": sum(surprise) / len(surprise),
        "recommended": ranked,
        "cold": target not in {int(i) for u, i in train if u != user},
    }


@given(seed=st.integers(0, 10_000), visual=st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_metric_equals_its_slow_version_with_ties(seed: int, visual: bool) -> None:
    factors, train, validation, test = problem(seed, visual=visual)
    per_user = evaluate.evaluate(factors, test, train, validation, category=CATEGORY, seed=5)
    touched = np.concatenate([train, validation, test])
    assert evaluate.exact_auc(factors, test, touched) == pytest.approx(per_user.auc.mean(dtype=float), abs=1e-6)
    for row, (user, item) in enumerate(test):
        for name, value in slow_metrics(factors, user, item, train, validation, 5).items():
            assert getattr(per_user, name)[row] == pytest.approx(value, abs=1e-5, nan_ok=True), (name, user)


@given(seed=st.integers(0, 10_000), visual=st.booleans())
@settings(max_examples=15, deadline=None)
def test_every_metric_equals_its_slow_version_if_the_held_out_item_is_also_in_train(seed: int, visual: bool) -> None:
    factors, train, validation, test = problem(seed, visual=visual)
    again = np.concatenate([train, test[::2], validation[1::2]])
    leaky = evaluate.evaluate(factors, test, again, validation, category=CATEGORY, seed=5)
    whole = evaluate.evaluate(factors, test, train, validation, category=CATEGORY, seed=5)
    for name in set(vars(whole)) - {"auc_sampled100", "cold", "novelty_at_10"}:  # those look at train itself
        np.testing.assert_array_equal(getattr(leaky, name), getattr(whole, name))
    for row, (user, item) in enumerate(test):
        for name, value in slow_metrics(factors, user, item, again, validation, 5).items():
            assert getattr(leaky, name)[row] == pytest.approx(value, abs=1e-5, nan_ok=True), (name, user)
    touched = np.concatenate([again, validation, test])
    assert evaluate.exact_auc(factors, test, touched) == pytest.approx(whole.auc.mean(dtype=float), abs=1e-6)


def test_the_chunk_size_does_not_change_the_metrics(monkeypatch) -> None:
    factors, train, validation, test = problem(1, users=30)
    whole = evaluate.evaluate(factors, test, train, validation, category=CATEGORY)
    best = evaluate.top_k(factors, train, 5)
    monkeypatch.setattr(ranking, "_CHUNK_BYTES", 1000)  # two users at a time
    for name, values in vars(evaluate.evaluate(factors, test, train, validation, category=CATEGORY)).items():
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


def test_a_model_with_constant_scores_has_an_auc_of_one_half_and_no_strict_wins_or_hits() -> None:
    pairs = np.array([[0, 3], [1, 4]])
    per_user = evaluate.evaluate(constant(2, 50), pairs, pairs[:0], pairs[:0])
    assert per_user.auc.tolist() == per_user.auc_picture.tolist() == [0.5, 0.5]
    assert per_user.auc_strict.tolist() == per_user.auc_sampled100.tolist() == per_user.recall_at_10.tolist() == [0, 0]


def test_a_tied_item_gets_the_middle_of_the_tied_ranks() -> None:
    pairs = np.array([[0, 3]])
    for candidates, rank in ((18, 10.0), (19, 10.5), (20, 11.0)):  # with the held-out item itself one more
        per_user = evaluate.evaluate(constant(1, candidates + 1), pairs, pairs[:0], pairs[:0])
        assert per_user.reciprocal_rank[0] == pytest.approx(1 / rank)
        assert per_user.recall_at_10[0] == float(rank < 11)
        assert per_user.recommended[0].tolist() == list(range(10))  # ties go to the lower row


def test_an_item_without_a_category_or_alone_in_it_has_no_category_auc() -> None:
    factors = Factors(
        np.arange(1), np.arange(5), [[1.0]], [[3.0], [1.0], [5.0], [4.0], [2.0]], np.zeros(5), np.zeros((0, 1)), []
    )
    category = np.array([0, 0, 1, 0, -1])  # scores 3, 1, 5, 4 and 2

    def within(item: int, train: list[list[int]]) -> float:
        held_out = np.array([[0, item]])
        per_user = evaluate.evaluate(factors, held_out, np.array(train), held_out[:0], category=category)
        return float(per_user.auc_category[0])

    assert within(0, [[0, 2]]) == 0.5  # above 1, below 4; the 5 and the 2 are of another kind
    assert within(0, [[0, 3]]) == 1.0  # the 4 is touched
    assert np.isnan([within(2, [[0, 1]]), within(4, [[0, 1]]), within(0, [[0, 1], [0, 3]])]).all()
    with pytest.raises(ValueError, match=r"category is \(2,\); one for each of 5 items"):
        evaluate.evaluate(factors, [[0, 1]], [[0, 2]], [], category=category[:2])


def test_without_categories_there_is_no_category_auc() -> None:
    factors, train, validation, test = problem(3)
    assert np.isnan(evaluate.evaluate(factors, test, train, validation).auc_category).all()


def test_a_user_who_touched_every_item_has_no_auc_and_is_left_out_of_means() -> None:
    factors = constant(2, 3)
    held_out, train = np.array([[0, 0], [1, 0]]), np.array([[0, 1], [0, 2]])
    per_user = evaluate.evaluate(factors, held_out, train, train[:0])
    for name in ("auc", "auc_strict", "recall_at_10", "ndcg_at_50", "reciprocal_rank"):
        assert np.isnan(getattr(per_user, name)[0]) and np.isfinite(getattr(per_user, name)[1]), name
    assert evaluate.mean(per_user.auc) == 0.5
    assert evaluate.bootstrap_mean(per_user.auc, 0) == (0.5, 0.5)


def test_an_item_that_occurs_only_in_the_held_out_pair_is_cold() -> None:
    train = np.array([[0, 1], [1, 2]])
    per_user = evaluate.evaluate(constant(2, 5), np.array([[0, 2], [1, 4]]), train, train[:0])
    assert per_user.cold.tolist() == [False, True]


def test_an_item_that_only_its_own_user_trains_on_is_cold_even_if_repeated() -> None:
    train = np.array([[0, 1], [0, 1], [0, 2], [1, 2]])
    per_user = evaluate.evaluate(constant(2, 5), np.array([[0, 1], [0, 2], [1, 1]]), train, train[:0])
    assert per_user.cold.tolist() == [True, False, False]


def test_the_sampled_items_of_a_user_do_not_depend_on_the_other_users() -> None:
    factors, train, validation, test = problem(2, items=300)
    everyone = evaluate.evaluate(factors, test, train, validation, seed=1).auc_sampled100
    alone = evaluate.evaluate(factors, test[3:4], train, validation, seed=1).auc_sampled100
    assert alone[0] == everyone[3]
    assert (evaluate.evaluate(factors, test, train, validation, seed=2).auc_sampled100 != everyone).any()


def test_shuffled_labels_give_an_interval_around_an_auc_of_one_half() -> None:
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


@given(seed=st.integers(0, 10_000), k=st.integers(1, 70))
@settings(max_examples=15, deadline=None)
def test_top_k_equals_a_sort_of_the_items_not_excluded_with_ties_to_the_lower_row(seed: int, k: int) -> None:
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


def test_scores_of_a_shape_that_would_broadcast_are_refused() -> None:
    class Wrong:
        def items(self, users: np.ndarray) -> torch.Tensor:
            return torch.zeros(len(users), 1)

        def pictures(self, users: np.ndarray) -> None:
            return None

    class Model:
        users, items, image_item = np.arange(2), np.arange(3), np.zeros(0, np.int32)

        def scorer(self, device: torch.device) -> Wrong:
            return Wrong()

    with pytest.raises(ValueError, match=r"the model scored \(1, 1\); \(1, 3\) was expected"):
        evaluate.evaluate(Model(), np.array([[0, 1]]), np.zeros((0, 2)), np.zeros((0, 2)))
