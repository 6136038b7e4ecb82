"""The objective `distinct` equals its formula, does not favour a long theta, and gives more personal designs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.design.distinct import standardise
from models.design.from_noise import personal_designs
from models.design.preference import PictureTaste, picture_features
from models.design.settings import DesignSettings
from models.design.taste_rank import panels, references, standard_scores
from tests.models.design.test_design import networks, recommender

EVERYBODY, K = 12, 5
SETTINGS = DesignSettings(objective="distinct", eta=0.1, starts=3, best=2, steps=8, rows_at_once=16)
ROWS = np.array([[2, 0, 5, 7], [4, 1, 3, 11]])  # the users are 2 and 4
CATALOGUE = np.random.default_rng(0).normal(size=(40, K)).astype(np.float32)


def told_apart(rows: np.ndarray = ROWS) -> PictureTaste:
    """Make a recommender for the users of `ROWS` among a dozen."""
    everybody = recommender(EVERYBODY)
    others = standardise(everybody.theta.numpy(), CATALOGUE, rows)
    return replace(everybody, theta=everybody.theta[rows[:, 0]], others=others)


def plainly(theta: np.ndarray, features: np.ndarray, row: np.ndarray) -> list[float]:
    """Compute the module's formula in float64, one picture and one user at a time."""
    theta, catalogue = theta.astype(np.float64), CATALOGUE.astype(np.float64)
    found = []
    for phi in features.astype(np.float64):
        s = [(theta[v] @ phi - np.mean(catalogue @ theta[v])) / np.std(catalogue @ theta[v]) for v in row]
        found.append(s[0] - np.log(np.mean(np.exp(s[1:]))))
    return found


def test_the_objective_is_the_users_standard_score_minus_the_soft_maximum_of_the_others():
    rng = np.random.default_rng(1)
    theta, features = (rng.normal(size=(n, K)).astype(np.float32) for n in (EVERYBODY, 6))
    others = standardise(theta, CATALOGUE, ROWS)
    found = others.distinct(torch.from_numpy(features), torch.tensor([0, 0, 0, 1, 1, 1]))
    expected = plainly(theta, features[:3], ROWS[0]) + plainly(theta, features[3:], ROWS[1])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    theta[[0, 2]] *= 1000  # a reference, and a user himself
    longer = standardise(theta, CATALOGUE, ROWS).distinct(torch.from_numpy(features), torch.tensor([0, 0, 0, 1, 1, 1]))
    np.testing.assert_allclose(longer.numpy(), expected, atol=1e-3)


def test_the_search_maximises_the_objective_plus_realism_and_still_reports_theta_times_phi():
    taste = told_apart()
    found = personal_designs(*networks(), taste, [0, 2], settings=SETTINGS)
    everybody = recommender(EVERYBODY).theta.numpy()
    for user in (0, 1):
        phi = picture_features(taste, found.kept[user].reshape(-1, 64, 64, 3))
        realism = found.after[1][user].reshape(-1)
        value = np.array(plainly(everybody, phi, ROWS[user])) - SETTINGS.eta * (realism - 1) ** 2
        last = np.take_along_axis(found.objective[user, ..., -1], found.best[user], axis=1).reshape(-1)
        np.testing.assert_allclose(value, last, atol=0.1)  # the picture is rounded, the climb's was not
        np.testing.assert_allclose(phi @ taste.theta[user].numpy(), found.after[0][user].reshape(-1), atol=1e-3)


def test_distinct_designs_rank_their_owner_higher_than_score_designs_among_users_outside_the_references():
    judges, many = panels(np.arange(4), np.arange(80), 20), recommender(80)
    everybody = many.theta.numpy()
    others = standardise(everybody, CATALOGUE, references(judges, 80, 40))
    taste = replace(many, theta=many.theta[:4], others=others)
    lead = {}
    for objective in ("score", "distinct"):
        settings = replace(SETTINGS, objective=objective, eta=0.0, steps=12, starts=2, best=1)
        found = personal_designs(*networks(), taste, [0, 1, 2], settings=settings)
        standard = standard_scores(picture_features(taste, found.kept.reshape(-1, 64, 64, 3)), everybody, CATALOGUE)
        seen = np.take_along_axis(standard, judges.repeat(3, axis=0), axis=1)
        lead[objective] = (seen[:, 0] - seen[:, 1:].max(axis=1)).mean()
    assert lead["distinct"] > lead["score"]


def test_the_designs_of_a_user_are_reproducible_and_independent_of_the_other_users():
    both, alone = told_apart(), told_apart().of(torch.tensor([1]))
    found = [personal_designs(*networks(), taste, [2], settings=SETTINGS) for taste in (both, both, alone)]
    assert np.array_equal(found[0].path, found[1].path)
    np.testing.assert_allclose(found[2].path[0], found[0].path[1], atol=1e-4)


def test_no_user_is_both_judge_and_reference_of_a_design():
    judges = panels(np.arange(30), np.arange(30), 20)
    for panel, row in zip(judges, references(judges, 30, 64), strict=True):
        assert row[0] == panel[0] and not set(row[1:]) & set(panel)
        assert sorted([*panel, *row[1:]]) == list(range(30))  # all who are left, as there are fewer than 64


def test_the_references_of_a_user_depend_only_on_the_seed_and_the_user():
    judges = panels(np.array([3, 7]), np.arange(50), 20)
    found = references(judges, 50, 10)
    assert found.shape == (2, 11)
    assert np.array_equal(references(judges[1:], 50, 10)[0], found[1])
    assert not np.array_equal(references(judges, 50, 10, seed=1), found)


def test_missing_reference_users_are_an_error():
    with pytest.raises(ValueError, match="all 5 users judge a design"):
        references(panels(np.array([2]), np.arange(5), 20), 5, 3)
    with pytest.raises(ValueError, match="`distinct` needs"):
        standardise(np.ones((3, K)), CATALOGUE, np.array([[0]]))
    with pytest.raises(ValueError, match="objective 'distinct' needs `others`"):
        personal_designs(*networks(), recommender(), [0], settings=SETTINGS)
