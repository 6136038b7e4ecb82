"""Every metric equals a slow, plain version of itself, also with ties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data.factors import Factors
from models.metrics import evaluate, ranking, selection
from models.metrics.evaluate import PerUser
from tests.models.metrics.problems import problem

CATEGORY = np.random.default_rng(4).integers(-1, 4, 60)  # of the problem's items; -1 has none


def slow_list(score: list[float], among: set[int], k: int = 10) -> list[int]:
    """List the k best, with ties to the lower number, filled up with -1."""
    best = sorted(among, key=lambda i: (-score[i], i))[:k]
    return best + [-1] * (k - len(best))


def slow_places(factors: Factors, user: int, target: int, touched: set[int], train, seed: int) -> dict[str, float]:
    """Compute the AUCs of one held-out item, and how many untouched items rank above it, one item at a time."""
    score = [float(factors.theta[user] @ factors.item[i] + factors.item_bias[i]) for i in range(len(factors.items))]
    mine, seen = {int(i) for u, i in train if u == user}, {int(i) for _, i in train}

    def share(among: list[int]) -> float:
        beaten = sum((score[i] < score[target]) + (score[i] == score[target]) / 2 for i in among)
        return beaten / len(among) if among else math.nan

    untouched = [i for i in range(len(score)) if i not in touched]
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
    picture_shares = [
        sum((other < value) + 0.5 * (other == value) for other in others_pictures) / len(others_pictures)
        for item, value in pictures
        if item == target
    ]
    warm = target in {int(i) for u, i in train if u != user}
    return {
        "auc": share(untouched),
        "auc_strict": sum(score[i] < score[target] for i in untouched) / len(untouched),
        "auc_sampled100": sum(score[i] < score[target] for i in drawn) / len(drawn),
        "auc_picture": sum(picture_shares) / len(picture_shares),
        "auc_category": share([i for i in untouched if CATEGORY[i] == CATEGORY[target] != -1]),
        "auc_warm": share(untouched) if warm else math.nan,
        "auc_cold": math.nan if warm else share(untouched),
        "auc_warm_seen": share([i for i in untouched if i in seen]) if warm else math.nan,
        "auc_cold_unseen": math.nan if warm else share([i for i in untouched if i not in seen]),
        "above": sum((score[i] > score[target]) + (score[i] == score[target]) / 2 for i in untouched),
        "score": score[target],
    }


def slow_metrics(factors: Factors, user: int, targets: list[int], train, others, seed: int) -> dict[str, float]:
    """Compute a user's metrics from the ranks of the held-out items, which never tie among themselves."""
    touched = {int(i) for u, i in [*train, *others] if u == user} | set(targets)
    found = sorted((slow_places(factors, user, t, touched, train, seed) for t in targets), key=lambda f: -f["score"])
    ranks = [one["above"] + place + 1 for place, one in enumerate(found)]
    score = [float(factors.theta[user] @ factors.item[i] + factors.item_bias[i]) for i in range(len(factors.items))]
    ranked = slow_list(score, {i for i in range(len(score)) if i not in touched} | set(targets))
    fans = [len({u for u, i in train.tolist() if i == item}) for item in ranked if item >= 0]
    surprise = [-math.log2((f + 1) / (len(factors.users) + 1)) for f in fans]
    metrics = {"held": len(targets), "reciprocal_rank": 1 / ranks[0], "recommended": ranked}
    metrics["novelty_at_10"] = sum(surprise) / len(surprise)
    for name in set(found[0]) - {"above", "score"}:
        values = [one[name] for one in found if not math.isnan(one[name])]
        metrics[name] = sum(values) / len(values) if values else math.nan
    for k in (10, 12, 50, 100):
        inside = [rank for rank in ranks if rank < k + 1]
        ideal = sum(1 / math.log2(place + 2) for place in range(min(len(targets), k)))
        metrics[f"recall_at_{k}"] = len(inside) / len(targets)
        metrics[f"hit_at_{k}"] = float(bool(inside))
        metrics[f"ndcg_at_{k}"] = sum(1 / math.log2(rank + 1) for rank in inside) / ideal
        precisions = [(place + 1) / rank for place, rank in enumerate(inside)]
        metrics[f"map_at_{k}"] = sum(precisions) / min(len(targets), k)
    return {name: value for name, value in metrics.items() if name in PerUser.__dataclass_fields__}


