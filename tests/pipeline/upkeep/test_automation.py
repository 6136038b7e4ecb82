"""The automation condition over a small graph of Dagster assets: what it requests, stage by stage, and what not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline.home import command_lock
from pipeline.upkeep.automation import automated, refresh

MODES = dg.StaticPartitionsDefinition(["single", "customer"])
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Shop:
    """The graph raw -> table -> ledger, (table, ledger) -> split by mode -> model by mode -> page, and its contents."""

    instance: dg.DagsterInstance
    raw: str = "a"
    lines: dict[str, str] = field(default_factory=lambda: {"a": "two reviews"})  # raw file -> its content
    pictures: str = "one picture"
    splits: dict[str, str] = field(default_factory=lambda: {"single": "s", "customer": "c"})
    broken: set[str] = field(default_factory=set)
    check_passes: bool = True
    code: str = "1"
    gate_open: bool = True
    busy: bool = False
    unused: set[str] = field(default_factory=set)
    cursor: object = None
    now: datetime = START

    def definitions(self) -> dg.Definitions:
        @dg.observable_source_asset
        def raw() -> dg.DataVersion:
            return dg.DataVersion(self.raw)

        def made(name: str, content: str) -> dg.MaterializeResult:
            if name in self.broken:
                raise RuntimeError(f"{name} is broken")
            return dg.MaterializeResult(data_version=dg.DataVersion(content))

        @dg.asset(deps=[raw], code_version=self.code)
        def table() -> dg.MaterializeResult:
            return made("table", self.lines[self.raw])

        @dg.asset_check(asset=table, blocking=True)
        def table_is_whole() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.check_passes)

        @dg.asset(deps=[table], code_version="1")
        def ledger() -> dg.MaterializeResult:
            return made("ledger", self.pictures)

        @dg.asset(deps=[table, ledger], partitions_def=MODES, code_version="1")
        def split(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return made("split", self.splits[context.partition_key])

        @dg.asset(deps=[split], partitions_def=MODES, code_version="1")
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return made("model", f"of {self.splits[context.partition_key]}")

        @dg.asset(deps=[ledger, dg.AssetDep(model, partition_mapping=dg.AllPartitionMapping())], code_version="1")
        def page() -> dg.MaterializeResult:
            return made("page", f"{self.pictures}, {self.splits}")

        condition = refresh(
            lambda asset, _mode: asset != "model" or self.gate_open,
            lambda: self.busy,
            self.unused.__contains__,
        )
        assets = automated([raw, table, ledger, split, model, page], condition)
        return dg.Definitions(assets=assets, asset_checks=[table_is_whole])

    def make(self, *names: str, mode: str | None = None) -> bool:
        """Materialise assets by hand; return whether that succeeded."""
        job = self.definitions().resolve_implicit_global_asset_job_def()
        keys = [dg.AssetKey(name) for name in names]
        return job.execute_in_process(
            instance=self.instance, asset_selection=keys, partition_key=mode, raise_on_error=False
        ).success

    def make_everything(self) -> None:
        self.observe()
        assert self.make("table", "ledger")
        for mode in MODES.get_partition_keys():
            assert self.make("split", "model", mode=mode)
        assert self.make("page")

    def observe(self) -> None:
        self.make("raw")

    def requested(self) -> list[str]:
        """Evaluate once; return the requested assets without making them."""
        self.now += timedelta(minutes=1)
        found = dg.evaluate_automation_conditions(
            self.definitions(), self.instance, cursor=self.cursor, evaluation_time=self.now
        )
        self.cursor, keys = found.cursor, list(found._requested_partitions_by_asset_key)
        requested = []
        for key in sorted(keys):
            for partition in sorted(found.get_requested_partitions(key), key=str):
                requested.append(f"{key.to_user_string()}[{partition}]" if partition else key.to_user_string())
        return requested

    def day(self) -> list[list[str]]:
        """Evaluate and make what is requested until nothing is; return the requests of each evaluation."""
        turns = []
        while (requested := self.requested()) and len(turns) < 12:
            turns.append(requested)
            for name in requested:
                asset, _, mode = name.removesuffix("]").partition("[")
                self.make(asset, mode=mode or None)
        return turns


@pytest.fixture
def shop() -> Iterator[Shop]:
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(instance)
        shop.make_everything()
        assert shop.day() == []
        yield shop


def drop(shop: Shop, name: str, lines: str) -> None:
    shop.raw, shop.lines[name] = name, lines
    shop.observe()


def test_unchanged_data_requests_nothing(shop: Shop):
    shop.observe()
    assert shop.day() == []


def test_equal_data_made_again_triggers_nothing(shop: Shop):
    shop.make("table", "ledger")
    shop.make("split", "model", mode="single")
    assert shop.day() == []


def test_a_new_file_with_equal_content_is_read_and_nothing_else_is_made(shop: Shop):
    drop(shop, "b", "two reviews")
    assert shop.day() == [["table"]]


def test_new_reviews_pass_stage_by_stage_and_only_where_something_changed(shop: Shop):
    drop(shop, "b", "three reviews")
    shop.pictures, shop.splits["customer"] = "two pictures", "c, and a photo"
    assert shop.day() == [
        ["table"], ["ledger"], ["split[customer]", "split[single]"], ["model[customer]"], ["page"]
    ]  # fmt: skip


def test_a_stage_waits_for_all_its_ancestors_and_runs_once(shop: Shop):
    """The split reads the table and the ledger; the ledger follows the table."""
    drop(shop, "b", "three reviews")
    assert shop.requested() == ["table"]
    assert shop.requested() == []  # already requested, although not made yet
    shop.make("table")
    assert shop.requested() == ["ledger"]  # no split yet, although the table it reads is new
    shop.make("ledger")
    assert shop.requested() == ["split[customer]", "split[single]"]


def test_below_a_failed_ancestor_nothing_is_made_and_the_failure_is_not_retried(shop: Shop):
    shop.broken.add("ledger")
    drop(shop, "b", "three reviews")
    assert shop.day() == [["table"], ["ledger"]]
    assert shop.day() == [] and shop.day() == []


def test_a_failure_is_retried_when_its_input_changes(shop: Shop):
    shop.broken.add("table")
    drop(shop, "b", "three reviews")
    assert shop.day() == [["table"]]
    shop.broken.clear()
    assert shop.day() == []
    drop(shop, "c", "four reviews")
    shop.pictures = "two pictures"
    assert shop.day()[:2] == [["table"], ["ledger"]]


def test_a_failure_is_retried_each_night(shop: Shop):
    shop.broken.add("table")
    drop(shop, "b", "three reviews")
    assert shop.day() == [["table"]]
    shop.now += timedelta(days=1)
    assert shop.day() == [["table"]]  # once only
    shop.broken.clear()
    shop.now += timedelta(days=1)
    assert shop.day()[0] == ["table"]


def test_changed_code_makes_only_its_own_stage_again_if_the_result_is_equal(shop: Shop):
    shop.code = "2"
    assert shop.day() == [["table"]]


def test_a_failure_is_retried_when_its_code_changes(shop: Shop):
    shop.broken.add("table")
    drop(shop, "b", "two reviews")
    assert shop.day() == [["table"]]
    shop.broken.clear()
    shop.code = "2"
    assert shop.day() == [["table"]]


def test_a_failed_blocking_check_holds_back_the_assets_downstream(shop: Shop):
    shop.check_passes = False
    drop(shop, "b", "three reviews")
    assert shop.day() == [["table"]]
    shop.check_passes = True
    shop.make("table")
    assert shop.day()[0] == ["ledger"]


def test_a_closed_gate_holds_back_a_training_and_the_assets_downstream(shop: Shop):
    shop.gate_open = False
    drop(shop, "b", "three reviews")
    shop.splits["single"] = "s, and a review"
    assert shop.day()[-1] == ["split[customer]", "split[single]"]
    shop.gate_open = True
    assert shop.day() == [["model[single]"], ["page"]]


def test_an_asset_that_was_never_made_is_left_to_a_person():
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(instance)
        shop.observe()
        assert shop.day() == []
        shop.make("table")
        drop(shop, "b", "three reviews")
        assert shop.day() == [["table"]]


def test_a_page_is_kept_up_to_date_even_if_an_input_was_never_made():
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(instance)
        shop.observe()
        shop.make("table", "ledger")
        shop.make("page")
        assert shop.day() == []
        drop(shop, "b", "three reviews")
        shop.pictures = "two pictures"
        assert shop.day() == [["table"], ["ledger"], ["page"]]


def test_a_model_that_the_profile_does_not_use_is_not_made_and_holds_nothing_back(shop: Shop):
    shop.unused = {"model"}
    drop(shop, "b", "three reviews")
    shop.pictures, shop.splits = "two pictures", {"single": "t", "customer": "c"}
    assert shop.day() == [["table"], ["ledger"], ["page", "split[customer]", "split[single]"]]
    shop.unused = set()
    assert shop.day() == [["model[single]"], ["page"]]


def test_neither_a_running_asset_nor_its_descendants_are_requested(shop: Shop):
    drop(shop, "b", "three reviews")
    chosen = {dg.AssetKey("table")}
    job = shop.definitions().resolve_implicit_global_asset_job_def().get_subset(asset_selection=chosen)
    run = shop.instance.create_run_for_job(job, asset_selection=frozenset(chosen), status=dg.DagsterRunStatus.STARTED)
    assert shop.requested() == []
    shop.instance.report_run_failed(run)
    assert shop.requested() == ["table"]


def test_nothing_is_requested_while_the_home_is_busy_and_afterwards_what_is_still_behind(shop: Shop):
    shop.busy = True
    drop(shop, "b", "three reviews")
    assert shop.day() == []
    shop.busy = False
    assert shop.day()[0] == ["table"]


def test_a_run_from_the_terminal_is_at_work_until_it_ends(tmp_path: Path):
    assert not command_lock.is_held(tmp_path)
    with command_lock.hold(tmp_path / "home"):
        assert command_lock.is_held(tmp_path / "home")
    assert not command_lock.is_held(tmp_path / "home")
