"""Test which pictures the generator gets, which are held out, and the error if there are too few."""

import hashlib
import io
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.generator.garment_classes import built_in, carrying, classes_of
from pipeline.core.generator.garments import build
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.images.ledger import LedgerRow, PictureStore

CLASSES = built_in().names
SETTINGS = {"cap": 1000, "minimum": 1, "held_out": 0.0, "sources": "vendor_customer", "seed": 0}


def corners(pixels: np.ndarray) -> np.ndarray:
    """Use a few pixels of each picture as features, for tests that do not depend on features."""
    return pixels[:, ::32, ::32].reshape(len(pixels), -1).astype(np.float32)


class Shop:
    """Products with pictures, added one at a time."""

    def __init__(self, folder: Path):
        self.store = PictureStore(folder)
        self.urls: list[dict] = []
        self.products: dict[str, str | None] = {}
        self.made_with = CLASSES

    def picture(
        self, asin: str, garment_class: str | None, content: int, source="vendor", ok=True, position=0, data=b""
    ):
        """Add a picture; equal `content` means equal bytes."""
        if not data:
            sink = io.BytesIO()
            Image.fromarray(np.full((40, 30, 3), content % 256, np.uint8)).save(sink, "PNG")
            data = sink.getvalue() + content.to_bytes(4)  # bytes after the picture's end: another content
        url = f"http://shop/{len(self.urls)}.png"
        self.products[asin] = garment_class
        self.urls.append({"asin": asin, "item": None, "source": source, "position": position, "url": url})
        sha = hashlib.sha256(data).hexdigest() if ok else None
        reason = "ok" if ok else "http_404"
        self.store.add(LedgerRow(url, reason, 1, datetime(2020, 1, 1, tzinfo=UTC), sha256=sha), data if ok else None)
        return sha

    def classes(self, each: int, pictures: int = 1, start: int = 1000) -> "Shop":
        """Add `each` products of every class."""
        for number, name in enumerate(CLASSES):
            for n in range(each):
                for p in range(pictures):
                    self.picture(f"{name}-{n}", name, start + (number * each + n) * pictures + p, position=p)
        return self

    def build(self, **changes):
        self.store.flush()
        products = pa.Table.from_pylist(
            [
                {
                    "asin": a,
                    "title": "",
                    "categories": [],
                    "vendor_urls": [],
                    "vendor_urls_high": [],
                    "garment_class": c,
                }
                for a, c in self.products.items()
            ],
            schema=schemas.PRODUCTS,
        )
        urls = pa.Table.from_pylist(self.urls, schema=schemas.IMAGE_URLS)
        products = carrying(products, self.made_with)
        settings = {**SETTINGS, "embed": corners, "relevance": RelevanceSettings(own_class=0, outlier=0), **changes}
        return build(urls, self.store.ledger(), products, self.store, **settings)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "pictures")


def test_pixels_are_the_tables_rows(shop: Shop):
    for number, name in enumerate(CLASSES):
        shop.picture(f"B{number}", name, 10 * number + 5)
    made = shop.build()
    assert made.table.schema.equals(schemas.GARMENTS) and classes_of(made.table, "garments") == CLASSES
    assert made.pixels.shape == (6, 64, 64, 3)
    assert made.table["garment"].to_pylist() == list(range(6))
    for asin, pixels in zip(made.table["asin"].to_pylist(), made.pixels, strict=True):
        assert (pixels == 10 * int(asin[1:]) + 5).all()


def test_equal_contents_count_once_and_the_vendor_comes_first(shop: Shop):
    shop.classes(1)
    sha = shop.picture("guest", "men_tops", 77, source="customer")
    assert shop.picture("own", "men_tops", 77, source="vendor") == sha
    made = shop.build().table.to_pylist()
    assert [(row["asin"], row["source"]) for row in made if row["sha256"] == sha] == [("own", "vendor")]


def test_broken_pictures_and_products_of_no_class_are_left_out(shop: Shop):
    shop.classes(1)
    shop.picture("watch", None, 5)
    shop.picture("gone", "men_tops", 6, ok=False)
    assert not {"watch", "gone"} & set(shop.build().table["asin"].to_pylist())


def test_sources_vendor_excludes_customers_pictures(shop: Shop):
    shop.classes(1)
    shop.picture("own", "men_tops", 77, source="customer")
    assert "own" in shop.build().table["asin"].to_pylist()
    assert set(shop.build(sources="vendor").table["source"].to_pylist()) == {"vendor"}


def test_a_product_is_held_out_with_all_its_pictures_or_not_at_all(shop: Shop):
    made = shop.classes(8, pictures=3).build(held_out=0.4).table.to_pandas()
    assert made.groupby("asin")["held_out"].nunique().max() == 1
    assert 0.2 < made["held_out"].mean() < 0.6


