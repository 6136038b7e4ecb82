"""A user's own garment class, from the file to the generator's pictures and the page."""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.build import build_definitions
from pipeline.core import schemas
from pipeline.core.dataset.survivors import image_urls
from pipeline.core.errors import InputError
from pipeline.core.generator.garment_classes import built_in, classes_of
from pipeline.core.generator.generation import labels
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.home.storage import Storage
from pipeline.lookbook.album import cut
from pipeline.runtime.resources import RawSources, default_resources
from pipeline.runtime.summary import LatestMetadata
from pipeline.settings.assets import IngestSettings
from pipeline.settings.method import Method
from pipeline.upkeep.jobs import everything
from pipeline.views.sheets import load
from pipeline.views.words import class_words
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.core.generator.test_garment_classes import DRESSES
from tests.pipeline.lookbook.made_up import MadeUp

SEVEN = (*built_in().names, "women_dresses")
TITLES = {
    "women_tops": "Women's Blouse", "women_pants": "Women's Jeans", "women_shoes": "Women's Sandals",
    "men_tops": "Men's Shirt", "men_pants": "Men's Chinos", "men_shoes": "Men's Boots",
    "women_dresses": "Women's Summer Dress", "none": "Umbrella",
}  # fmt: skip
EACH = 8


@dataclass
class Shop:
    """A home whose products have pictures of distinct greys, and its latest materialisation."""

    home: Path
    instance: dg.DagsterInstance

    def materialise(self, *assets: str) -> None:
        definitions = build_definitions(resources={**default_resources(), "method": Method(profile=str(TINY))})
        definitions.resolve_job_def(everything.name).execute_in_process(
            instance=self.instance, asset_selection=[dg.AssetKey(name) for name in assets]
        )

    def said(self, asset: str) -> dict[str, Any]:
        return LatestMetadata(self.instance).of(asset)

    def version(self, asset: str) -> str:
        record = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert record and record.asset_materialization and record.asset_materialization.tags
        return record.asset_materialization.tags["dagster/data_version"]


