"""Cards: no text of somebody else's is read as Markdown or HTML, and a card of another model's figures is not made."""

import re
from pathlib import Path

import dagster as dg

from pipeline.cards.render import Card, body, plain, render
from pipeline.lookbook.album import Album
from pipeline.lookbook.cards import html
from tests.lookbook.made_up import HOSTILE, MODE, MadeUp

DATA = {
    "name": "it", "motivation": "", "source": "", "licence": "", "composition": [], "composition_words": "",
    "collected": [], "newer": False, "processed": [], "people": "", "not_for": [], "inputs": [],
}  # fmt: skip


def test_what_a_user_wrote_is_shown_and_not_obeyed():
    source = f"{HOSTILE} [a](javascript:alert(2)) ![b](http://elsewhere.example/b.png) | ` \n# and"
    shown = html(render(Card("data", {**DATA, "source": source, "licence": source})))
    assert "<script>" not in shown and "<img" not in shown and "<a" not in shown
    assert "&lt;script&gt;alert('boots')" in shown and "<h2># and" not in shown
    assert plain("a|b\n<i>") == "a\\|b \\<i\\>"


def test_an_equal_content_is_an_equal_text_and_the_head_is_for_machines():
    card = Card("data", DATA)
    assert render(card) == render(card)
    assert body("---\nlicense: x\n---\n\n# T\n") == "# T\n" and body("# T\n") == "# T\n"


def test_the_page_shows_cards_under_its_own_headings_and_without_their_head(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        left = {part.title: part.reason for part in made_up.page(Album()).left_out}
        assert "materialise model_cards" in left["What the models are, and are not for"]
        page = made_up.with_cards().publish().path.with_name("cards.html").read_text()
    assert f'id="card-{MODE}"' in page and "license: other" not in page
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert re.findall(r"<h3>(\w+)</h3>", page) == ["Details", "Details"]
    assert page.count("<h1") == 1
