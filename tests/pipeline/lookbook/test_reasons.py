"""A pick of `modern` is explained by the parts of its score and by pixels; the weights of the parts are shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest
import torch

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.data.item_facts import ItemFacts
from models.modern.model import ModernModel
from models.modern.train import ModernSettings, train
from pipeline.core.images import features
from pipeline.core.images.bank import build_bank
from pipeline.core.images.ledger import PictureStore
from pipeline.core.tables import table_digest
from pipeline.home.storage import digest
from pipeline.lookbook.album import Album
from pipeline.lookbook.publish import publish
from pipeline.lookbook.reasons import Share, against, shares
from pipeline.recommenders import part_names
from pipeline.recommenders.registry import get
from tests.pipeline.lookbook.made_up import MODE, MadeUp

WEIGHTS = {
    "image": (0.5, 0.25, 0.75),
    "recency": (-0.125, -0.25, 0.0),
    "category 2": (0.875, None, None),
    "text": (0.375, 0.125, 0.625),
}


class ModernHome(MadeUp):
    """The made-up home, in which `modern` makes the picks."""

    users, bought = 6, 3
    items = 12

    def _recommender(self, splits: pa.Table) -> None:
        folder = self.storage.model("recommender", "abc", MODE)
        users, items = np.arange(self.users), np.arange(self.items)
        store = PictureStore(self.storage.pictures)
        bank = build_bank(store, [f"sha{i}" for i in range(self.items)], self.storage.bank, 24)
        pairs = {
            name: splits.filter(pa.compute.equal(splits["split"], name)).select(["user", "item"]).to_pandas().to_numpy()
            for name in ("train", "test")
        }
        none = np.empty((0, 0), np.int32)
        data = Dataset(
            bank=bank.pixels, bank_row=items, image_item=items, users=users, items=items, train=pairs["train"],
            validation=pairs["test"], test=pairs["test"], triplets_user=none, triplets_positive=none,
            triplets_negative=none[:, :, None],
        )  # fmt: skip
        facts = ItemFacts(np.eye(self.items, 4, dtype=np.float32), items[:, None] % 2, (("even", "odd"),))
        seen = features.embed(bank.pixels, size=24)
        settings = ModernSettings(components=4, factors=2)
        trained = train(data, seen, settings, folder.path, torch.device("cpu"), facts=facts)
        trained.factors.save(folder.path / "factors.npz")
        inputs = {"splits": table_digest(splits), "image_features": digest("network", bank.digest_of(items))}
        folder.finish(
            {
                "asset": "modern", "model": "modern", "inputs": inputs, "settings": settings.plain(), "history": [],
                "feature_size": 24, "configuration": {"image_features": {"made_by": "network"}}, "weights": WEIGHTS,
            }
        )  # fmt: skip


def content(home: MadeUp, section: str) -> dict[str, Any]:
    return next(one.content for one in home.page().sections if one.id == section)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeUp]:
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = ModernHome(tmp_path_factory.mktemp("modern"), instance)
        made_up.with_products().with_reviews()
        album = Album()
        page = made_up.page(album)
        publish(page, album, made_up.storage.reports)
        made_up.page = lambda *_, **__: page  # ty: ignore[invalid-assignment]  every test reads the same page
        yield made_up


def model(home: MadeUp) -> tuple[ModernModel, Factors]:
    folder = home.storage.model("recommender", "abc", MODE).path
    return ModernModel.load(folder), Factors.load(folder / "factors.npz")


def slow_lifts(home: MadeUp, user: int, item: int) -> dict[str, float]:
    """Compute each part's summand less its mean over all items, and add up parts of one name."""
    found, factors = model(home)
    of_all = [found.contributions(factors, user, other) for other in range(home.items)]
    lifts: dict[str, float] = {}
    for part in found.names:
        name = part_names.plain(part)
        lifts[name] = lifts.get(name, 0.0) + of_all[item][part] - np.mean([one[part] for one in of_all])
    return lifts


def test_what_a_score_goes_by_is_each_parts_summand_above_its_mean_over_the_items(home: MadeUp) -> None:
    explain = get("modern").lifts(home.storage.model("recommender", "abc", MODE).path)
    assert explain is not None
    for user, item in ((0, 0), (3, 7), (5, 11)):
        expected = slow_lifts(home, user, item)
        assert explain(user, item) == pytest.approx(expected, abs=1e-5)
        _, factors = model(home)
        scores = factors.theta[user] @ factors.item.T + factors.item_bias
        assert sum(expected.values()) == pytest.approx(float(scores[item] - scores.mean()), abs=1e-4)


def test_a_pick_is_explained_by_parts_and_by_pixels(home: MadeUp) -> None:
    people = content(home, "people")["people"]
    reasons = [reason for person in people for reason in person.reasons]
    assert len(reasons) == home.users * home.picks
    for person in people:
        for reason in person.reasons:
            lifts = slow_lifts(home, person.user, reason.card.item)
            assert [part.name for part in reason.parts] == [part.name for part in shares(lifts)]
            assert reason.against == against(lifts)
            assert reason.heat is not None and reason.own
    assert any(sum(part.share for part in reason.parts) > 95 for reason in reasons)


def test_the_page_shows_bars_of_parts_in_words(home: MadeUp) -> None:
    page = (home.storage.reports / "people.html").read_text()
    assert '<ul class="shares" aria-label="Shares of the parts of the score">' in page and "<span>looks</span>" in page
    assert "Red parts raise the score" in page


def test_pictures_that_changed_since_are_not_explained_by_pixels_but_the_parts_are(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        changed = ModernHome(tmp_path, instance).with_products().with_reviews()
        folder = changed.storage.model("recommender", "abc", MODE)
        manifest = folder.manifest()
        folder.finish({**manifest, "inputs": {**manifest["inputs"], "image_features": "others"}})
        people = content(changed, "people")["people"]
        reasons = [reason for person in people for reason in person.reasons]
        assert reasons and all(reason.heat is None and reason.parts for reason in reasons)


def test_shares_divide_what_lifts_an_item_and_name_what_is_against_it() -> None:
    lifts = {"looks": 3.0, "season": -0.5, "sells now": 1.0, "words": -2.0, "category": 0.01}
    assert shares(lifts) == [Share("looks", 74.8), Share("sells now", 24.9)]
    assert against(lifts) == ["words", "season"]
    assert shares({}) == shares({"looks": -1.0}) == [] and against({}) == []


def test_the_weights_are_shown_the_largest_first_with_their_intervals(home: MadeUp) -> None:
    shown = content(home, "recommender")["goes_by"]
    assert [part.name for part, _ in shown.rows] == [
        "category: level 2 of the path",
        "looks: pictures like those of what they have",
        "words: titles and categories like those of what they have",
        "sells now: bought by somebody a short time ago",
    ]
    for part, bar in shown.rows:
        low, high = part.ends
        assert bar.low <= bar.middle <= bar.high and (bar.middle > shown.none) == (part.weight > 0)
        assert (bar.low == bar.high) == (low == high)
    text = (home.storage.reports / "recommender.html").read_text()
    assert "What this shop’s customers go by" in text and "0.25 to 0.75" in text and "unknown" in text


def test_a_part_without_a_name_of_its_own_is_shown_by_its_words() -> None:
    assert part_names.plain("brand_new") == part_names.exact("brand_new") == "brand new"


def test_every_part_of_the_settings_has_another_exact_name() -> None:
    names = [part_names.exact(part) for part in ModernSettings().parts if part != "categories"]
    assert len(set(names)) == len(names)
