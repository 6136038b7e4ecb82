"""The page of a made-up home: everything on it is there, escaped and from here; what is missing is said."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import jinja2
import numpy as np
import pytest
from PIL import Image

from pipeline.lookbook.album import Album
from pipeline.lookbook.publish import INDEX, publish
from tests.lookbook.made_up import HOSTILE, MadeUp, shade

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Parsed(HTMLParser):
    """The page as a browser's parser sees it: elements, and the words outside of tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def made_up(tmp_path: Path) -> Iterator[MadeUp]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield MadeUp(tmp_path, instance)


@pytest.fixture
def whole(made_up: MadeUp) -> MadeUp:
    return made_up.with_products().with_reviews().with_generator().with_designs()


def read(made_up: MadeUp) -> Parsed:
    return Parsed((made_up.storage.reports / INDEX).read_text())


def test_hostile_titles_and_ids_are_text_and_nothing_else(whole: MadeUp):
    whole.publish(reviews="/somewhere/<script>alert(2)</script>.json")
    page = read(whole)
    assert HOSTILE in page.text and "<b>R0</b>" in page.text
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "b", "iframe", "object", "form"})
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert HOSTILE in {image["alt"] for image in page.all("img")}


def test_every_link_picture_and_style_is_beside_the_page_and_nothing_is_asked_of_the_network(whole: MadeUp):
    reports = whole.publish().path.parent
    page = read(whole)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            address = attributes.get(name)
            if address is None or address == "data:,":
                continue
            if address.startswith("#"):
                assert address[1:] in ids, f"{address} leads nowhere"
            else:
                assert (reports / address).is_file() and ":" not in address and not address.startswith("/"), address
    style = (reports / page.all("link")[-1]["href"]).read_text()
    assert not re.search(r"url\(|@import|//", style)
    assert page.open == []


def test_every_picture_has_its_size_and_words_and_loads_when_it_is_looked_at(whole: MadeUp):
    reports = whole.publish().path.parent
    images = read(whole).all("img")
    assert len(images) > 20
    for image in images:
        with Image.open(reports / image["src"]) as picture:
            assert (image["width"], image["height"]) == (str(picture.width), str(picture.height))
        assert image["alt"] and image["loading"] == "lazy"


def test_product_pictures_are_small_and_of_the_right_product(whole: MadeUp):
    reports = whole.publish().path.parent
    shown = {image["alt"]: image for image in read(whole).all("img")}
    for number, name in ((0, HOSTILE), (1, "A1"), (7, "Shirt 7")):  # an item without a title goes by its asin
        with Image.open(reports / shown[name]["src"]) as picture:
            assert picture.height == 112
            assert np.abs(np.asarray(picture).astype(int) - shade(number)[0, 0]).max() <= 2


def test_tables_are_captioned_and_their_heads_say_what_they_head(whole: MadeUp):
    whole.publish()
    page = read(whole)
    assert len(page.all("table")) == len(page.all("caption")) > 5
    assert all(head.get("scope") in {"col", "row", "colgroup"} for head in page.all("th"))


def test_the_tables_hold_the_papers_figures_beside_ours(whole: MadeUp):
    whole.publish()
    text = read(whole).text
    # Tables 1, 2 and 3 of the paper, REFERENCE section 1
    for figure in ("64,583", "234,892", "883,636", "2,632", "17,173", "2,326", "33,587", "38,053", "0.6501", "0.6853",
                   "0.6875", "0.7964"):  # fmt: skip
        assert figure in text, figure
    for ours in ("4,321", "777", "2,345", "0.6234", "0.6123", "150 px", "0.098 (0.050 to 0.140)", "Planted tastes"):
        assert ours in text, ours


def test_our_row_of_table_1_counts_the_5_core_as_the_paper_does_before_repeated_reviews_leave(whole: MadeUp):
    content = next(section.content for section in whole.page().sections if section.id == "data")
    ours = content["table_1"][-1]
    assert (ours.reviews, ours.users, ours.items, ours.core_users, ours.core_items) == (4321, 777, 99, 12, 20)
    assert (ours.vendor_px, ours.customer_px) == (150, None)
    assert [(step.name, step.reviews, step.users, step.items) for step in content["steps"]] == [
        ("Read", 4321, 777, 99), ("Of users with 5 reviews or more", 60, 12, 20),
        ("Distinct, users with 5 items or more", 55, 3, 8),
    ]  # fmt: skip


def test_what_stands_beside_the_auc_is_there_and_a_figure_that_is_not_is_a_dash(whole: MadeUp):
    whole.publish()
    text = read(whole).text
    heads = "AUC, warm ?AUC, cold ?AUC, own type ?Hit rate at 10 ?Hit rate at 50 ?NDCG at 10 ?NDCG at 50 ?MRR ?"
    assert re.search(
        heads + r"Coverage ?Novelty, bits ?Gini ?VBPR( ?–){11} ?DVBPR ?0\.625 ?– ?0\.562( ?–){7} ?0\.875", text
    )


def test_what_fell_short_is_said_but_the_planted_truth_is_no_competitor(whole: MadeUp):
    whole.publish()
    assert "DVBPR is behind VBPR with all shop pictures, by" in read(whole).text


