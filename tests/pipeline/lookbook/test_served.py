"""Where popularity is served, the first page says so, with what the home's own facts say would help."""

from pathlib import Path

import dagster as dg

from pipeline.core import schemas
from pipeline.lookbook.served import popularity_served
from tests.pipeline.lookbook.made_up import MODE, MadeUp

WHY = "popularity has the best NDCG@100, 0.1234."


def test_the_first_page_says_it_with_what_would_help(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        made_up.say("recommender_champion", MODE, recommender="popularity", why_chosen=WHY)
        page = made_up.publish().path.read_text()
    assert "The most popular items are served" in page and WHY in page and "all shop pictures" in page
    # Three people with two purchases each to train on, no time, no category; titles are there, but for one.
    assert "a model has 2.0 to learn" in page and "More customers: there are 3." in page
    assert "no purchase has one" in page and "Categories of products, from department to type: 0% have any." in page
    assert "Titles of products" not in page


def test_what_the_shop_gives_is_not_asked_for(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        pairs = [(user, item) for user in range(1000) for item in range(10)]
        rows = [{"user": u, "item": i, "split": "train", "paired": True, "time": 9} for u, i in pairs]
        made_up.table("splits", rows, schemas.SPLITS, MODE)
        made_up.say("splits", MODE, loss=dg.MetadataValue.json({"lost_share": 0.3, "warn_above": 0.05}))
        made_up.say("recommender_champion", MODE, recommender="popularity", why_chosen=WHY)
        found = popularity_served(made_up.home())
    assert found is not None and found.partition == MODE
    assert [line.split(":")[0] for line in found.helps] == [
        "Categories of products, from department to type", "Working pictures",
    ]  # fmt: skip


def test_another_champion_leaves_the_first_page_as_it_is(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        made_up.say("recommender_champion", MODE, recommender="dvbpr", why_chosen=WHY)
        assert popularity_served(made_up.home()) is None
        assert "most popular items" not in made_up.publish().path.read_text()


def test_the_first_page_compares_the_served_lists_with_the_most_popular_items(tmp_path: Path):
    against = "NDCG@100 0.041 against 0.037 of Popularity, +0.004 (-0.008 to +0.015): nothing shows it"
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        made_up.say("recommender_champion", MODE, recommender="modern", against_popularity=against)
        page = made_up.publish().path.read_text()
    assert "Are the lists better than the most popular items?" in page
    assert f"<strong>Modern</strong>, all shop pictures: {against}." in page


def test_a_home_whose_lists_were_not_compared_says_nothing_of_them(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        made_up.say("recommender_champion", MODE, recommender="popularity", why_chosen=WHY)
        assert "Are the lists better" not in made_up.publish().path.read_text()
