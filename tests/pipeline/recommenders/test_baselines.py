"""iALS repeats itself and learns; recommenders that a data set does not allow say why; siblings carry the prior."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import ease
from models.baselines.prior import WithPrior
from models.baselines.tuning import touched
from models.data.item_facts import ItemFacts
from models.metrics import evaluate
from pipeline.recommenders import registry
from pipeline.recommenders.contract import FitContext, NotApplicableError
from pipeline.recommenders.ials import factorised
from tests.models.planted import planted


def context(data, folder: Path, facts: ItemFacts | None = None) -> FitContext:
    features = data.bank[data.bank_row].mean((1, 2)).astype(np.float32)
    return FitContext(
        data=data, features=features, feature_size=0, folder=folder, device=torch.device("cpu"), seed=0, home=folder,
        facts=facts,
    )  # fmt: skip


def test_ials_with_one_seed_is_the_same_twice_and_ranks_a_planted_taste() -> None:
    data = planted(users=300, items=40)
    one, again, other = (factorised(data, 8, 0.1, 1.0, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.theta, again.theta)
    np.testing.assert_array_equal(one.item, again.item)
    assert not np.array_equal(one.theta, other.theta)
    assert evaluate.exact_auc(one, data.test, touched(data)) > 0.6


def test_ials_gives_zeros_to_users_and_items_without_train_interactions() -> None:
    data = planted(users=40, items=60)
    kept = (data.train[:, 0] != 7) & (data.train[:, 1] != 9)
    model = factorised(replace(data, train=data.train[kept], train_time=np.empty(0)), 4, 0.1, 1.0, 0)
    assert not model.theta[7].any() and not model.item[9].any() and model.theta[6].any()


def test_a_recommender_that_the_data_does_not_allow_says_why(tmp_path: Path, monkeypatch) -> None:
    data = planted()
    monkeypatch.setattr(ease, "LIMIT", 59)
    for name, reason in (
        ("popularity_recent", "no times"),
        ("shares", "no item has a category"),
        ("ease", "60 items.*limited to 59"),
        ("ease_prior", "60 items.*limited to 59"),
    ):
        with pytest.raises(NotApplicableError, match=reason):
            registry.get(name).fit(context(data, tmp_path, ItemFacts.none(len(data.items))), None)


@pytest.mark.parametrize("name", ["item_knn", "ease", "ials", "visual_neighbours"])
def test_a_peer_and_its_sibling_with_the_prior_are_loaded_as_they_were_saved(name: str, tmp_path: Path) -> None:
    data = planted()
    users = np.arange(len(data.users))
    for one in (name, f"{name}_prior"):
        recommender = registry.get(one)
        fitted = recommender.fit(context(data, tmp_path), None)
        recommender.save(fitted.model, tmp_path / one)
        again = recommender.load(tmp_path / one)
        found, expected = (model.scorer(torch.device("cpu")).items(users) for model in (again, fitted.model))
        assert torch.equal(found, expected)
        assert isinstance(again, WithPrior) == (one in ("item_knn_prior", "ease_prior"))
    assert {"prior_weight", "prior_grid"} <= fitted.details.keys()


def test_every_peer_has_a_sibling_with_the_prior_that_needs_the_same() -> None:
    peers = {"bpr_mf", "vbpr", "vbpr_visual", "visual_neighbours", "item_knn", "ease", "ials", "cornac_vbpr"}
    studied = registry.in_studies()
    assert {f"{name}_prior" for name in peers} <= studied.keys()
    for name in peers:
        peer, sibling = studied[name], studied[f"{name}_prior"]
        assert (sibling.needs, sibling.settings_class) == (peer.needs, peer.settings_class)
