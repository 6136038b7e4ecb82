"""Asset checks: silent over good tables, and loud, with what they saw, over broken ones."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pipeline.checks import dataset as checks
from pipeline.checks import trained
from pipeline.core import schemas
from pipeline.home.partitions import image_modes
from pipeline.views.metadata import table_output


def holding(name: str, table: pa.Table, **more: Any) -> dg.AssetsDefinition:
    """An asset that is this table with this metadata."""

    @dg.asset(name=name)
    def made() -> dg.Output[pa.Table]:
        return table_output(table, **more)

    return made


def verdict(check: dg.AssetChecksDefinition, *assets: dg.AssetsDefinition, mode: str | None = None) -> Any:
    """What the check says after the assets were materialised."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [*assets, check],
            instance=instance,
            partition_key=mode,
            resources={"io_manager": dg.InMemoryIOManager()},
            raise_on_error=False,
        )
        [found] = result.get_asset_check_evaluations()
        return found


def seen(found: Any) -> dict[str, Any]:
    return {key: value.value for key, value in found.metadata.items()}


def ingested(rejected: int) -> list[dg.AssetsDefinition]:
    rows = [{"file": "f", "line": n, "offset": None, "reason": "r", "text": ""} for n in range(rejected)]
    return [
        holding("reviews", schemas.REVIEWS.empty_table(), lines=10, accepted=8),
        holding("products", schemas.PRODUCTS.empty_table(), lines=5, accepted=5),
        holding("rejects", pa.Table.from_pylist(rows, schema=schemas.REJECTS)),
    ]


def test_lines_that_are_read_or_rejected_pass():
    found = verdict(checks.accepted_and_rejected_are_all_lines, *ingested(2))
    assert found.passed
    assert seen(found) == {"lines": 15, "accepted": 13, "rejected": 2}


def test_a_line_that_is_nowhere_fails():
    found = verdict(checks.accepted_and_rejected_are_all_lines, *ingested(1))
    assert not found.passed and found.blocking
    assert seen(found)["rejected"] == 1


def core(pairs: list[tuple[int, int]], users: list[int], items: list[int]) -> list[dg.AssetsDefinition]:
    rows = [{"user": u, "item": i, "time": None} for u, i in pairs]
    return [
        holding("interactions", pa.Table.from_pylist(rows, schema=schemas.INTERACTIONS)),
        holding("users", pa.table([pa.array(users, pa.int32()), [f"A{u}" for u in users]], schema=schemas.USERS)),
        holding("items", pa.table([pa.array(items, pa.int32()), [f"B{i}" for i in items]], schema=schemas.ITEMS)),
    ]


def test_whole_interactions_pass():
    assert verdict(checks.interactions_are_whole, *core([(0, 0), (1, 0), (1, 1)], [0, 1], [1, 0])).passed


@pytest.mark.parametrize(
    ("tables", "what", "said"),
    [
        (core([(0, 0), (2, 0)], [0, 1], [0]), "unknown_users", 1),
        (core([(0, 0), (0, 4), (0, 5)], [0], [0]), "unknown_items", 2),
        (core([(0, 0), (0, 0)], [0], [0]), "repeated_pairs", 1),
        (core([(0, 0)], [0, 2], [0]), "numbers_dense", False),
    ],
)
def test_broken_interactions_fail_and_say_how(tables, what: str, said):
    found = verdict(checks.interactions_are_whole, *tables)
    assert not found.passed and seen(found)[what] == said


def in_modes(name: str, table: pa.Table, **more: Any) -> dg.AssetsDefinition:
    """An asset of image modes that is this table with this metadata in each."""

    @dg.asset(name=name, partitions_def=image_modes)
    def made() -> dg.Output[pa.Table]:
        return table_output(table, **more)

    return made


def splits_table(rows: list[tuple]) -> pa.Table:
    """SPLITS of (user, item, split) or (user, item, split, sha256)."""
    names = ("user", "item", "split", "sha256")
    return pa.Table.from_pylist(
        [{"paired": True, **dict(zip(names, row, strict=False))} for row in rows], schema=schemas.SPLITS
    )


def splits(rows: list[tuple], unit: str | None = None) -> dg.AssetsDefinition:
    return in_modes("splits", splits_table(rows), split_unit=unit)


GOOD = [(0, 0, "train"), (0, 1, "train"), (0, 2, "validation"), (0, 3, "test"), (1, 3, "train")]


