"""Asset checks: silent over good tables, and loud, with what they saw, over broken ones."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from pipeline import checks
from pipeline.core import schemas
from pipeline.metadata import table_output
from pipeline.partitions import image_modes


def holding(name: str, table: pa.Table, **more: Any) -> dg.AssetsDefinition:
    """An asset that is this table with this metadata."""

    @dg.asset(name=name)
    def made() -> dg.Output[pa.Table]:
        return table_output(table, preview=False, **more)

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


def splits(rows: list[tuple[int, int, str]]) -> dg.AssetsDefinition:
    table = pa.Table.from_pylist(
        [{"user": u, "item": i, "split": s, "paired": True} for u, i, s in rows], schema=schemas.SPLITS
    )

    @dg.asset(name="splits", partitions_def=image_modes)
    def made() -> pa.Table:
        return table

    return made


GOOD = [(0, 0, "train"), (0, 1, "train"), (0, 2, "validation"), (0, 3, "test"), (1, 3, "train")]


def test_a_split_without_leaks_passes():
    assert verdict(checks.no_held_out_pair_trains, splits(GOOD), mode="vendor_all").passed


def test_a_held_out_pair_that_also_trains_fails():
    found = verdict(checks.no_held_out_pair_trains, splits([*GOOD, (0, 3, "train")]), mode="vendor_all")
    assert not found.passed and found.blocking and seen(found)["pairs_in_two_splits"] == 1


def test_a_user_with_two_held_out_items_of_a_split_fails():
    found = verdict(checks.no_held_out_pair_trains, splits([*GOOD, (0, 9, "test")]), mode="vendor_all")
    assert not found.passed and seen(found)["users_with_two_of_a_split"] == 1


def evaluation(low: float) -> dg.AssetsDefinition:
    figures = {"dvbpr": {"test": {"auc": low + 0.1, "auc_ci95": [low, low + 0.2]}}}

    @dg.asset(name="recommender_evaluation", partitions_def=image_modes)
    def made() -> dg.Output[int]:
        return dg.Output(0, metadata={"figures": dg.MetadataValue.json(figures)})

    return made


def test_an_interval_above_one_half_passes():
    assert verdict(checks.dvbpr_beats_chance, evaluation(0.51), mode="vendor_single").passed


def test_an_interval_that_holds_one_half_warns_and_stops_nothing():
    found = verdict(checks.dvbpr_beats_chance, evaluation(0.5), mode="vendor_single")
    assert not found.passed and found.severity == dg.AssetCheckSeverity.WARN and not found.blocking
    assert seen(found)["lower_end"] == 0.5