INGEST = ("reviews", "products", "rejects")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Ingest products with a file of seven classes, train a generator on them, and make its gallery."""
    folder = tmp_path_factory.mktemp("classes")
    home = folder / "home"
    store, lines = PictureStore(Storage(root=str(home)).pictures), []
    for number, (name, title) in enumerate(TITLES.items()):
        for n in range(EACH):
            url, sink = f"http://shop/{name}-{n}.png", io.BytesIO()
            Image.fromarray(np.full((70, 64, 3), 20 * number + n, np.uint8)).save(sink, "PNG")
            sha = hashlib.sha256(sink.getvalue()).hexdigest()
            now = datetime(2020, 1, 1, tzinfo=UTC)
            store.add(LedgerRow(url, "ok", 1, now, 200, sha, "PNG", 64, 70, 9), sink.getvalue())
            lines.append(json.dumps({"asin": f"{name}-{n}", "title": title, "imageURL": [url]}))
    store.flush()
    (folder / "products.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "mine.toml").write_text(DRESSES)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        isolate(
            patch, home, ATELIER_PRODUCTS=str(folder / "products.jsonl"), ATELIER_CLASSES=str(folder / "mine.toml"),
            MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}",
        )  # fmt: skip
        made = Shop(home, instance)
        made.materialise(*INGEST)
        tables = home / "tables"
        products = pq.read_table(tables / "products.parquet")
        urls = image_urls(schemas.ITEMS.empty_table(), products, schemas.REVIEWS.empty_table(), extra_per_class=EACH)
        pq.write_table(urls, tables / "image_urls.parquet")
        pq.write_table(store.ledger(), tables / "image_ledger.parquet")
        made.materialise("garments", "lsgan", "generated_garments")
        yield made


def test_products_have_the_class_and_carry_all_seven(shop: Shop):
    products = pq.read_table(shop.home / "tables" / "products.parquet")
    assert classes_of(products, "products") == SEVEN
    for asin, found in zip(products["asin"].to_pylist(), products["garment_class"].to_pylist(), strict=True):
        assert found == (asin.split("-")[0] if not asin.startswith("none") else None)
    assert shop.said("products")["garment_classes"] == dict.fromkeys([*SEVEN, "none"], EACH)
    assert shop.said("products")["words_moved"]["dress"] == "kinds.other"


def test_garments_are_cropped_and_numbered_by_the_runs_classes(shop: Shop):
    garments = pq.read_table(shop.home / "tables" / "garments.parquet")
    assert classes_of(garments, "garments") == SEVEN
    (path,) = (shop.home / "garments").glob("*.npy")
    for asin, label, pixels in zip(garments["asin"].to_pylist(), labels(garments), np.load(path), strict=True):
        assert asin.startswith(SEVEN[label] + "-")
        assert (pixels == 20 * list(TITLES).index(SEVEN[label]) + int(asin.split("-")[1])).all()


def test_the_generator_has_seven_classes_and_its_gallery_a_row_for_each(shop: Shop):
    folder = Storage(root=str(shop.home)).current("generator")
    meta = json.loads((folder.path / "meta.json").read_text())
    assert (tuple(meta["class_names"]), meta["settings"]["classes"]) == (SEVEN, 7)
    assert tuple(shop.said("generated_garments")["classes"]) == SEVEN
    sheet = cut(load(shop.home / "lookbook" / "pictures" / "generated.png"), SEVEN)
    assert sheet is not None and len(sheet) == 7


def test_other_rules_change_the_version_of_products_even_if_no_class_changes(shop: Shop):
    products, rules = shop.version("products"), shop.said("products")["class_rules"]
    mine = shop.home.parent / "mine.toml"
    mine.write_text(DRESSES.replace('"gown"', '"gown", "sarafan"'))
    try:
        shop.materialise(*INGEST)
    finally:
        mine.write_text(DRESSES)
    assert shop.version("products") != products and shop.said("products")["class_rules"] != rules
    shop.materialise(*INGEST)
    assert (shop.version("products"), shop.said("products")["class_rules"]) == (products, rules)


def test_other_class_names_make_another_model_and_the_old_one_is_refused(shop: Shop):
    mine = shop.home.parent / "mine.toml"
    garments, model = shop.version("garments"), Storage(root=str(shop.home)).current("generator").run
    # Dresses get the name of men's shoes, and men's shoes a new name at the end.
    of_dresses, of_shoes = "[classes.men_shoes]", '[classes.boots_of_men]\ngender = "men"\nkind = "shoes"\n[kinds'
    mine.write_text(DRESSES.replace("[classes.women_dresses]", of_dresses).replace("[kinds", of_shoes))
    try:
        shop.materialise(*INGEST, "garments")
        with pytest.raises(InputError, match=r"classes women_tops, .*, now women_tops, .*boots_of_men.*lsgan again"):
            shop.materialise("generated_garments")
        shop.materialise("lsgan")
    finally:
        mine.write_text(DRESSES)
    assert shop.version("garments") != garments
    assert Storage(root=str(shop.home)).current("generator").run != model
    shop.materialise(*INGEST, "garments", "lsgan")
    assert Storage(root=str(shop.home)).current("generator").run == model and shop.said("lsgan")["reused"]


def test_a_runs_file_overrides_the_environments(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text(DRESSES.replace("women_dresses", "women_gowns"))
    raw = RawSources(classes=str(tmp_path / "nowhere.toml"))
    assert raw.class_rules(str(path)).names[-1] == "women_gowns"
    with pytest.raises(InputError, match="nowhere"):
        raw.class_rules()
    assert RawSources().class_rules() is built_in()
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"ops: {{ingest: {{config: {{classes: {path}}}}}}}")
    assert Method(profile=str(profile)).settings(IngestSettings, "ingest").classes == str(path)


def test_the_page_shows_an_unknown_class_with_a_readable_name(tmp_path: Path):
    assert class_words("women_dresses") == "Women’s dresses" and class_words("men_pants") == "Men’s trousers"
    assert class_words("hats") == "Hats"
    with dg.DagsterInstance.ephemeral() as instance:
        page = MadeUp(tmp_path, instance, SEVEN).with_products().with_generator().with_designs().page()
    sections = {section.id: section.content for section in page.sections}
    assert [card.name for card in sections["garments"]["classes"]][-1] == "Women’s dresses"
    assert sections["garments"]["rows"][-1] == "women’s dresses" and len(sections["garments"]["frames"]) == 3
    assert [design.words for design in sections["designs"]["made"][0].designs][-1] == "Women’s dresses"
    assert {bar.name for bar in sections["data"]["classes"]} >= {"Women’s dresses", "Men’s shoes"}


def test_an_invalid_file_is_found_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    from pipeline.cli.run import main
    from pipeline.runtime.exits import WRONG_CALL

    mine = tmp_path / "mine.toml"
    mine.write_text(DRESSES.replace('kind = "dresses"', 'kind = "dress"'))
    products = tmp_path / "products.jsonl"
    products.write_text('{"asin": "1", "title": "x"}\n')
    isolate(monkeypatch, tmp_path / "home", ATELIER_PRODUCTS=str(products), ATELIER_CLASSES=str(mine))
    assert main(["--profile", str(TINY), "--dry-run"]) == WRONG_CALL
    said = capsys.readouterr().out.replace("\n", "")
    assert "classes.women_dresses.kind is 'dress'" in said and str(mine) in said
