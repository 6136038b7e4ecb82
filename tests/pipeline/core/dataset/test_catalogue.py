"""The catalogue lacks held-out photos by content, merges equal pictures, and has dense ids in a fixed order."""

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core import schemas
from pipeline.core.dataset import catalogue, splits
from tests.pipeline.core.shops import bank, items_table, shop, shops, users_table

PAIRS = [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 0, 1), (1, 1, 1), (1, 2, 1)]


def splits_of(held, by_picture=None):
    """Build SPLITS of PAIRS with `held` {(user, item): split} held out, and pictures by `by_picture` {...: sha256}."""
    rows = [
        {
            "user": u,
            "item": i,
            "split": held.get((u, i), "train"),
            "paired": True,
            "sha256": (by_picture or {}).get((u, i)),
        }
        for u, i, _ in PAIRS
    ]
    return pa.Table.from_pylist(rows, schema=schemas.SPLITS)


def build(surviving, table):
    return catalogue.build(surviving, table, bank(), users_table())


def test_a_customers_own_photo_of_a_held_out_item_never_trains():
    photos = [("u0", 0, "d"), ("u1", 0, "e"), ("stranger", 0, "d"), ("u0", 1, "d"), ("u0", 0, "a")]
    surviving = shop(PAIRS, [(0, "a"), (1, "b"), (2, "c")], photos)["vendor_customer"]
    built = build(surviving, splits_of({(0, 0): "test"}))
    rows = [(r["image"], r["item"], r["source"], r["sha256"], r["user"]) for r in built.table.to_pylist()]
    assert rows == [
        (0, 0, "vendor", "a", None),  # u0's photo of the same content is removed, the vendor's stays
        (1, 0, "customer", "e", 1),
        (2, 1, "vendor", "b", None),
        (3, 1, "customer", "d", 0),  # the same content of another item is another picture
        (4, 2, "vendor", "c", None),
    ]
    assert built.counts == {"images_before": 8, "held_out_photos": 2, "merged": 1, "images": 5, "items": 3}
    assert built.table.schema == schemas.CATALOGUE
    assert built.table["bank_row"].to_pylist() == [7, 3, 6, 4, 5]


def test_holding_out_single_pictures_removes_nothing_from_the_catalogue():
    photos = [("u0", 0, "d"), ("u0", 0, "e"), ("u1", 0, "e")]
    surviving = shop(PAIRS, [(0, "a"), (1, "b"), (2, "c")], photos)["vendor_customer"]
    built = build(surviving, splits_of({(0, 0): "test"}, by_picture={(0, 0): "d"}))
    assert [(r["item"], r["sha256"]) for r in built.table.to_pylist()] == [
        (0, "a"),
        (0, "d"),
        (0, "e"),
        (1, "b"),
        (2, "c"),
    ]
    assert built.counts["held_out_photos"] == 0
    assert built.table.equals(build(surviving, splits_of({})).table)


def test_equal_pictures_of_an_item_are_merged_and_the_vendors_stays():
    surviving = shop(PAIRS, [(0, "a"), (0, "a"), (1, "b"), (2, "c")], [("u1", 0, "a")])["vendor_customer"]
    built = build(surviving, splits_of({}))
    assert built.table["source"].to_pylist() == ["vendor"] * 3
    assert built.counts["merged"] == 2


def test_an_item_without_a_picture_or_a_picture_outside_the_bank_is_an_error():
    surviving = shop(PAIRS, [(0, "a"), (1, "b")], [("u0", 2, "c")])["vendor_customer"]
    with pytest.raises(ValueError, match=r"1 items are left without a picture \(first: item 2\)"):
        build(surviving, splits_of({(0, 2): "test"}))
    with pytest.raises(ValueError, match="3 pictures are not in the image bank"):
        catalogue.build(surviving, splits_of({}), bank().slice(0, 3), users_table())


@given(shops(), st.sampled_from(schemas.IMAGE_MODES), st.integers(0, 3), st.sampled_from(splits.SPLIT_UNITS))
@settings(max_examples=80, deadline=None)
def test_the_catalogue_equals_a_slow_reference_and_leaves_no_item_without_a_picture(surviving, mode, seed, unit):
    assume(mode in surviving)
    table = splits.assign(surviving, mode, users_table(), items_table(), seed, split_unit=unit)
    built = build(surviving[mode], table)
    held = {(f"u{r['user']}", r["item"]) for r in table.to_pylist() if r["split"] != "train" and unit == "interaction"}
    images = surviving[mode].images.to_pylist()
    vendor = {(r["item"], r["sha256"]) for r in images if r["source"] == "vendor"}
    gone = {(r["item"], r["sha256"]) for r in images if (r["reviewer_id"], r["item"]) in held} - vendor
    left = {(r["item"], r["sha256"]) for r in images} - gone
    found = [(r["item"], r["sha256"]) for r in built.table.to_pylist()]
    assert len(found) == len(set(found)) and set(found) == left
    assert {item for item, _ in found} == set(surviving[mode].pairs["item"].to_pylist())
    counts = built.counts
    assert counts["images_before"] - counts["held_out_photos"] - counts["merged"] == counts["images"] == len(found)
