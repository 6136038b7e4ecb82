"""The sensor over the raw files: a cheap check every minute, and a digest of the content only after a change."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from pipeline.build import build_definitions
from pipeline.runtime.resources import default_resources
from pipeline.upkeep import observation
from tests.pipeline.conftest import TINY, isolate
from tests.pipeline.core.file_server import FileServer, Served
from tests.pipeline.core.generator.test_garment_classes import DRESSES


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """Serve reviews from a folder and a URL, products from a file, and custom garment classes."""
    with FileServer() as running:
        running.files["reviews"] = Served(b"{}\n")
        (tmp_path / "drops").mkdir()
        (tmp_path / "drops" / "1.jsonl").write_text("{}\n")
        (tmp_path / "products.jsonl").write_text('{"asin": "1"}\n')
        (tmp_path / "mine.toml").write_text(DRESSES)
        isolate(
            monkeypatch, tmp_path / "home", ATELIER_REVIEWS=f"{tmp_path / 'drops'},{running.url('reviews')}",
            ATELIER_PRODUCTS=str(tmp_path / "products.jsonl"), ATELIER_CLASSES=str(tmp_path / "mine.toml"),
            ATELIER_ALLOW_HOSTS=running.host, ATELIER_PROFILE=str(TINY),
        )  # fmt: skip
        yield running


class SensorDriver:
    """Evaluates the sensor with its cursor, and executes the runs that it requests."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.definitions = build_definitions()
        self.instance = dg.DagsterInstance.ephemeral()

    def tick(self) -> str:
        """Evaluate once; return the changed sources from the request's tag, or the reason for no request."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions, resources=default_resources()
        ) as context:
            ticked = self.definitions.resolve_sensor_def("new_files").evaluate_tick(context)
        self.cursor = ticked.cursor or self.cursor
        requests = list(ticked.run_requests or [])
        assert len(requests) <= 1
        for request in requests:
            job = self.definitions.resolve_job_def(request.job_name or "")
            job.execute_in_process(instance=self.instance, tags=dict(request.tags))
        return requests[0].tags["atelier/changed"] if requests else ticked.skip_message or ""


def test_the_sources_are_observed_once_and_then_only_after_a_change(server: FileServer, tmp_path: Path):
    driver = SensorDriver()
    assert driver.tick() == "garment_rules, raw_products, raw_reviews"
    assert driver.tick() == "the raw files are unchanged"
    (tmp_path / "drops" / "2.jsonl").touch()
    assert driver.tick() == "the raw files are unchanged"  # an empty file is none
    (tmp_path / "drops" / "2.jsonl").write_text("{}\n")
    assert driver.tick() == "raw_reviews"
    server.files["reviews"].etag = '"two"'
    assert driver.tick() == "raw_reviews"
    (tmp_path / "products.jsonl").write_text('{"asin": "22"}\n')
    (tmp_path / "mine.toml").write_text(DRESSES.replace('"gown"', '"gown", "sarafan"'))
    assert driver.tick() == "garment_rules, raw_products"
    assert {asked.method for asked in server.asked} == {"HEAD"}  # the ETag tells the version without a download


def test_a_missing_file_is_reported_and_checked_again_when_it_is_back(server: FileServer, tmp_path: Path):
    driver = SensorDriver()
    driver.tick()
    away = (tmp_path / "products.jsonl").rename(tmp_path / "away")
    assert "products.jsonl: no such file" in driver.tick()
    away.rename(tmp_path / "products.jsonl")
    assert driver.tick() == "the raw files are unchanged"


def test_a_file_that_came_back_is_requested_again(server: FileServer, tmp_path: Path):
    """The request has no run_key, which Dagster would remember for ever."""
    driver = SensorDriver()
    driver.tick()
    path = tmp_path / "drops" / "1.jsonl"
    before = path.stat()
    path.write_text("{}\n{}\n")
    assert driver.tick() == "raw_reviews"
    path.write_text("{}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert driver.tick() == "raw_reviews"


def test_changed_garment_classes_change_the_version_and_a_comment_does_not(server: FileServer, tmp_path: Path):
    def version() -> str | None:
        with dg.DagsterInstance.ephemeral() as instance:
            build_definitions().resolve_job_def("observe_sources").execute_in_process(instance=instance)
            event = instance.fetch_observations(dg.AssetKey("garment_rules"), limit=1).records[0].asset_observation
            assert event is not None
            return event.data_version

    first = version()
    (tmp_path / "mine.toml").write_text("# mine\n" + DRESSES)
    assert version() == first
    (tmp_path / "mine.toml").write_text(DRESSES.replace('"gown"', '"gown", "sarafan"'))
    assert version() != first
    graph = build_definitions().resolve_asset_graph()
    assert dg.AssetKey("garment_rules") in graph.get(dg.AssetKey("products")).parent_keys


def test_sensors_and_schedule_are_on_by_default():
    assert {sensor.default_status for sensor in observation.sensors} == {dg.DefaultSensorStatus.RUNNING}
    assert {schedule.default_status for schedule in observation.schedules} == {dg.DefaultScheduleStatus.RUNNING}
    graph = build_definitions().resolve_asset_graph()
    conditions = {graph.get(key).automation_condition for key in graph.materializable_asset_keys}
    assert {condition.get_label() for condition in conditions if condition} == {"refresh"} and None not in conditions


def test_the_definitions_are_valid(tmp_path: Path):
    call = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    root, variables = Path(__file__).parents[3], {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(call, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
