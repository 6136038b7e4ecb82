"""Models are chosen by NDCG@100 if there are at least 1,000 held-out pairs, else by the exact AUC."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import ranking, selection
from tests.models.metrics.problems import problem


def slow_figures(factors, held_out: np.ndarray, touched: np.ndarray) -> dict[str, float]:
    """Compute the mean AUC and NDCG@100 of the users one item at a time, from exact whole-number scores."""
    aucs, ndcgs = [], []
    for user in dict.fromkeys(held_out[:, 0].tolist()):
        score = [float(factors.theta[user] @ factors.item[i] + factors.item_bias[i]) for i in range(len(factors.items))]
        mine = {int(item) for u, item in touched if u == user}
        targets = sorted((int(item) for u, item in held_out if u == user), key=lambda item: -score[item])
        untouched = [i for i in range(len(score)) if i not in mine]
        beaten, gains = [], 0.0
        for place, target in enumerate(targets):
            below = sum(score[i] < score[target] for i in untouched)
            equal = sum(score[i] == score[target] for i in untouched)
            beaten.append((below + equal / 2) / len(untouched))
            rank = len(untouched) - below - equal / 2 + place + 1
            gains += 1 / math.log2(rank + 1) if rank < 101 else 0
        aucs.append(sum(beaten) / len(beaten))
        ndcgs.append(gains / sum(1 / math.log2(rank + 1) for rank in range(1, min(len(targets), 100) + 1)))
    return {"auc": sum(aucs) / len(aucs), "ndcg_at_100": sum(ndcgs) / len(ndcgs)}


@given(seed=st.integers(0, 10_000), several=st.integers(1, 5), items=st.sampled_from([60, 260]))
@settings(max_examples=20, deadline=None)
def test_both_figures_equal_their_slow_versions_with_one_and_several_held_out_items(seed, several, items) -> None:
    factors, train, validation, test = problem(seed, items=items, several=several)
    touched = np.concatenate([train, validation, test])
    for name, value in slow_figures(factors, test, touched).items():
        assert selection.measures(factors, test, touched)[name] == pytest.approx(value, abs=1e-6), name


def test_the_order_of_the_pairs_and_the_size_of_a_chunk_change_nothing(monkeypatch) -> None:
    factors, train, validation, test = problem(3, users=40, several=6)
    touched = np.concatenate([train, validation, test])
    whole = selection.measures(factors, test, touched)
    monkeypatch.setattr(ranking, "_CHUNK_BYTES", 1000)  # a few users and pairs at a time
    mixed = np.random.default_rng(0).permutation(test)
    for name, value in selection.measures(factors, mixed, touched).items():
        assert value == pytest.approx(whole[name], abs=1e-12), name


def test_a_thousand_pairs_decide_by_ndcg_and_fewer_by_auc() -> None:
    assert [selection.name_of(pairs) for pairs in (0, 999, 1000)] == ["auc", "auc", "ndcg_at_100"]
    factors, train, validation, test = problem(1, users=1000)
    touched = np.concatenate([train, validation, test])
    found = selection.measures(factors, test, touched)
    assert found["auc"] != found["ndcg_at_100"]
    assert selection.measure(factors, test, touched) == found["ndcg_at_100"]
    factors, train, validation, test = problem(1, users=999)
    touched = np.concatenate([train, validation, test])
    assert selection.measure(factors, test, touched) == selection.measures(factors, test, touched)["auc"]


def test_without_held_out_pairs_there_is_no_figure() -> None:
    factors, train, *_ = problem(0)
    assert math.isnan(selection.measure(factors, train[:0], train))
