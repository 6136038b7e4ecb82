"""PostgreSQL instead of SQLite, set by environment variables: a run, a kill, the recovery, an erasure."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from pipeline.erase.redact import databases, redact
from pipeline.home import environment, instance
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep.recovery import recover
from pipeline.upkeep.workers import this_process
from tests.pipeline.postgres import server
from tests.pipeline.upkeep.test_recovery import job, kill_in_the_middle


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    with server("dagster", "mlflow") as found:
        yield found


@pytest.fixture
def home(addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    monkeypatch.setenv("ATELIER_DATABASE", addresses["dagster"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", addresses["mlflow"])
    return tmp_path


def test_postgres_holds_runs_events_and_mlflow_recovers_a_killed_run_and_erases_a_name(home: Path):
    from mlflow.tracking import MlflowClient

    tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
    kill_in_the_middle(home)
    client = MlflowClient(tracking_uri=tracker.tracking_uri)
    with instance.open_instance(home) as opened:
        assert type(opened.run_storage).__name__ == "PostgresRunStorage"
        [run] = opened.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        done = recover(opened, home, tracker)
        assert (done.runs, done.slots, done.tracked) == ((run.run_id,), 1, 1)
        assert job(home, None).execute_in_process(instance=opened, tags={**this_process(), "of": "A2REVIEWER"}).success
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
    tracked = client.search_runs(["1"], order_by=["attributes.start_time"])
    assert [each.info.status for each in tracked] == ["KILLED", "FINISHED"]
    client.set_tag(tracked[0].info.run_id, "of", "A2REVIEWER")
    assert not list(home.rglob("*.db"))  # nothing fell back to SQLite

    def held(address: str) -> int:
        engine = sa.create_engine(address)
        metadata = sa.MetaData()
        with engine.connect() as connection:
            metadata.reflect(connection)
            texts = [c for t in metadata.sorted_tables for c in t.columns if isinstance(c.type, sa.String)]
            return sum(len(connection.execute(sa.select(c).where(c.contains("A2REVIEWER"))).all()) for c in texts)

    both = list(databases(home, environment.database(), tracker.tracking_uri))
    assert len(both) == 2 and all(held(address) for address in both)
    for address in both:
        assert redact(address, ["A2REVIEWER"], pictures=False)
        assert held(address) == 0


def test_artifacts_go_where_the_environment_says(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ATELIER_ARTIFACTS", "s3://shop/atelier")
    from pipeline.runtime.tracking import _as_uri

    assert _as_uri(environment.artifact_root(home)) == "s3://shop/atelier"
    monkeypatch.delenv("ATELIER_ARTIFACTS")
    assert _as_uri(environment.artifact_root(home)) == (home / "mlflow" / "artifacts").as_uri()
