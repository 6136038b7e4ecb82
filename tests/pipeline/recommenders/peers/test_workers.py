"""The workers' own mathematics, and each worker with the real peer on a tiny shop where the peer is installed.

To run the latter, name a folder that the peers are installed into: ATELIER_TEST_PEERS=/tmp/peers pytest tests/...
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.dataset import UNKNOWN_TIME
from pipeline.recommenders.peers import hm_recipe_worker as recipe
from pipeline.recommenders.peers import sasrec_worker
from pipeline.recommenders.peers.hm_recipe import HmRecipe
from pipeline.recommenders.peers.peer import Peer
from pipeline.recommenders.registry import get

DAY, START = 86_400, 1_600_000_000
USERS, ITEMS = 12, 30


def shop(seed: int = 0, weeks: int = 20) -> recipe.Shop:
    """Make random purchases over some weeks; the last five items are only bought in the last week."""
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(0, USERS, 300), rng.integers(0, ITEMS - 5, 300)], 1)
    time = rng.integers(0, (weeks - 1) * 7 * DAY, 300)
    new = np.stack([rng.integers(0, USERS, 10), rng.integers(ITEMS - 5, ITEMS, 10)], 1)
    pairs, first = np.unique(np.concatenate([pairs, new]), axis=0, return_index=True)
    time = START + np.concatenate([time, rng.integers((weeks - 1) * 7 * DAY, weeks * 7 * DAY, 10)])[first]
    order = np.argsort(time)
    content = recipe.unit(rng.standard_normal((ITEMS, 4)))
    return recipe.Shop(USERS, pairs[order], time[order], content, rng.integers(-1, 4, (ITEMS, 2)))


def test_the_sources_of_candidates_equal_plain_loops() -> None:
    one, end = shop(), START + 60 * DAY
    past, users = recipe.Past(one, end), np.array([3, 7, 11])
    looks = past.of(users)
    before = [tuple(pair) for pair, time in zip(one.pairs.tolist(), one.time.tolist(), strict=True) if time < end]
    buyers = {item: {user for user, own in before if own == item} for item in range(ITEMS)}
    for place, user in enumerate(users.tolist()):
        history = [item for own, item in before if own == user]
        for item in range(ITEMS):
            together = sum(
                len(buyers[item] & buyers[own]) / np.sqrt(len(buyers[item]) * len(buyers[own]))
                for own in history
                if own != item and buyers[item]
            )
            assert looks.copurchase[place, item] == pytest.approx(together, abs=1e-5)
            cosine = np.mean([one.content[own] @ one.content[item] for own in history])
            assert looks.content[place, item] == pytest.approx(cosine, abs=1e-5)
            last = np.mean([one.content[own] @ one.content[item] for own in history[-recipe.RECENT :]])
            assert looks.content_recent[place, item] == pytest.approx(last, abs=1e-5)
            for level in range(2):
                codes = one.categories[:, level]
                share = np.mean([codes[own] == codes[item] for own in history]) if codes[item] >= 0 else 0
                assert looks.shares[level][place, item] == pytest.approx(share, abs=1e-5)
    recent = [sum(np.exp(-(end - t) / DAY / recipe.TAU) for (_, own), t in zip(before, one.time, strict=False)
                  if own == item) for item in range(ITEMS)]  # fmt: skip
    np.testing.assert_allclose(past.recent, np.log1p(recent), rtol=1e-6)


def test_candidates_are_all_items_bought_lately_that_the_user_does_not_have() -> None:
    one, end = shop(), START + 19 * 7 * DAY
    lately = (one.time < end) & (one.time >= end - recipe.ON_SALE * DAY)
    on_sale = set(one.pairs[lately, 1].tolist())
    looks = recipe.Past(one, end).of(np.arange(USERS))
    found = set(zip(*(values.tolist() for values in recipe.candidates(looks, ITEMS)), strict=True))
    owned = set(map(tuple, one.pairs[one.time < end].tolist()))
    assert found == {(user, item) for user in range(USERS) for item in on_sale} - owned
    assert max(on_sale) < ITEMS - 5  # those that nobody bought yet
    few = set(zip(*(values.tolist() for values in recipe.candidates(looks, 1)), strict=True))
    assert few < found and len(few) <= USERS * 5  # one of each source


def test_training_rows_of_a_week_depend_on_nothing_after_it() -> None:
    one, start = shop(), START + 15 * 7 * DAY
    values, labels = recipe.labelled(one, start, 5)
    assert 0 < labels.sum() < len(labels) == len(values)
    later = one.time >= start + recipe.WEEK
    moved = one.pairs.copy()
    moved[later] = moved[later][::-1] * 0
    changed = recipe.labelled(recipe.Shop(USERS, moved, one.time, one.content, one.categories), start, 5)
    for found, expected in zip(changed, (values, labels), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_features_of_a_week_do_not_see_its_purchases() -> None:
    one, start = shop(), START + 15 * 7 * DAY
    week = (one.time >= start) & (one.time < start + recipe.WEEK)
    users = np.arange(USERS)
    without = recipe.Shop(USERS, one.pairs[~week], one.time[~week], one.content, one.categories)
    found = [recipe.Past(each, start).of(users) for each in (one, without)]
    row, item = recipe.candidates(found[0], 5)
    assert len(row)
    np.testing.assert_array_equal(*(recipe.features(looks, row, item) for looks in found))


def test_an_unseen_item_gets_the_mean_of_the_seen_ones_of_its_narrowest_known_category() -> None:
    item = np.array([[1.0], [3.0], [8.0], [0.0], [0.0], [0.0]])
    categories = np.array([[0, 0], [0, 1], [1, 2], [0, 1], [1, 9], [-1, -1]])
    sasrec_worker.fill_unseen(item, np.array([0, 1, 2]), categories)
    assert item.ravel().tolist() == [1, 3, 8, 3, 8, 4]


def given(path: Path, **more: Any) -> np.ndarray:
    """Write IN.npz of a shop where users buy items of their number's parity; return who has what, [40, 41] bool."""
    rng = np.random.default_rng(0)
    pairs = np.array([(user, item) for user in range(40) for item in range(40) if (user + item) % 2 == 0])
    pairs = pairs[rng.random(len(pairs)) < 0.4]
    known = {"train": pairs, "train_time": START + rng.integers(0, 100 * DAY, len(pairs)), "users": 40, "items": 41}
    categories = (np.arange(41) % 2)[:, None]  # item 40 is unseen
    known |= {"categories": categories, "text": np.eye(41, 3, dtype=np.float32), "seed": 0, "epochs": [2, 30]}
    known |= {"features": np.where(categories, 1.0, -1.0).astype(np.float32), "unknown_time": UNKNOWN_TIME, **more}
    np.savez(path, **known)
    owned = np.zeros((40, 41), bool)
    owned[pairs[:, 0], pairs[:, 1]] = True
    return owned