def test_a_new_product_moves_no_other_across_the_hold_out(shop: Shop):
    before = shop.classes(6).build(held_out=0.4).table.to_pandas().set_index("asin")["held_out"]
    for n in range(10):
        shop.picture(f"new{n}", "men_tops", 5000 + n)
    after = shop.build(held_out=0.4).table.to_pandas().set_index("asin")["held_out"]
    assert after[before.index].equals(before)


def test_over_the_cap_every_class_keeps_its_share(shop: Shop):
    shop.classes(10)
    for n in range(60):
        shop.picture(f"extra{n}", "women_tops", 3000 + n)
    made = shop.build(cap=60)
    kept = Counter(made.table["garment_class"].to_pylist())
    assert kept == {name: 35 if name == "women_tops" else 5 for name in CLASSES}
    count = made.counts["women_tops"]
    assert (count["pictures"], count["kept"], count["held_out"]) == (70, 35, 0)


def test_the_cap_chooses_by_seed_and_content_not_by_order(shop: Shop, tmp_path: Path):
    chosen = set(shop.classes(10).build(cap=30).table["sha256"].to_pylist())
    other = Shop(tmp_path / "backwards").classes(10)
    other.urls.reverse()
    assert set(other.build(cap=30).table["sha256"].to_pylist()) == chosen
    assert set(shop.build(cap=30, seed=1).table["sha256"].to_pylist()) != chosen


def test_every_class_with_too_few_pictures_is_named_with_count_and_minimum(shop: Shop):
    shop.classes(3)
    for n in range(4):
        shop.picture(f"more{n}", "men_pants", 4000 + n)
    with pytest.raises(InputError) as caught:
        shop.build(minimum=5)
    said = str(caught.value)
    assert all(f"{name} has 3" in said for name in CLASSES if name != "men_pants")
    assert " men_pants" not in said and "at least 5 a class" in said and "ops.garments.config.minimum" in said


def test_held_out_pictures_do_not_count_towards_the_minimum(shop: Shop):
    with pytest.raises(InputError, match="women_tops has 3"):
        shop.classes(4).build(held_out=1.0, minimum=4)


def test_a_small_class_holds_out_only_what_it_can_spare(shop: Shop):
    shop.classes(10)
    for n in range(30):
        shop.picture(f"extra{n}", "women_tops", 3000 + n)
    built = shop.build(held_out=0.5, minimum=9)
    held = {name: count["held_out"] for name, count in built.counts.items()}
    assert held.pop("women_tops") > 10
    assert held == dict.fromkeys(held, 1)  # 9 of 10 are left


def test_a_product_stays_held_out_if_more_of_its_class_could_be(shop: Shop):
    shop.classes(10)
    few, many = (shop.build(held_out=0.5, minimum=least).table.to_pandas() for least in (8, 4))
    assert set(few[few["held_out"]]["asin"]) < set(many[many["held_out"]]["asin"])


def test_under_the_cap_too_every_class_keeps_a_held_out_product(shop: Shop):
    built = shop.classes(10).build(cap=24, held_out=0.1)
    assert {(count["kept"], count["held_out"] > 0) for count in built.counts.values()} == {(4, True)}


def test_every_class_keeps_a_held_out_product_however_small_the_share(shop: Shop):
    # The evaluation fits a classifier on held-out pictures of every class.
    built = shop.classes(3).build(held_out=0.01)
    assert {name: count["held_out"] for name, count in built.counts.items()} == dict.fromkeys(CLASSES, 1)


def test_unknown_sources_are_refused_with_the_known_ones(shop: Shop):
    with pytest.raises(ValueError, match="vendor, vendor_customer"):
        shop.classes(1).build(sources="everybody")


def test_irrelevant_pictures_are_discarded_counted_and_shown_before_the_hold_out(shop: Shop):
    # The same photograph of two products. It has a shape, because blank pictures match nothing.
    def striped(asin: str, cut: int) -> None:
        sink = io.BytesIO()
        picture = np.full((64, 64, 3), 240, np.uint8)
        picture[cut:50, 10:30] = (200, 30, 30)
        picture[20:40, 30:60] = (30, 30, 200)
        Image.fromarray(picture).save(sink, "PNG")
        shop.picture(asin, "men_tops", 0, data=sink.getvalue() + asin.encode())

    shop.classes(3)
    striped("first", 8)
    striped("second", 8)
    made = shop.build()
    assert made.counts["men_tops"]["near_duplicate"] == 1
    assert "first" in made.table["asin"].to_pylist() and "second" not in made.table["asin"].to_pylist()
    assert (made.discarded.garment_class, made.discarded.reason) == (["men_tops"], ["near_duplicate"])
    assert made.discarded.pixels.shape == (1, 64, 64, 3)
    whole = shop.build(relevance=RelevanceSettings(own_class=0, outlier=0, near_duplicates=False))
    assert whole.table.num_rows == made.table.num_rows + 1


def test_too_few_after_discarding_says_how_many_were_discarded(shop: Shop):
    shop.classes(4)
    with pytest.raises(InputError, match="after 0 pictures were discarded as irrelevant and 50% of products held out"):
        shop.build(minimum=4, held_out=0.5)
