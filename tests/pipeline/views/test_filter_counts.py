"""Counts as named steps, and the waterfall chart of them."""

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb

from pipeline.core import schemas
from pipeline.core.dataset import kcore, survivors
from pipeline.views.filter_counts import FilterStep, catalogue, five_core, pruning
from pipeline.views.metadata import THUMBNAIL_BYTES, thumbnail
from pipeline.views.plots import ACCENT, PALE, waterfall
from tests.pipeline.core.dataset.test_survivors import ledger_of, small


def left(steps: list[FilterStep]) -> list[int]:
    return [step.left for step in steps]


def test_reviews_users_and_items_decrease_independently():
    # a: five reviews of four items, b: two of two, c: five of five.
    pairs = [("a", i) for i in "11234"] + [("b", i) for i in "16"] + [("c", i) for i in "12345"]
    rows = [{"reviewer_id": r, "asin": i, "image_urls": [], "review_id": str(n)} for n, (r, i) in enumerate(pairs)]
    found = five_core(kcore.five_core(pa.Table.from_pylist(rows, schema=schemas.REVIEWS)).counts)
    assert {what: left(steps) for what, steps in found.items()} == {
        "reviews": [12, 10, 5], "users": [3, 2, 1], "items": [6, 5, 5],
    }  # fmt: skip
    assert [step.name for step in found["users"]] == [
        "read", "of users with 5 reviews or more", "distinct, users with 5 items or more",
    ]  # fmt: skip


def test_steps_name_k_and_the_rule_and_a_step_without_a_count_is_left_out():
    found = five_core({"reviews": 9, "users": 3, "users_with_k_reviews": 2}, k=7, iterative=True)
    assert found["users"] == [FilterStep("read", 3), FilterStep("of users with 7 reviews or more", 2)]
    whole = {"users": 3, "five_core_users": 1}
    assert five_core(whole, 7, iterative=True)["users"][-1] == FilterStep("distinct, 7 or more a user and an item", 1)


def test_pruning_drops_items_then_users_then_items():
    items, products, reviews, interactions = small()
    urls = survivors.image_urls(items, products, reviews)
    ledger = ledger_of(urls["url"].to_pylist())
    found = pruning(survivors.surviving(interactions, urls, ledger, "vendor_single", k=2).counts, k=2)
    # Item 2 has no shop picture, so b is left with one item and goes; items 1 and 3 stay with a.
    assert {what: left(steps) for what, steps in found.items()} == {"users": [2, 2, 1, 1], "items": [3, 2, 2, 2]}


def test_the_pictures_of_a_catalogue_decrease_to_its_final_number():
    counts = {"images_before": 9, "held_out_photos": 2, "merged": 3, "images": 4, "items": 4}
    assert left(catalogue(counts)["pictures"]) == [9, 7, 4]


def area(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture - 255 * np.array(to_rgb(colour))).max(axis=-1) < 2).sum())


def test_bars_are_as_long_as_their_counts_and_removed_ones_are_grey():
    picture = waterfall({"users": [FilterStep("read", 1000), FilterStep("kept", 250)]}, "A fall")
    assert area(picture, ACCENT) / area(picture, PALE) == pytest.approx(1250 / 750, rel=0.03)
    nothing_taken = waterfall({"users": [FilterStep("read", 1000), FilterStep("kept", 1000)]}, "No fall")
    assert area(nothing_taken, PALE) == 0


def test_a_panel_has_its_own_scale_and_the_picture_fits_the_event_log():
    many, few = (
        [FilterStep("read", 900_000), FilterStep("kept", 900_000)],
        [FilterStep("read", 3), FilterStep("kept", 3)],
    )
    red = np.abs(waterfall({"reviews": many, "users": few}, "") - 255 * np.array(to_rgb(ACCENT))).max(axis=-1) < 2
    edges = np.flatnonzero(np.diff(np.concatenate(([0], red.any(axis=0), [0]))))  # columns where a panel's bars are
    first, second = edges[1::2] - edges[::2]
    assert first == pytest.approx(second, rel=0.02)
    three = waterfall({"reviews": many, "users": few, "items": few}, "")
    assert three.shape[1] <= 900  # a thumbnail's width: not scaled, so that its letters stay sharp
    assert len(thumbnail(three).value) < THUMBNAIL_BYTES / 4
    assert waterfall({"users": [FilterStep("read", 0)]}, "nobody").size
