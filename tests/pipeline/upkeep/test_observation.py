"""Looking at the raw files: cheaply every minute, and by content only where something may have changed."""

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
    """Reviews in a folder and behind a URL, products in a file, garment classes of one's own."""
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


class Looker:
    """The sensor with its cursor, and the runs that it asks for, which are executed as they are asked for."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.definitions = build_definitions()
        self.instance = dg.DagsterInstance.ephemeral()

    def tick(self) -> str:
        """The sources that changed, by the tag of what is asked for; else why nothing is."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions, resources=default_resources()
        ) as context:
            ticked = self.definitions.resolve_sensor_def("new_files").evaluate_tick(context)
        self.cursor = ticked.cursor or self.cursor
        asked = list(ticked.run_requests or [])
        assert len(asked) <= 1
        for request in asked:
            job = self.definitions.resolve_job_def(request.job_name or "")
            job.execute_in_process(instance=self.instance, tags=dict(request.tags))
        return asked[0].tags["atelier/changed"] if asked else ticked.skip_message or ""


def test_the_sources_are_observed_at_first_and_then_only_when_they_look_otherwise(server: FileServer, tmp_path: Path):
    looker = Looker()
    assert looker.tick() == "garment_rules, raw_products, raw_reviews"
    assert looker.tick() == "the raw files look as they did"
    (tmp_path / "drops" / "2.jsonl").touch()
    assert looker.tick() == "the raw files look as they did"  # an empty file is none
    (tmp_path / "drops" / "2.jsonl").write_text("{}\n")
    assert looker.tick() == "raw_reviews"
    server.files["reviews"].etag = '"two"'
    assert looker.tick() == "raw_reviews"
    (tmp_path / "products.jsonl").write_text('{"asin": "22"}\n')
    (tmp_path / "mine.toml").write_text(DRESSES.replace('"gown"', '"gown", "sarafan"'))
    assert looker.tick() == "garment_rules, raw_products"
    assert {asked.method for asked in server.asked} == {"HEAD"}  # looked at, and looked into, by the server's word


def test_what_cannot_be_looked_at_is_said_and_seen_once_it_is_back(server: FileServer, tmp_path: Path):
    looker = Looker()
    looker.tick()
    away = (tmp_path / "products.jsonl").rename(tmp_path / "away")
    assert "products.jsonl: no such file" in looker.tick()
    away.rename(tmp_path / "products.jsonl")
    assert looker.tick() == "the raw files look as they did"


def test_a_file_that_came_back_is_asked_for_again(server: FileServer, tmp_path: Path):
    """No run_key: Dagster would remember it for ever."""
    looker = Looker()
    looker.tick()
    path = tmp_path / "drops" / "1.jsonl"
    before = path.stat()
    path.write_text("{}\n{}\n")
    assert looker.tick() == "raw_reviews"
    path.write_text("{}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert looker.tick() == "raw_reviews"


def test_other_garment_classes_are_another_version_of_their_source_and_words_in_a_comment_are_not(
    server: FileServer, tmp_path: Path
):
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


def test_sensors_and_schedule_are_on_unless_switched_off():
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
