"""Cards escape foreign text for Markdown and HTML, and are shown without their metadata."""

import re
from pathlib import Path

import dagster as dg

from pipeline.cards.render import Card, body, plain, render
from pipeline.lookbook.album import Album
from pipeline.lookbook.cards import html
from tests.pipeline.lookbook.made_up import HOSTILE, MODE, MadeUp

DATA = {
    "name": "it", "motivation": "", "source": "", "licence": "", "composition": [], "composition_words": "",
    "collected": [], "newer": False, "processed": [], "people": "", "not_for": [], "inputs": [],
}  # fmt: skip


def test_user_text_is_escaped():
    source = f"{HOSTILE} [a](javascript:alert(2)) ![b](http://elsewhere.example/b.png) | ` \n# and"
    shown = html(render(Card("data", {**DATA, "source": source, "licence": source})))
    assert "<script>" not in shown and "<img" not in shown and "<a" not in shown
    assert "&lt;script&gt;alert('boots')" in shown and "<h2># and" not in shown
    assert plain("a|b\n<i>") == "a\\|b \\<i\\>"


def test_equal_content_gives_equal_text_and_body_removes_the_metadata():
    card = Card("data", DATA)
    assert render(card) == render(card)
    assert body("---\nlicense: x\n---\n\n# T\n") == "# T\n" and body("# T\n") == "# T\n"


def test_the_page_shows_cards_below_its_headings_and_without_metadata(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        left = {part.title: part.reason for part in made_up.page(Album()).left_out}
        assert "materialise model_cards" in left["What the models are, and are not for"]
        page = made_up.with_cards().publish().path.with_name("cards.html").read_text()
    assert f'id="card-{MODE}"' in page and "license: other" not in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert re.findall(r"<h3>(\w+)</h3>", page) == ["Details", "Details"]
    assert page.count("<h1") == 1
