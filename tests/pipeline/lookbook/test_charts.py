"""Charts of the lookbook: groups count people, the map keeps neighbours together, drawings use the page's colours."""

import re

import numpy as np
import pyarrow as pa
import pytest

from pipeline.lookbook import visual_map
from pipeline.lookbook.groups import by_activity, by_popularity, ranges
from pipeline.lookbook.reasons import overlay
from pipeline.views import plots


def tables() -> tuple[pa.Table, pa.Table]:
    """Users 0 and 1 have one item in training, users 2 and 3 have three; item 9 is hidden from all but user 3."""
    owned = {0: [1], 1: [9], 2: [1, 2, 3], 3: [1, 2, 3]}
    train = [{"user": u, "item": i, "split": "train"} for u, items in owned.items() for i in items]
    auc = {"dvbpr": (0.2, 0.4, 0.8, 1.0), "popularity": (0.5, 0.5, 0.5, 0.5)}
    rows = [
        {"user": u, "model": model, "split": split, "auc": value}
        for model, values in auc.items()
        for u, value in enumerate(values)
        for split in ("test", "validation")
    ]
    test = [{"user": u, "item": 8 if u == 3 else 9, "split": "test"} for u in range(4)]
    return pa.Table.from_pylist(rows), pa.Table.from_pylist([*train, *test])


def test_people_are_grouped_by_their_items_in_training_and_counted_once():
    found = by_activity(*tables(), ["dvbpr", "popularity", "not there"])
    assert found is not None
    assert (found.labels, found.people) == (["1", "2–3"], [2, 2])
    assert [round(mean, 6) for mean, _, _ in found.own] == [0.3, 0.9]
    assert list(found.series) == ["dvbpr", "popularity"]
    assert all(low <= mean <= high for values in found.series.values() for mean, low, high in values)


def test_the_popularity_of_a_hidden_item_counts_training_only():
    found = by_popularity(*tables(), ["dvbpr"])
    assert found is not None
    assert (found.labels, found.people) == (["0", "1"], [1, 3])  # nobody has item 8; user 1 has 9


def test_the_popularity_of_several_hidden_items_is_their_mean():
    evaluation, splits = tables()
    more = pa.Table.from_pylist([{"user": 3, "item": i, "split": "test"} for i in (2, 3)])  # two people have each
    found = by_popularity(evaluation, pa.concat_tables([splits, more]), ["dvbpr"])
    assert found is not None and (found.labels, found.people) == (["1"], [4])  # (0 + 2 + 2) / 3, rounded down


def test_without_a_model_there_are_no_groups():
    assert by_activity(*tables(), ["modern"]) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3], [(3, 3)]), ([0, 0, 0, 0, 7], [(0, 0), (1, 7)]), (list(range(8)), [(0, 1), (2, 3), (4, 5), (6, 7)])],
)
def test_ranges_cover_every_value_once(values: list[int], expected: list[tuple[int, int]]):
    assert ranges(np.array(values)) == expected


def test_the_map_follows_the_directions_of_most_variance_whatever_the_sign_of_the_factors():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 2)) @ np.diag([5, 2]) @ np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    places, kept = visual_map.principal(points)
    assert kept == pytest.approx(1)
    assert places.std(0) == pytest.approx([5, 2], rel=0.2)
    distance = np.linalg.norm(points[:50, None] - points[None, :50], axis=-1)
    assert np.linalg.norm(places[:50, None] - places[None, :50], axis=-1) == pytest.approx(distance)


def test_pictures_of_three_thousand_items_do_not_overlap_and_stay_near_their_places():
    places = np.random.default_rng(1).uniform([0, 0], [visual_map.WIDTH, visual_map.HEIGHT], (3000, 2))
    found = visual_map.spots(places, np.arange(3000))
    middles = np.array(list(found.values()))
    assert len(found) == (visual_map.WIDTH // visual_map.SIDE) * (visual_map.HEIGHT // visual_map.SIDE)
    assert len(np.unique(middles, axis=0)) == len(middles)
    away = np.linalg.norm(places[list(found)] - middles, axis=1)
    assert away.max() <= visual_map.REACH * visual_map.SIDE + 1


def test_a_drawing_uses_the_colours_of_the_page_has_unique_ids_and_escapes_names():
    series = {"<script>": [(0.5, 0.4, 0.6)], "b": [(0.6, 0.5, 0.7)]}
    one, other = (plots.by_group(["1–3"], series, title, "n", form=plots.svg) for title in ("one", "two"))
    assert one == other and one.startswith("<svg") and "<script>" not in one and "&lt;script&gt;" in one
    assert "var(--accent)" in one and not re.search(r"#[0-9a-f]{6}\b", one.replace("#000000", ""))
    ids = re.findall(r' id="([^"]+)"', one)
    assert all(f"#{name}" in one for name in ids)
    assert plots.by_group(["1–3"], series, "one", "n").ndim == 3


def test_parts_that_raise_a_score_are_red_and_parts_that_lower_it_blue():
    heat = np.zeros((7, 7), np.float32)
    heat[1, 1], heat[5, 5] = 1, -0.9
    shown = overlay(np.full((28, 28, 3), 200, np.uint8), heat, 70).astype(int)
    assert shown[14, 14, 0] > shown[14, 14, 2] + 50 and shown[54, 54, 2] > shown[54, 54, 0] + 50
    assert np.ptp(shown[14, 54]) == 0
