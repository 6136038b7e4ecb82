"""MLflow's runs and versions after their process has ended: closed, read as champion, withdrawn; on a real store."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.home import sqlite_files
from pipeline.runtime.exits import explained
from pipeline.runtime.tracking import TrackedRun, Tracker
from pipeline.upkeep import mlflow_records
from tests.pipeline.runtime.test_tracking import client, nothing, tracked, tracker

__all__ = ["client", "tracker"]  # fixtures


def open_in(client, tracker: Tracker, **tags: str) -> str:
    """Create a run that stays RUNNING, like that of a killed process."""
    return client.create_run(tracker._experiment(client), tags=tags).info.run_id


def test_runs_of_a_dead_dagster_run_are_closed_and_trials_with_their_search(tracker: Tracker, client):
    dead = open_in(client, tracker, **{"dagster.run_id": "dead"})
    alive = open_in(client, tracker, **{"dagster.run_id": "alive"})
    search = open_in(client, tracker, **{"dagster.run": "/runs/dead", "tuning.search": "s"})
    trial = open_in(client, tracker, **{"mlflow.parentRunId": search})
    study = open_in(client, tracker)  # without a Dagster run, so it is unknown whether it has ended
    assert mlflow_records.close(tracker, lambda run_id: run_id == "dead") == 3
    states = [client.get_run(run_id).info.status for run_id in (dead, search, trial, alive, study)]
    assert states == ["KILLED", "KILLED", "KILLED", "RUNNING", "RUNNING"]
    for run_id in (alive, study):
        client.set_terminated(run_id)


def registered(client, run_id: str, name: str, made: str) -> str:
    client.create_registered_model(name)
    tags = {"atelier.model": made}
    return client.create_model_version(name, client.get_run(run_id).info.artifact_uri, run_id, tags=tags).version


def test_the_champion_is_read_by_its_alias_with_the_metrics_of_its_evaluation(tracker: Tracker, client):
    from mlflow.entities import Param

    run_id = open_in(client, tracker, **{"dagster.asset": "recommender_evaluation"})
    client.log_batch(run_id, params=[Param("recommender", "abc123")])
    client.log_metric(run_id, "test_auc", 0.7)
    client.set_terminated(run_id)
    version = registered(client, run_id, "atelier-recommender-vendor_all", "abc123")
    assert mlflow_records.champion(tracker, "atelier-recommender-vendor_all") is None
    client.set_registered_model_alias("atelier-recommender-vendor_all", "champion", version)
    assert mlflow_records.champion(tracker, "atelier-recommender-vendor_all") == ("abc123", {"test_auc": 0.7})
    assert mlflow_records.champion(tracker, "of no such name") is None


def test_a_withdrawn_model_keeps_its_history_and_loses_its_files_and_alias(tracker: Tracker, client, tmp_path: Path):
    (tmp_path / "factors.npz").write_bytes(b"somebody's")

    def logs(run: TrackedRun) -> None:
        run.file(tmp_path / "factors.npz")

    [theirs], _ = tracked(tracker, logs, model_folder=str(tmp_path / "generator" / "m1"))
    [other], _ = tracked(tracker, logs, model_folder=str(tmp_path / "generator" / "m2"))
    version = registered(client, theirs, "atelier-generator", "m1")
    client.set_registered_model_alias("atelier-generator", "champion", version)
    assert mlflow_records.withdraw(tracker, {str(tmp_path / "generator" / "m1")}, tmp_path) == 2
    assert client.list_artifacts(theirs) == [] and client.get_run(theirs).data.tags["atelier.erased"]
    assert len(client.list_artifacts(other)) == 1 and "atelier.erased" not in client.get_run(other).data.tags
    assert mlflow_records.champion(tracker, "atelier-generator") is None
    assert client.get_model_version("atelier-generator", version).tags["atelier.erased"]
    assert mlflow_records.withdraw(tracker, set(), tmp_path) == 0


def test_a_locked_database_is_reported_clearly_and_works_afterwards(
    tracker: Tracker, client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite_files, "LOCK_TIMEOUT", 0.1)
    holder = sqlite3.connect(tracker.tracking_uri.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked") as refused:
        tracker.client()
    assert "another process holds a SQLite file" in explained(refused.value)
    holder.execute("ROLLBACK")
    holder.close()
    [run_id], _ = tracked(tracker, nothing)
    assert client.get_run(run_id).info.status == "FINISHED"
