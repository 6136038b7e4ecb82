"""Cards escape foreign text for Markdown and HTML, and are shown without their metadata."""

import json
import re
import shutil
from pathlib import Path

import dagster as dg

from pipeline.cards import data, recommender
from pipeline.cards.render import Card, body, plain, render
from pipeline.core.dataset.extent import Extent
from pipeline.lookbook.album import Album
from pipeline.lookbook.cards import html
from pipeline.upkeep.mlflow_records import Origin
from tests.pipeline.lookbook.made_up import HOSTILE, MODE, MadeUp

DATA = {
    "name": "it", "motivation": "", "source": "", "licence": "", "composition": [], "composition_words": "",
    "extent": "", "collected": [], "newer": False, "processed": [], "people": "", "not_for": [], "inputs": [],
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


def test_both_cards_of_a_model_of_a_sample_say_so(tmp_path: Path):
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path, instance).with_products().with_reviews()
        home, folder = made_up.home(), made_up.storage.current("recommender", MODE)
        for name in ("splits", "catalogue"):
            shutil.copy(made_up.storage.tables / name / f"{MODE}.parquet", folder.path / f"{name}.parquet")
        manifest = folder.path / "manifest.json"
        plain_text = manifest.read_text()
        texts = {}
        for name, extent in (("whole", Extent()), ("part", Extent(4, users=3, of_users=1234, seed=2))):
            manifest.write_text(json.dumps({**json.loads(plain_text), "extent": extent.plain()}))
            known = {"registered": "", "version": "", "champion": ""}
            model = recommender.card(home, MODE, folder, Origin(), known, "none")
            texts[name] = render(model), render(data.of_recommender(home, MODE, folder, "it", "none"))
    for text in texts["part"]:
        assert "Not all of the shop: sample: 3 of 1,234 users (seed 2), k = 4" in text
    assert "It knows only a part of the shop's users (sample: 3 of 1,234 users (seed 2), k = 4)" in texts["part"][0]
    assert "fewer than 4 distinct purchases" in texts["part"][1]
    assert not any("Not all of the shop" in text or "sample:" in text for text in texts["whole"])
    assert "fewer than 5 distinct purchases" in texts["whole"][1]