def test_a_split_without_leaks_passes():
    found = verdict(checks.no_held_out_pair_trains, splits(GOOD), mode="vendor_all")
    assert found.passed
    assert seen(found) == {
        "pairs_in_two_splits": 0, "users_with_two_of_a_split": 0, "rows_of_another_unit": 0, "train_pairs_too_late": 0,
        "expected_of_each": 0, "split_unit": "interaction", "hold_out": "random",
        "held_out_pairs_with_siblings_in_train": 0,
    }  # fmt: skip


def test_a_held_out_pair_that_also_trains_fails():
    found = verdict(checks.no_held_out_pair_trains, splits([*GOOD, (0, 3, "train")]), mode="vendor_all")
    assert not found.passed and found.blocking and seen(found)["pairs_in_two_splits"] == 1


def test_a_user_with_two_held_out_items_of_a_split_fails():
    found = verdict(checks.no_held_out_pair_trains, splits([*GOOD, (0, 9, "test")]), mode="vendor_all")
    assert not found.passed and seen(found)["users_with_two_of_a_split"] == 1


# Days of each pair; user 0 has two test pairs.
DAYS = {(0, 0): 1, (0, 1): None, (0, 2): 5, (0, 3): 7, (0, 4): 7, (1, 3): 5}
LATE = [(0, 0, "train"), (0, 1, "train"), (0, 2, "validation"), (0, 3, "test"), (0, 4, "test"), (1, 3, "train")]


def dated(rows: list[tuple], hold_out: str) -> dg.AssetsDefinition:
    table = splits_table(rows)
    times = [None if (day := DAYS[row[:2]]) is None else day * 86_400 + row[1] for row in rows]
    table = table.set_column(table.schema.get_field_index("time"), "time", pa.array(times, pa.int64()))
    return in_modes("splits", table, hold_out=hold_out)


@pytest.mark.parametrize(("hold_out", "too_late"), [("basket", 0), ("time", 1)])
def test_several_held_out_items_pass_if_nothing_trains_too_late(hold_out: str, too_late: int):
    found = verdict(checks.no_held_out_pair_trains, dated(LATE, hold_out), mode="vendor_all")
    # User 1 trains on the day of user 0's validation: that is no basket's business.
    assert found.passed == (not too_late) and seen(found)["train_pairs_too_late"] == too_late


def test_a_train_pair_on_the_day_of_its_users_basket_fails():
    late = [*LATE[:3], (0, 3, "train"), LATE[4]]
    found = verdict(checks.no_held_out_pair_trains, dated(late, "basket"), mode="vendor_all")
    assert not found.passed and seen(found)["train_pairs_too_late"] == 1


# User 0 holds out picture c of item 2, whose others train, and d of item 3, which is its only one.
BY_PICTURE = [
    (0, 0, "train"), (0, 2, "train"), (0, 2, "validation", "c"), (0, 3, "test", "d"), (1, 3, "train"),
]  # fmt: skip


def test_a_pair_whose_picture_is_held_out_may_train_where_that_is_the_unit():
    found = verdict(checks.no_held_out_pair_trains, splits(BY_PICTURE, "image"), mode="vendor_all")
    assert found.passed
    assert seen(found)["split_unit"] == "image" and seen(found)["held_out_pairs_with_siblings_in_train"] == 1


@pytest.mark.parametrize("unit", [None, "interaction"])
def test_a_pair_held_out_by_picture_fails_where_pairs_are_the_unit(unit):
    found = verdict(checks.no_held_out_pair_trains, splits(BY_PICTURE, unit), mode="vendor_all")
    assert not found.passed
    assert seen(found)["pairs_in_two_splits"] == 1 and seen(found)["rows_of_another_unit"] == 2


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ((0, 2, "train"), "pairs_in_two_splits"),  # stands in train twice
        ((0, 2, "test", "e"), "pairs_in_two_splits"),  # is held out twice
        ((1, 3, "test"), "rows_of_another_unit"),  # is held out whole, and trains
        ((1, 4, "train", "x"), "rows_of_another_unit"),
        ((0, 9, "test", "x"), "users_with_two_of_a_split"),
    ],
)
def test_what_is_held_out_by_picture_stands_once_and_by_name(row, what: str):
    found = verdict(checks.no_held_out_pair_trains, splits([*BY_PICTURE, row], "image"), mode="vendor_all")
    assert not found.passed and seen(found)[what] == 1


