"""A planted shop where everybody buys the same few items: popularity is served, and everything says so."""

import json

import dagster as dg
import numpy as np
import pytest

from models.data.factors import Factors
from pipeline.champions.model_registry import CHAMPION, VISUAL_CHAMPION, Registry, model_name
from pipeline.champions.served_model import ServedModel
from pipeline.home.storage import Baseline, Storage
from pipeline.runtime.resources import default_resources
from pipeline.runtime.summary import LatestMetadata
from tests.pipeline.conftest import TINY, Home, made, materialise

pytestmark = pytest.mark.slow
MODE = "vendor_single"
# Tastes hardly matter beside how popular an item is, and DVBPR has no bias of the item.
CROWD = {"users": 60, "items": 70, "popularity_spread": 6.0, "temperature": 1.0}


@pytest.fixture(scope="module")
def crowd(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of the planted shop in which one mode's DVBPR, the baselines and all that follows were made."""
    folder = tmp_path_factory.mktemp("crowd")
    profile = folder / "crowd.yaml"
    profile.write_text(TINY.read_text().replace("minimum: 1000", "minimum: 30"))
    return made(environment, folder, "not group:generator", profile, {"modes": [MODE]}, CROWD)


def metadata(home: Home, asset: str) -> dict:
    with dg.DagsterInstance.from_config(str(home.folder / "dagster")) as instance:
        return LatestMetadata(instance).of(asset, MODE)


def registry() -> Registry:
    tracker = default_resources()["tracker"]
    return Registry(tracker.client(), tracker.tracking_uri)


def test_popularity_is_the_champion_and_dvbpr_the_one_that_sees(crowd: Home):
    storage, store, name = Storage(root=str(crowd.folder)), registry(), model_name("recommender", MODE)
    lists, sees = storage.recommender_in_use(MODE), storage.recommender_in_use(MODE, sees=True)
    assert isinstance(lists, Baseline) and lists.recommender == "popularity" and lists.verified.is_dir()
    assert sees.recommender == "dvbpr" and sees.run == crowd.model("recommender", MODE, "dvbpr").name
    champion, visual = store.champion(name), store.champion(name, VISUAL_CHAMPION)
    assert champion is not None and champion.made == lists.run and champion.decision == "first"
    assert visual is not None and visual.made == sees.run and visual.visual_decision == "first"
    assert visual.decision == "not chosen"


def test_the_picks_are_the_most_popular_items_that_a_person_does_not_have(crowd: Home):
    splits = crowd.table("splits", MODE).to_pandas()
    train = splits[splits["split"] == "train"]
    catalogue = np.unique(crowd.table("catalogue", MODE)["item"].to_numpy())
    count = train["item"].value_counts().reindex(catalogue, fill_value=0)
    picked = crowd.table("recommendations", MODE).to_pandas().sort_values(["user", "rank"])
    for user, rows in picked.groupby("user"):
        left = count.drop(splits[splits["user"] == user]["item"].unique()).sort_values(ascending=False, kind="stable")
        most = left.head(len(rows)).to_numpy()
        assert count[rows["item"]].to_numpy().tolist() == most.tolist()
    assert metadata(crowd, "recommendations")["model"].endswith("/popularity")


def test_the_served_version_ranks_by_popularity_and_the_visual_one_scores_a_new_picture(crowd: Home):
    store, name = registry(), model_name("recommender", MODE)
    champion, visual = store.champion(name), store.champion(name, VISUAL_CHAMPION)
    assert champion is not None and visual is not None
    served = ServedModel(store.folder(champion) / "artifacts" / "recommender")
    own = Factors.load(Storage(root=str(crowd.folder)).recommender_in_use(MODE).path / "factors.npz")
    best = [pick.item for pick in served.recommend(0, k=1, exclude_seen=False)]
    assert best == [str(served.shop.asin[int(own.item_bias.argmax())])]
    with pytest.raises(ValueError, match="popularity, and a new item cannot be scored"):
        served.encode(b"")
    sees = ServedModel(store.folder(visual) / "artifacts" / "recommender")
    assert sees.about["model"] == "dvbpr" and (sees.folder / "best.pt").is_file()


def test_the_check_the_terminal_and_the_first_page_say_it(crowd: Home):
    found = metadata(crowd, "recommender_champion")
    assert found["recommender"] == found["chosen"] == "popularity" and found["visual_recommender"] == "dvbpr"
    assert found["served"] == {"compared": 0, "below": False, "why": "popularity itself is served"}
    assert f"{MODE}: the lists are by Popularity: no model that learns taste beats it" in crowd.said
    page = (crowd.folder / "lookbook" / "index.html").read_text()
    assert "The most popular items are served" in page and "More customers: there are" in page
    people = (crowd.folder / "lookbook" / "people.html").read_text()
    assert "Popularity" in people


def test_an_alias_on_a_worse_version_blocks_the_lists_with_the_remedy(crowd: Home):
    name = model_name("recommender", MODE)
    tracker = default_resources()["tracker"]
    visual, before = registry().champion(name, VISUAL_CHAMPION), registry().champion(name)
    assert visual is not None and before is not None
    tracker.client().set_registered_model_alias(name, CHAMPION, str(visual.number))
    again = "key:recommender_champion or key:recommendations", crowd.folder.parent / "crowd.yaml"
    try:
        with pytest.raises(dg.DagsterError, match="what_is_served_is_not_below_popularity"):
            materialise(*again, modes=[MODE])
        assert metadata(crowd, "recommender_champion")["served"]["below"] is True
    finally:
        tracker.client().delete_registered_model_alias(name, CHAMPION)
    materialise(*again, modes=[MODE])
    chosen = registry().champion(name)
    assert chosen is not None and chosen.number == before.number
    assert json.loads((crowd.folder / "recommender" / MODE / "champion.json").read_text())["run"] == before.made
