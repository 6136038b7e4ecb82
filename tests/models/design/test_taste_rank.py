"""Ranks of a design's owner: by standardised scores, among judges that do not depend on other owners."""

import numpy as np
import pytest

from models.design.taste_rank import own_rank, panels, standard_scores


def test_a_long_theta_gains_nothing() -> None:
    catalogue = np.random.default_rng(0).normal(size=(500, 4))
    theta = np.eye(4)
    theta[1] *= 1000
    made_for_0 = np.array([[2.0, 1.0, 0.0, 0.0]])  # pleases user 0 most, but user 1 1000 times "more"
    standard = standard_scores(made_for_0, theta, catalogue)
    assert own_rank(standard, np.array([[0, 1, 2, 3]])).tolist() == [1]
    assert own_rank(standard, np.array([[1, 0, 2, 3]])).tolist() == [2]


def test_scores_are_standardised_user_by_user_and_ties_count_against_the_owner() -> None:
    rng = np.random.default_rng(1)
    catalogue, theta, features = rng.normal(size=(50, 3)), rng.normal(size=(6, 3)), rng.normal(size=(9, 3))
    judges = np.stack([np.roll(np.arange(6), -row) for row in range(9)])
    standard = standard_scores(features, theta, catalogue)
    for row, found in enumerate(own_rank(standard, judges)):
        expected = [(features[row] @ t - (catalogue @ t).mean()) / (catalogue @ t).std() for t in theta]
        np.testing.assert_allclose(standard[row], expected)
        assert found == sorted(expected, reverse=True).index(expected[judges[row, 0]]) + 1
    twins = np.array([[0.5, 0.5, 0.1]])
    assert own_rank(twins, np.array([[0, 1, 2]])).tolist() == [2]


def test_a_panel_is_the_owner_and_distinct_other_users() -> None:
    users = np.arange(100, 140)
    found = panels(np.array([103, 139]), users, 20)
    assert found.shape == (2, 20)
    assert found[:, 0].tolist() == [3, 39]
    assert all(len(set(row)) == 20 for row in found.tolist())


def test_the_judges_of_a_user_do_not_depend_on_the_other_owners() -> None:
    users = np.arange(50)
    alone, among = panels(np.array([7]), users, 20), panels(np.array([3, 7, 9]), users, 20)
    assert alone[0].tolist() == among[1].tolist()
    assert panels(np.array([7]), users, 20, seed=1).tolist() != alone.tolist()


def test_with_few_users_all_of_them_judge() -> None:
    assert sorted(panels(np.array([2]), np.arange(5), 20)[0].tolist()) == [0, 1, 2, 3, 4]


def test_standardising_over_a_single_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        standard_scores(np.zeros((1, 2)), np.zeros((3, 2)), np.zeros((1, 2)))