def drawn(rows: list[tuple[int, int, int]], split: list[tuple], unit: str = "interaction", negatives: str = "train"):
    """Assets: triplets (user, positive, negative) over pictures 0 1 of item 0, 2 3 of item 2, 4 of 3, 5 of 4."""
    pictures = [(0, "a"), (0, "b"), (2, "c"), (2, "e"), (3, "d"), (4, "f")]
    catalogue = [
        {"image": n, "bank_row": n, "item": i, "source": "vendor", "position": 0, "sha256": sha}
        for n, (i, sha) in enumerate(pictures)
    ]
    table = [{"epoch": 0, "user": u, "positive": p, "negative": [n]} for u, p, n in rows]
    return (
        in_modes("triplets", pa.Table.from_pylist(table, schema=schemas.triplets(1)), negatives=negatives),
        splits(split, unit),
        in_modes("catalogue", pa.Table.from_pylist(catalogue, schema=schemas.CATALOGUE)),
    )


WHOLE = [(0, 0, "train"), (0, 2, "validation"), (0, 3, "test"), (1, 3, "train")]
CLEAN = [(0, 0, 5), (0, 1, 4), (1, 4, 2)]  # picture 4 is of user 0's test item: a negative it may be, unless all_splits


def test_triplets_that_keep_the_split_pass():
    found = verdict(checks.no_triplet_leaks, *drawn(CLEAN, WHOLE), mode="vendor_all")
    assert found.passed and found.blocking
    assert seen(found) == {
        "positives_held_out": 0, "positives_not_in_train": 0, "negatives_touched": 0, "pictures_unknown": 0,
        "expected_of_each": 0, "negatives": "train", "triplets": 3, "pictures_held_out_alone": 0,
    }  # fmt: skip
    siblings = [(0, 0, 5), (0, 3, 4), (1, 4, 2)]
    assert verdict(checks.no_triplet_leaks, *drawn(siblings, BY_PICTURE, "image"), mode="vendor_all").passed


@pytest.mark.parametrize(
    ("row", "split", "negatives", "broken"),
    [
        ((0, 2, 5), WHOLE, "train", {"positives_held_out": 1, "positives_not_in_train": 1}),
        ((0, 2, 5), BY_PICTURE, "train", {"positives_held_out": 1}),  # the pair trains, that picture of it does not
        ((1, 0, 5), WHOLE, "train", {"positives_not_in_train": 1}),
        ((0, 0, 1), WHOLE, "train", {"negatives_touched": 1}),
        ((0, 0, 2), BY_PICTURE, "train", {"negatives_touched": 1}),  # of an item that it trains on
        ((1, 4, 0), WHOLE, "all_splits", {"negatives_touched": 1}),  # the second of CLEAN: a test item
        ((0, 9, 5), WHOLE, "train", {"positives_not_in_train": 1, "pictures_unknown": 1}),
    ],
)
def test_a_triplet_that_leaks_fails_and_is_counted(row, split, negatives, broken):
    unit = "image" if split is BY_PICTURE else "interaction"
    found = verdict(checks.no_triplet_leaks, *drawn([*CLEAN, row], split, unit, negatives), mode="vendor_all")
    assert not found.passed
    assert {k: v for k, v in seen(found).items() if k in REASONS and v} == broken


REASONS = {"positives_held_out", "positives_not_in_train", "negatives_touched", "pictures_unknown"}


def test_several_negatives_a_triplet_are_looked_up_each_for_its_user():
    rows = [
        {"epoch": 0, "user": 0, "positive": 0, "negative": [5, 4]},
        {"epoch": 0, "user": 1, "positive": 4, "negative": [0, 4]},
    ]
    triplets = in_modes("triplets", pa.Table.from_pylist(rows, schema=schemas.triplets(2)))
    found = verdict(checks.no_triplet_leaks, triplets, *drawn([], WHOLE)[1:], mode="vendor_all")
    assert seen(found)["negatives_touched"] == 1


def evaluation(low: float) -> dg.AssetsDefinition:
    figures = {"dvbpr": {"test": {"auc": low + 0.1, "auc_ci95": [low, low + 0.2]}}}

    @dg.asset(name="recommender_evaluation", partitions_def=image_modes)
    def made() -> dg.Output[int]:
        return dg.Output(0, metadata={"figures": dg.MetadataValue.json(figures)})

    return made


def test_an_interval_above_one_half_passes():
    assert verdict(trained.the_recommender_beats_chance, evaluation(0.51), mode="vendor_single").passed


def test_an_interval_that_holds_one_half_warns_and_stops_nothing():
    found = verdict(trained.the_recommender_beats_chance, evaluation(0.5), mode="vendor_single")
    assert not found.passed and found.severity == dg.AssetCheckSeverity.WARN and not found.blocking
    assert seen(found)["lower_end"] == 0.5