@pytest.mark.parametrize("name", ["lightgcn", "sasrec", "lightfm", "hm_recipe"])
def test_each_peer_finds_what_the_planted_users_like(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = os.environ.get("ATELIER_TEST_PEERS")
    if not home:
        pytest.skip("the peers are not installed: name a folder for them in ATELIER_TEST_PEERS")
    one = get(name)
    assert isinstance(one, Peer) and one.settings_class is not None
    knobs = json.dumps(one.settings_class().points()[0])
    owned = given(tmp_path / "in.npz", knobs=knobs)
    worker = Path(recipe.__file__).with_name(one.worker)
    one.environment.run(Path(home), worker, [tmp_path / "in.npz", tmp_path / "out.npz"], seconds=300)
    with np.load(tmp_path / "out.npz") as file:
        found = dict(file)
    if isinstance(one, HmRecipe):
        scores = found["scores"][-1]
    else:
        scores = found["theta"][-1] @ found["item"][-1].T + found["item_bias"][-1]
    assert len(found["scores" if isinstance(one, HmRecipe) else "theta"]) == 2 and scores.shape == (40, 41)
    likes = (np.arange(40)[:, None] + np.arange(41)) % 2 == 0
    new = (np.arange(41) < 40) & ~owned
    better = [scores[user, likes[user] & new[user]].mean() > scores[user, ~likes[user]].mean() for user in range(40)]
    assert np.mean(better) > 0.9
    if name in ("sasrec", "lightfm"):
        assert scores[0, 40] > scores[1, 40]  # the unseen item's category is all that is known of it