def expect_slow(per_user: PerUser, factors: Factors, held_out, train, others, seed: int) -> None:
    """Compare every metric of every user with its slow version."""
    assert per_user.user.tolist() == list(dict.fromkeys(held_out[:, 0].tolist()))
    for row, user in enumerate(per_user.user):
        targets = [int(item) for u, item in held_out if u == user]
        slow = slow_metrics(factors, user, targets, train, others, seed)
        assert {*slow, "user"} == set(vars(per_user))
        for name, value in slow.items():
            assert getattr(per_user, name)[row] == pytest.approx(value, abs=1e-5, nan_ok=True), (name, user)


@given(seed=st.integers(0, 10_000), visual=st.booleans(), several=st.sampled_from([1, 1, 3, 14]))
@settings(max_examples=25, deadline=None)
def test_every_metric_equals_its_slow_version_with_ties(seed: int, visual: bool, several: int) -> None:
    factors, train, validation, test = problem(seed, visual=visual, several=several)
    test = np.random.default_rng(seed).permutation(test)
    per_user = evaluate.evaluate(factors, test, train, validation, category=CATEGORY, seed=5)
    touched = np.concatenate([train, validation, test])
    figures = selection.measures(factors, test, touched)
    assert evaluate.exact_auc(factors, test, touched) == pytest.approx(per_user.auc.mean(dtype=float), abs=1e-6)
    assert figures["ndcg_at_100"] == evaluate.mean(per_user.ndcg_at_100)
    expect_slow(per_user, factors, test, train, validation, 5)


@given(seed=st.integers(0, 10_000), visual=st.booleans(), several=st.sampled_from([1, 4]))
@settings(max_examples=15, deadline=None)
def test_every_metric_equals_its_slow_version_if_held_out_items_are_also_in_train(seed, visual, several) -> None:
    factors, train, validation, test = problem(seed, visual=visual, several=several)
    again = np.concatenate([train, test[::2], validation[1::2]])
    leaky = evaluate.evaluate(factors, test, again, validation, category=CATEGORY, seed=5)
    whole = evaluate.evaluate(factors, test, train, validation, category=CATEGORY, seed=5)
    of_train = {"auc_sampled100", "novelty_at_10", "auc_warm", "auc_cold", "auc_warm_seen", "auc_cold_unseen"}
    for name in set(vars(whole)) - of_train:
        np.testing.assert_array_equal(getattr(leaky, name), getattr(whole, name))
    expect_slow(leaky, factors, test, again, validation, 5)


@given(seed=st.integers(0, 10_000), several=st.sampled_from([1, 30]))
@settings(max_examples=15, deadline=None)
def test_no_list_metric_leaves_the_range_from_0_to_1_however_many_items_tie(seed: int, several: int) -> None:
    factors, train, validation, test = problem(seed, users=5, several=several)
    factors.theta[::2] = 0  # ties everywhere but for the bias
    per_user = evaluate.evaluate(factors, test, train, validation)
    for name, values in vars(per_user).items():
        if name.startswith(("recall", "hit", "ndcg", "map", "reciprocal", "auc")):
            assert ((values >= 0) & (values <= 1) | np.isnan(values)).all(), name