def test_a_hidden_item_is_ranked_among_what_the_person_does_not_have(whole: MadeUp):
    people = {person.user: person for s in whole.page().sections if s.id == "people" for person in s.content["people"]}
    # Scores fall with the item's number; user u has u and u + 1, so u items stand above the hidden u + 2.
    for user in range(3):
        place = people[user].standing
        assert place is not None and (place.rank, place.among) == (user + 1, 6)
        assert [card.item for card in people[user].bought] == [user, user + 1]
        assert [card.item for card, _ in people[user].picks] == [6, 7]
    assert people[0].standing.ahead_of == 1.0  # ty: ignore[unresolved-attribute]


def test_held_out_items_of_another_split_are_not_ranked_and_the_page_says_so(whole: MadeUp):
    manifest = whole.storage.current("recommender", "vendor_all")
    manifest.finish({**manifest.manifest(), "inputs": {"splits": "another"}})
    whole.publish()
    text = read(whole).text
    assert "Held-out items are not ranked: the model in" in text and "ranked 1 of 6" not in text


def test_without_reviews_the_page_shows_products_and_garments_and_names_what_is_left_out(made_up: MadeUp):
    made_up.with_products().with_generator().publish()
    page = made_up.page()
    assert [section.id for section in page.sections] == ["data", "garments"]
    text = read(made_up).text
    assert "There are no reviews here: 8 products" in text and "gone (404)" in text
    assert "Table 1" not in text and "AUC" not in text
    for title in ("How well taste is predicted", "What people would be shown", "Designed for one person"):
        assert f"{title}: " in text, title


def test_an_empty_home_has_a_page_that_says_what_to_do(made_up: MadeUp):
    made_up.publish()
    assert "The data: nothing was ingested yet: materialise the group ingest." in read(made_up).text


def test_the_generators_figures_stand_beside_their_floors_and_unknown_ones_under_their_own_name(whole: MadeUp):
    whole.publish()
    text = read(whole).text
    assert re.search(r"Class agreement ?class_agreement ?0\.812 ?0\.969", text)
    assert re.search(r"strange_figure ?4\.500 ?–", text)
    assert "before the first step" in text and "step 200" in text


def test_designs_show_score_and_rank_and_are_linked_from_their_person(whole: MadeUp):
    whole.publish()
    page = read(whole)
    assert page.text.count("score 0.25 → 1.75") == 8 and "rank 1 of 20" in page.text
    assert {"href": "#design-1"} in page.all("a") and {"href": "#design-0"} not in page.all("a")


def test_a_strip_of_another_layout_is_shown_whole(whole: MadeUp):
    strip = whole.storage.reports / "designs" / "user-1.png"
    Image.new("RGB", (301, 77), "red").save(strip)
    whole.publish()
    shown = {image["alt"]: image for image in read(whole).all("img")}
    assert shown["User 1: all steps"]["width"] == "301"


def test_each_section_names_the_runs_it_came_from(whole: MadeUp):
    whole.publish()
    assert re.search(r"recommender_comparison ?, Dagster run .*?MLflow run mlflow-of-comparison", read(whole).text)


def test_only_the_embedded_catalogue_is_called_so_and_no_data_is_called_amazons(whole: MadeUp, tmp_path: Path):
    whole.publish(reviews="/somewhere/hm/reviews.jsonl")
    text = read(whole).text
    assert "learnt from hm/reviews.jsonl and hm/products.jsonl" in text and "drawn by Atelier" not in text
    assert "This run: hm/reviews.jsonl" in text
    (tmp_path / "truth.npz").touch()
    whole.publish(reviews=str(tmp_path / "reviews.json.gz"))
    text = read(whole).text
    assert "This run: embedded catalogue" in text and "was drawn by Atelier itself" in text


def test_a_new_page_replaces_the_old_one_whole(whole: MadeUp):
    first = whole.publish()
    old = {path.name for path in (first.path.parent / "files").iterdir()}
    for path in (whole.storage.reports / "designs").iterdir():
        path.unlink()
    second = whole.publish()
    now = {path.name for path in (second.path.parent / "files").iterdir()}
    assert now < old and len(now) == second.files
    assert second.size == second.path.stat().st_size + sum(
        p.stat().st_size for p in (second.path.parent / "files").iterdir()
    )


def test_a_page_that_cannot_be_rendered_leaves_the_old_one_as_it_was(whole: MadeUp):
    published = whole.publish()
    before = {path: path.read_bytes() for path in published.path.parent.rglob("*") if path.is_file()}
    broken = whole.page()
    broken = replace(broken, sections=(replace(broken.sections[0], content={}),))
    with pytest.raises(jinja2.UndefinedError):
        publish(broken, Album(), whole.storage.reports)
    assert {path: path.read_bytes() for path in published.path.parent.rglob("*") if path.is_file()} == before


def test_the_same_home_makes_the_same_page(whole: MadeUp):
    first = whole.publish().path.read_bytes()
    assert whole.publish().path.read_bytes() == first


def test_figures_of_a_leaky_split_say_so_and_others_do_not(whole: MadeUp):
    whole.publish()
    assert "leak" not in read(whole).text
    whole.say("splits", "vendor_all", split_unit="image")
    whole.publish()
    text = read(whole).text
    assert "These figures leak, for comparison" in text
    assert "that is one of its pictures; from the others it learnt" in text
