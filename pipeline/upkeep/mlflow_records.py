"""Read, close and withdraw MLflow's runs and model versions after their process has ended.

A run whose process was killed is closed. A version that was trained on erased data is withdrawn.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.champions.model_registry import LOGGED, MADE, Registry
from pipeline.runtime.tracking import EXPERIMENT, Tracker

ERASED = "atelier.erased"  # tag of a withdrawn run or version: the time of the erasure


@dataclass(frozen=True)
class Origin:
    """How a model was trained, as its MLflow run records it. Fields keep their defaults if MLflow has no such run."""

    known: bool = False
    when: str = "not recorded"
    seconds: int | None = None
    commit: str = "not recorded"
    preset: str = "not recorded"


def origin(tracker: Tracker, run_id: str) -> Origin:
    """Read from MLflow when a run trained, and with which code and preset."""
    from mlflow.exceptions import MlflowException

    try:
        run = tracker.client().get_run(run_id)
    except MlflowException:
        return Origin()
    begun, ended = run.info.start_time, run.info.end_time
    return Origin(
        True,
        f"{datetime.fromtimestamp(begun / 1000, UTC):%-d %B %Y, %H:%M} UTC" if begun else Origin.when,
        round((ended - begun) / 1000) if begun and ended else None,
        run.data.tags.get("git.commit", Origin.commit),
        run.data.params.get("preset", Origin.preset),
    )


def close(tracker: Tracker, ended: Callable[[str], bool]) -> int:
    """Mark every RUNNING run whose Dagster run has ended as KILLED; return the number of runs.

    Args:
        tracker: the MLflow store.
        ended: whether the Dagster run of an id has ended.
    """
    client = tracker.client()
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return 0
    running = client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
    parents = {run.info.run_id: run for run in running}
    closed = 0
    for run in running:
        root = parents.get(run.data.tags.get("mlflow.parentRunId", ""), run)  # a trial ends with its search
        dagster_run = root.data.tags.get("dagster.run_id") or root.data.tags.get("dagster.run", "").rpartition("/")[2]
        if dagster_run and ended(dagster_run):
            client.set_terminated(run.info.run_id, "KILLED")
            closed += 1
    return closed


def champion(tracker: Tracker, name: str) -> tuple[str, dict[str, float]] | None:
    """Read the champion of a registered model: its model folder and the metrics of its evaluation.

    Returns None if no version has the alias. The metrics are empty if the champion was not evaluated in this store.
    """
    client = tracker.client()
    version = Registry(client, tracker.uri).champion(name)
    if version is None:
        return None
    experiment = client.get_experiment_by_name(EXPERIMENT)
    runs = client.search_runs(
        [experiment.experiment_id] if experiment else [],
        f"params.recommender = '{Path(version.made).name}' and tags.`dagster.asset` = 'recommender_evaluation'",
        max_results=1,
    )
    return version.made, dict(runs[0].data.metrics) if runs else {}


def withdraw(tracker: Tracker, folders: Collection[str], home: Path, assets: Collection[str] = ()) -> int:
    """Delete the artifacts of the models in `folders` and of all runs of `assets`; return how many records had some.

    Artifacts and the versions' aliases are deleted. Runs and versions stay for their history, tagged `atelier.erased`.
    """
    client = tracker.client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None or not (folders or assets):
        return 0
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    now, gone = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), 0
    known = {*folders, *(str(Path(folder).relative_to(home)) for folder in folders)}
    moved = tuple(f"/{Path(folder).relative_to(home)}" for folder in folders)  # suffixes, for a home that was moved
    names = {Path(folder).name for folder in folders}  # a version's tag holds its folder's name
    for run in client.search_runs([experiment.experiment_id], max_results=50_000):
        made = run.data.tags.get("model_folder", "")
        if made in known or made.endswith(moved) or run.data.tags.get("dagster.asset") in assets:
            get_artifact_repository(str(run.info.artifact_uri)).delete_artifacts()
            client.set_tag(run.info.run_id, ERASED, now)
            gone += 1
    for version in client.search_model_versions(max_results=10_000):
        made = version.tags.get(MADE, "")
        if made not in known and made.partition("/")[0] not in names:  # a baseline's is RUN/NAME
            continue
        if model_id := version.tags.get(LOGGED):
            location = client.get_logged_model(model_id).artifact_location
            get_artifact_repository(location).delete_artifacts()
        for alias, number in dict(client.get_registered_model(version.name).aliases).items():
            if str(number) == str(version.version):
                client.delete_registered_model_alias(version.name, alias)
        client.set_model_version_tag(version.name, version.version, ERASED, now)
        gone += 1
    return gone
