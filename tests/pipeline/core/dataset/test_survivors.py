"""Test which pictures are fetched, and which each mode keeps."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.core import schemas
from pipeline.core.dataset import kcore, survivors
from pipeline.core.errors import InputError
from pipeline.core.raw import ingest

DATASETS = Path(__file__).parents[4] / "../shared/datasets"


def ledger_of(urls, gone=()):
    rows = []
    for url in sorted(set(urls)):
        ok = url not in gone
        rows.append({"url": url, "status": "ok" if ok else "gone", "reason": "ok" if ok else "http_404", "attempts": 1,
                     "sha256": hashlib.sha256(url.encode()).hexdigest() if ok else None,
                     "fetched_at": datetime(2020, 1, 1, tzinfo=UTC)})  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schemas.IMAGE_LEDGER)


def small():
    """Users a (items 1 2 3) and b (items 1 2); item 2 has a customer photo by b and by a stranger."""
    items = pa.table({"item": pa.array([0, 1, 2], pa.int32()), "asin": ["1", "2", "3"]}, schema=schemas.ITEMS)
    products = pa.Table.from_pylist(
        [{"asin": a, "title": "", "categories": [], "vendor_urls": u, "vendor_urls_high": ["H" + a], "garment_class": c}
         for a, u, c in (("1", ["v1", "v1b"], None), ("3", ["v3"], "men_tops"), ("8", ["v8"], "men_tops"),
                         ("9", ["v9"], "men_tops"), ("7", ["v7"], None))],
        schema=schemas.PRODUCTS,
    )  # fmt: skip
    reviews = pa.Table.from_pylist(
        [{"reviewer_id": r, "asin": a, "image_urls": u, "review_id": r + a}
         for r, a, u in (("b", "2", ["c2", "c2x", "c2"]), ("stranger", "2", ["s2", "c2"]), ("b", "1", ["v1"]),
                         ("a", "9", ["c9"]))],
        schema=schemas.REVIEWS,
    )  # fmt: skip
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    columns = [pa.array([p[0] for p in pairs], pa.int32()), pa.array([p[1] for p in pairs], pa.int32())]
    return items, products, reviews, pa.table([*columns, pa.nulls(5, pa.int64())], schema=schemas.INTERACTIONS)


def test_vendor_pictures_come_first_and_photos_have_one_row_per_reviewer():
    items, products, reviews, _ = small()
    table = survivors.image_urls(items, products, reviews)
    assert table.schema == schemas.IMAGE_URLS
    rows = [(r["asin"], r["item"], r["source"], r["position"], r["url"], r["reviewer_id"]) for r in table.to_pylist()]
    assert rows == [
        ("1", 0, "vendor", 0, "v1", None), ("1", 0, "vendor", 1, "v1b", None), ("3", 2, "vendor", 0, "v3", None),
        ("2", 1, "customer", 0, "c2", "b"), ("2", 1, "customer", 1, "c2x", "b"),
        ("2", 1, "customer", 0, "s2", "stranger"), ("2", 1, "customer", 1, "c2", "stranger"),
    ]  # fmt: skip
    high = survivors.image_urls(items, products, reviews, vendor_resolution="high")
    assert high.filter(pc.equal(high["source"], "vendor"))["url"].to_pylist() == ["H1", "H3"]


@pytest.mark.parametrize(
    ("modes", "urls"),
    [
        (("vendor_single",), ["v1", "v3"]),
        (("vendor_single", "vendor_all"), ["v1", "v1b", "v3"]),
        (("vendor_single", "vendor_customer"), ["v1", "v1b", "v3", "c2", "c2x", "s2", "c2"]),
    ],
)
def test_only_pictures_of_the_wanted_modes_are_listed(modes: tuple[str, ...], urls: list[str]):
    items, products, reviews, _ = small()
    assert survivors.image_urls(items, products, reviews, modes=modes)["url"].to_pylist() == urls


@pytest.mark.parametrize("resolution", ["low", "high"])
def test_a_product_without_pictures_in_the_wanted_size_has_those_in_the_other(resolution: str):
    items, _, _, _ = small()
    wanted, other = survivors.url_columns(resolution)
    lists = {wanted: [["w1"], [], []], other: [["o1"], ["o2", "o2b"], ["o3"]]}
    columns = {name: pa.array(urls, pa.list_(pa.string())) for name, urls in lists.items()}
    products = pa.table({"asin": ["1", "2", "3"], "garment_class": pa.nulls(3, pa.string()), **columns})
    none = schemas.REVIEWS.empty_table()
    urls = survivors.image_urls(items, products, none, vendor_resolution=resolution)
    assert urls["url"].to_pylist() == ["w1", "o2", "o2b", "o3"]
    assert survivors.lacking_size(products, resolution).to_pylist() == [False, True, True]
    alone = products.drop_columns([other])
    assert survivors.image_urls(items, alone, none, vendor_resolution=resolution)["url"].to_pylist() == ["w1"]


def test_other_products_are_added_for_the_generator_up_to_the_cap_in_any_order():
    items, products, reviews, _ = small()
    table = survivors.image_urls(items, products, reviews, extra_per_class=1, seed=3)
    extra = table.filter(pc.is_null(table["item"]))["asin"].to_pylist()
    assert len(extra) == 1 and extra[0] in ("8", "9")
    turned = products.take([4, 3, 2, 1, 0])
    again = survivors.image_urls(items, turned, reviews, extra_per_class=1, seed=3)
    assert again.filter(pc.is_null(again["item"]))["asin"].to_pylist() == extra


def test_a_mode_keeps_items_with_a_working_picture_then_users_with_k_then_items_they_touched():
    items, products, reviews, interactions = small()
    urls = survivors.image_urls(items, products, reviews)
    ledger = ledger_of(urls["url"].to_pylist(), gone={"v1"})
    single = survivors.surviving(interactions, urls, ledger, "vendor_single", k=2)
    assert single.images["url"].to_pylist() == ["v1b", "v3"]  # the first that works
    assert single.pairs["user"].to_pylist() == [0, 0]  # b is left with one item
    assert single.counts["items_without_picture"] == 1 and single.counts["users_under_k"] == 1
    both = survivors.surviving(interactions, urls, ledger, "vendor_customer", k=2)
    assert both.counts["item_images"] == 5  # v1b v3 c2 c2x s2: c2 by two reviewers is one picture
    assert (both.counts["users"], both.counts["items"], both.counts["interactions"]) == (2, 3, 5)
    three = survivors.surviving(interactions, urls, ledger_of(urls["url"].to_pylist()), "vendor_customer", k=3)
    assert three.pairs["user"].to_pylist() == [0, 0, 0]


def test_a_mode_without_a_working_picture_is_an_error_that_names_it():
    items, products, reviews, interactions = small()
    urls = survivors.image_urls(items, products, reviews)
    with pytest.raises(InputError, match="vendor_all: no working picture of any of 3 items"):
        survivors.surviving(
            interactions, urls, ledger_of(urls["url"].to_pylist(), urls["url"].to_pylist()), "vendor_all"
        )


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
@pytest.mark.parametrize(
    ("resolution", "mode", "expected"),
    [
        ("low", "vendor_single", (557, 6905, 6905, 14018)),
        ("low", "vendor_all", (557, 6905, 15311, 14018)),
        ("low", "vendor_customer", (558, 6926, 17486, 14045)),
        ("high", "vendor_single", (557, 6885, 6885, 13996)),
        ("high", "vendor_all", (557, 6885, 15276, 13996)),
        ("high", "vendor_customer", (557, 6905, 17452, 14018)),
    ],
)
def test_the_hm_sample_has_the_counts_of_its_readme(hm, resolution, mode, expected):
    reviews, products, core, gone = hm
    urls = survivors.image_urls(core.items, products, reviews, vendor_resolution=resolution)
    found = survivors.surviving(core.interactions, urls, ledger_of(urls["url"].to_pylist(), gone), mode).counts
    assert tuple(found[n] for n in ("users", "items", "item_images", "interactions")) == expected


@pytest.fixture(scope="module")
def hm():
    reviews = ingest.read_reviews([DATASETS / "hm/reviews.jsonl.gz"]).reviews
    products = ingest.read_products([DATASETS / "hm/products.jsonl.gz"]).products
    gone = frozenset((DATASETS / "hm/missing.txt").read_text().split())
    return reviews, products, kcore.five_core(reviews), gone


def test_every_image_mode_has_a_rule_and_its_words():
    from pipeline.views.words import MODES

    assert set(schemas.IMAGE_MODES) == set(survivors.RULES) == set(MODES)


def test_a_new_mode_needs_a_name_a_rule_and_a_description(monkeypatch: pytest.MonkeyPatch):
    """Follow docs/how-to.md."""
    from pipeline.views import paper, plots

    monkeypatch.setattr(schemas, "IMAGE_MODES", (*schemas.IMAGE_MODES, "customer"))
    monkeypatch.setitem(survivors.RULES, "customer", (("customer",), False))
    items, products, reviews, interactions = small()
    urls = survivors.image_urls(items, products, reviews)
    found = survivors.surviving(interactions, urls, ledger_of(urls["url"].to_pylist()), "customer", k=1)
    assert set(found.images["source"].to_pylist()) == {"customer"} and found.counts["items"] == 1
    assert paper.published("customer").users is None
    curve = plots.training_curve([{"epoch": 1, "loss": 0.6, "validation_auc": 0.6}], "DVBPR", "customer")
    assert curve.ndim == 3
