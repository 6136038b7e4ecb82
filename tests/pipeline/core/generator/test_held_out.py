"""Held-out garments are halved by product and class, and a class with too few is named."""

import numpy as np
import pyarrow as pa

from pipeline.core import schemas
from pipeline.core.generator.garment_classes import carrying
from pipeline.core.generator.held_out import halves

CLASSES = ("tops", "shoes")


def garments(products: dict[str, list[int]]) -> pa.Table:
    """Make a table of held-out products, class -> pictures of each, and as many products that train."""
    rows = [
        {"garment": 0, "asin": f"{name}{n}{'' if held else ' trains'}", "item": None, "garment_class": name,
         "source": "vendor", "sha256": f"{name}{n}{p}{held}", "held_out": held}
        for name, counts in products.items()
        for n, pictures in enumerate(counts)
        for p in range(pictures)
        for held in (True, False)
    ]  # fmt: skip
    return carrying(pa.Table.from_pylist(rows, schema=schemas.GARMENTS), CLASSES)


def test_every_held_out_product_is_whole_in_one_half_and_no_other_is_in_either():
    table = garments({"tops": [1, 2, 3] * 5, "shoes": [2] * 10})
    parts, held = halves(table, 8, 0), np.asarray(table["held_out"])
    assert (parts.judge ^ parts.reference == held).all() and not (parts.judge & parts.reference).any()
    frame = table.to_pandas().assign(judge=parts.judge)
    assert frame[held].groupby("asin")["judge"].nunique().max() == 1


def test_the_halves_of_each_class_have_about_as_many_pictures():
    table = garments({"tops": [1, 2, 3] * 5, "shoes": [2] * 10})
    parts, label = halves(table, 8, 3), np.asarray(table["garment_class"].to_pylist())
    for name in CLASSES:
        counts = [int((half & (label == name)).sum()) for half in (parts.judge, parts.reference)]
        assert abs(counts[0] - counts[1]) <= 3  # pictures of the largest product


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows():
    table = garments({"tops": [1] * 20, "shoes": [1] * 20})
    backwards = table.take(list(range(table.num_rows))[::-1])
    first = halves(table, 8, 0).judge
    assert (halves(backwards, 8, 0).judge[::-1] == first).all()
    assert (halves(table, 8, 1).judge != first).any()


def test_a_class_with_too_few_pictures_or_products_trains_no_judge_and_is_named():
    few = halves(garments({"tops": [1] * 40, "shoes": [1] * 39}), 40, 0)
    assert few.left_out == {"shoes": "39 held-out pictures of 39 products"}
    assert few.judge.sum() == 20 and few.reference.sum() == 20 + 39
    one = halves(garments({"tops": [1] * 40, "shoes": [50]}), 40, 0)
    assert one.left_out == {"shoes": "50 held-out pictures of 1 product"}


def test_only_the_rows_asked_for_are_divided():
    table = garments({"tops": [1] * 20, "shoes": [1] * 20})
    some = np.asarray(table["held_out"]) & (np.arange(table.num_rows) >= 10)
    parts = halves(table, 8, 0, some)
    assert (parts.judge | parts.reference == some).all()
