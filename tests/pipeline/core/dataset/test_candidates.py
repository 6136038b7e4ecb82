"""With candidates all, products that nobody has are numbered, keep their pictures, and are items of every mode."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.core import schemas
from pipeline.core.arrays import mode_arrays
from pipeline.core.dataset import catalogue, splits, survivors
from pipeline.core.dataset.candidates import with_all_products
from pipeline.core.dataset.extent import Extent
from pipeline.core.tables import StoredTable
from pipeline.settings.assets import FiveCoreSettings


def stored(path: Path, *rows):
    """PRODUCTS of (asin, low pictures, high pictures), in a file."""
    full = [
        {"asin": asin, "title": "", "categories": [], "vendor_urls": low, "vendor_urls_high": high}
        for asin, low, high in rows
    ]
    pq.write_table(pa.Table.from_pylist(full, schema=schemas.PRODUCTS), path)
    return StoredTable(path, schemas.PRODUCTS)


PRODUCTS = [
    ("p3", ["u3"], []),
    ("p1", ["u1"], []),
    ("bare", [], []),
    ("p2", [], ["u2"]),
    ("p4", ["u4"], []),
    ("p3", ["u3"], []),
]


def items(*asins):
    return pa.table([pa.array(range(len(asins)), pa.int32()), list(asins)], schema=schemas.ITEMS)


def test_products_with_a_picture_are_numbered_once_after_the_items_there_are(tmp_path: Path):
    products = stored(tmp_path / "products.parquet", *PRODUCTS)
    found = with_all_products(items("p1", "gone"), products)
    assert found.to_pylist() == items("p1", "gone", "p3", "p2", "p4").to_pylist()
    assert found.schema == schemas.ITEMS
    assert with_all_products(found, products).equals(found)  # a second time nothing is new


def test_an_item_that_nobody_bought_is_an_item_of_the_mode_in_no_split(tmp_path: Path):
    products = stored(tmp_path / "products.parquet", *PRODUCTS)
    numbered = with_all_products(items("p1", "p2", "p3"), products)
    pairs = [(user, item, 0) for user in (0, 1) for item in (0, 1, 2)]
    interactions = pa.table(
        [
            pa.array(column, kind)
            for column, kind in zip(zip(*pairs, strict=True), schemas.INTERACTIONS.types, strict=True)
        ],
        schema=schemas.INTERACTIONS,
    )
    urls = survivors.image_urls(numbered, products.read(), schemas.REVIEWS.empty_table())
    ledger = pa.Table.from_pylist(
        [
            {"url": url, "status": "ok", "reason": "ok", "attempts": 1, "sha256": url, "fetched_at": 0}
            for url in urls["url"].to_pylist()
        ],
        schema=schemas.IMAGE_LEDGER,
    )
    found = {
        kind: survivors.surviving(interactions, urls, ledger, "vendor_all", k=2, candidates=kind)
        for kind in ("bought", "all")
    }
    assert "items_never_bought" not in found["bought"].counts
    assert found["all"].counts == {**found["bought"].counts, "item_images": 4, "items_never_bought": 1}
    assert found["all"].pairs.equals(found["bought"].pairs)
    users = pa.table([pa.array([0, 1], pa.int32()), ["a", "b"]], schema=schemas.USERS)
    bank = pa.table([pa.array(range(4), pa.int32()), sorted(set(urls["url"].to_pylist()))], schema=schemas.BANK_INDEX)
    split = splits.assign({"vendor_all": found["all"]}, "vendor_all", users, numbered)
    data = mode_arrays(catalogue.build(found["all"], split, bank, users).table, split)
    assert [numbered["asin"][item].as_py() for item in data.items] == ["p1", "p2", "p3", "p4"]
    assert set(np.unique(np.concatenate(list(data.pairs.values()))[:, 1])) == {0, 1, 2}
    assert pc.max(split["item"]).as_py() == 2


def test_the_extent_records_the_candidates_only_where_they_are_not_the_default():
    assert "candidates" not in Extent().plain() and Extent.of(Extent().plain()) == Extent()
    assert Extent.of(Extent(candidates="all").plain()) == Extent(candidates="all")


def test_unknown_candidates_are_refused():
    with pytest.raises(ValueError, match="candidates: 'most' is not one of bought, all"):
        FiveCoreSettings(candidates="most")