def test_one_held_out_item_keeps_every_figure_to_the_bit() -> None:
    factors, train, validation, test = problem(7, users=50)
    per_user = evaluate.evaluate(factors, test, train, validation, category=CATEGORY)
    one = np.float32(1)
    for row, (user, target) in enumerate(test):
        score = factors.item @ factors.theta[user] + factors.item_bias
        mine = [item for u, item in np.concatenate([train, validation, test]) if u == user]
        untouched = np.delete(score, mine)
        below, equal = int((untouched < score[target]).sum()), int((untouched == score[target]).sum())
        above = np.float32(len(untouched) - below - equal / 2)
        assert per_user.auc[row] == np.float32((below + equal / 2) / len(untouched))
        assert per_user.auc_strict[row] == np.float32(below / len(untouched))
        assert per_user.reciprocal_rank[row] == one / (above + one)
        gain = one / np.log2(above + np.float32(2))
        assert per_user.ndcg_at_10[row] == (gain if above < 10 else 0)
        assert per_user.ndcg_at_50[row] == (gain if above < 50 else 0)
        assert per_user.recall_at_10[row] == per_user.hit_at_10[row] == (above < 10)


def test_hand_made_lists_have_the_figures_of_the_textbook() -> None:
    scores = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    factors = Factors(
        np.arange(1), np.arange(10), [[1.0]], scores[:, None], np.zeros(10), np.zeros((0, 1)), np.arange(10)
    )
    held_out = np.array([[0, 4], [0, 0], [0, 1]])  # ranks 1, 2 and 5
    per_user = evaluate.evaluate(factors, held_out, held_out[:0], held_out[:0])
    assert per_user.held.tolist() == [3] and per_user.recall_at_10.tolist() == per_user.hit_at_10.tolist() == [1]
    assert per_user.map_at_10[0] == pytest.approx((1 / 1 + 2 / 2 + 3 / 5) / 3)
    gained, best = 1 + 1 / math.log2(3) + 1 / math.log2(6), 1 + 1 / math.log2(3) + 1 / 2
    assert per_user.ndcg_at_100[0] == pytest.approx(gained / best)
    assert per_user.auc[0] == pytest.approx((1 + 1 + 5 / 7) / 3)
    assert per_user.reciprocal_rank.tolist() == [1]


def test_the_chunk_size_does_not_change_the_metrics(monkeypatch) -> None:
    factors, train, validation, test = problem(1, users=30, several=9)
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
    for name in ("auc", "auc_strict", "recall_at_10", "ndcg_at_50", "map_at_12", "hit_at_10", "reciprocal_rank"):
        assert np.isnan(getattr(per_user, name)[0]) and np.isfinite(getattr(per_user, name)[1]), name
    assert evaluate.mean(per_user.auc) == 0.5
    assert evaluate.bootstrap_mean(per_user.auc, 0) == (0.5, 0.5)


def test_an_item_that_occurs_only_in_the_held_out_pair_is_cold() -> None:
    train = np.array([[0, 1], [1, 2]])
    per_user = evaluate.evaluate(constant(2, 5), np.array([[0, 2], [1, 4]]), train, train[:0])
    assert np.isnan(per_user.auc_cold).tolist() == [True, False]
    assert np.isnan(per_user.auc_warm).tolist() == [False, True]


def test_an_item_that_only_its_own_user_trains_on_is_cold_even_if_repeated() -> None:
    train = np.array([[0, 1], [0, 1], [0, 2], [1, 2]])
    for pair, cold in (([0, 1], True), ([0, 2], False), ([1, 1], False)):
        per_user = evaluate.evaluate(constant(2, 5), np.array([pair]), train, train[:0])
        assert np.isfinite(per_user.auc_cold).tolist() == [cold]


def test_one_constant_for_all_unseen_items_moves_the_plain_auc_but_not_the_two_among_their_like() -> None:
    factors, train, validation, test = problem(5, users=12, items=60)
    unseen = ~np.isin(np.arange(60), train[:, 1])
    before = evaluate.evaluate(factors, test, train, validation)
    factors.item_bias[unseen] += 1000
    after = evaluate.evaluate(factors, test, train, validation)
    assert np.nanmean(after.auc_cold) > np.nanmean(before.auc_cold)
    assert np.nanmean(after.auc_warm) < np.nanmean(before.auc_warm)
    np.testing.assert_array_equal(after.auc_warm_seen, before.auc_warm_seen)
    np.testing.assert_array_equal(after.auc_cold_unseen, before.auc_cold_unseen)


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
