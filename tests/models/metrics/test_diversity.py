"""Coverage, Gini and novelty equal plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.metrics import diversity

LISTS = st.lists(st.lists(st.integers(-1, 7), min_size=3, max_size=3), min_size=1, max_size=9)


@given(lists=LISTS)
@settings(max_examples=60, deadline=None)
def test_coverage_and_gini_equal_plain_loops_over_all_pairs_of_items(lists: list[list[int]]) -> None:
    counts = [sum(item == i for row in lists for item in row) for i in range(8)]
    assert diversity.coverage(np.array(lists), 8) == sum(c > 0 for c in counts) / 8
    if sum(counts):
        # Half the mean absolute difference over all pairs, relative to the mean: Gini's own definition.
        expected = sum(abs(a - b) for a in counts for b in counts) / (2 * 8 * sum(counts))
        assert diversity.gini(np.array(lists), 8) == pytest.approx(expected)
    else:
        assert math.isnan(diversity.gini(np.array(lists), 8))


def test_gini_is_0_if_all_items_are_recommended_equally_often_and_nearly_1_for_a_single_item() -> None:
    assert diversity.gini(np.arange(8).reshape(4, 2), 8) == 0
    assert diversity.gini(np.full((5, 1), 3), 8) == pytest.approx(1 - 1 / 8)


def test_self_information_is_0_for_an_item_that_everybody_has_and_largest_for_one_that_nobody_has() -> None:
    train = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [0, 1]])  # a pair that is repeated counts once
    assert diversity.self_information(train, users=3, items=3).tolist() == [0, 1, 2]  # of 4 / 4, 2 / 4 and 1 / 4


def test_novelty_is_the_mean_over_the_list_and_nan_for_an_empty_one() -> None:
    bits = np.array([0.0, 1.0, 2.0])
    found = diversity.novelty(np.array([[0, 1, 2], [2, -1, -1], [-1, -1, -1]]), bits)
    np.testing.assert_array_equal(found, [1.0, 2.0, np.nan])
