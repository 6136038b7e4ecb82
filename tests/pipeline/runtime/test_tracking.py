"""MLflow runs, one for each (asset, partition, Dagster run), always closed; on a real SQLite store."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from models.dvbpr.train import DvbprSettings
from pipeline.home.partitions import image_modes
from pipeline.runtime import tracking
from pipeline.runtime.tracking import EXPERIMENT, TrackedRun, Tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """One store for all tests, because creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("tracking")
    return Tracker(
        tracking_uri=f"sqlite:///{folder}/deep/mlflow.db",
        artifact_root=str(folder / "artifacts"),
        mlflow_ui="http://127.0.0.1:5000",
        dagster_ui="http://127.0.0.1:3000",
    )


@pytest.fixture(scope="module")
def client(tracker: Tracker):
    return tracker.client()


def tracked(
    tracker: Tracker, body: Callable[[TrackedRun], None], partition: str | None = None, times: int = 1, **tags: str
) -> tuple[list[str], str]:
    """Run `body` `times` in an asset of one Dagster run; return the ids of the MLflow runs and of the Dagster run."""
    ids: list[str] = []

    @dg.asset(partitions_def=image_modes if partition else None)
    def dvbpr(context: dg.AssetExecutionContext) -> None:
        for _ in range(times):
            with tracker.run(context, **tags) as run:
                ids.append(run.run_id)
                body(run)

    result = dg.materialize([dvbpr], partition_key=partition, raise_on_error=False)
    return ids, result.run_id


def nothing(_: TrackedRun) -> None:
    pass


def test_a_successful_run_is_finished(tracker: Tracker, client):
    [run_id], _ = tracked(tracker, nothing)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_whose_body_raises_is_failed(tracker: Tracker, client):
    def raises(_: TrackedRun) -> None:
        raise ValueError("diverged")

    [run_id], _ = tracked(tracker, raises)
    assert client.get_run(run_id).info.status == "FAILED"


def test_an_interrupted_run_is_failed_too(tracker: Tracker, client):
    ids: list[str] = []

    @dg.asset
    def dvbpr(context: dg.AssetExecutionContext) -> None:
        with tracker.run(context) as run:
            ids.append(run.run_id)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dg.materialize([dvbpr])
    assert client.get_run(ids[0]).info.status == "FAILED"


def test_a_second_attempt_in_one_dagster_run_resumes_the_run(tracker: Tracker, client):
    ids, _ = tracked(tracker, lambda run: run.metrics({"auc": 0.5}), "vendor_all", times=2)
    assert ids[0] == ids[1]
    assert client.get_run(ids[0]).info.status == "FINISHED"


def test_a_second_attempt_logs_every_metric_exactly_once(tracker: Tracker, client):
    steps = iter((2, 3))  # the first attempt is interrupted after two epochs

    def body(run: TrackedRun) -> None:
        for step in range(1, next(steps) + 1):
            run.metrics({"auc": step / 10}, step=step)

    ids, _ = tracked(tracker, body, times=2)
    assert [(m.step, m.value) for m in client.get_metric_history(ids[0], "auc")] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_metrics_logged_before_a_failure_are_kept(tracker: Tracker, client):
    def diverges(run: TrackedRun) -> None:
        run.metrics({"loss": 7.0}, step=1)
        raise ValueError("diverged")

    [run_id], _ = tracked(tracker, diverges)
    assert client.get_run(run_id).data.metrics["loss"] == 7.0


def test_many_small_metrics_are_sent_as_one_batch(tracker: Tracker, client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "FLUSH_AFTER", float("inf"))
    sent = []

    def body(run: TrackedRun) -> None:
        log_batch = run.client.log_batch

        def counted(*args: Any, **named: Any) -> None:
            sent.append(len(named["metrics"]))
            log_batch(*args, **named)

        monkeypatch.setattr(run.client, "log_batch", counted)
        for step in range(100):
            run.metrics({"loss": 1 / (step + 1), "auc": 0.5}, step=step)

    [run_id], _ = tracked(tracker, body)
    assert sent == [200]
    assert len(client.get_metric_history(run_id, "loss")) == 100


def test_processor_and_memory_are_measured_during_a_run(tracker: Tracker, client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")

    def body(run: TrackedRun) -> None:
        seen = threading.Event()
        publish = SystemMetricsMonitor.publish_metrics
        monkeypatch.setattr(SystemMetricsMonitor, "publish_metrics", lambda *args: (publish(*args), seen.set()))
        assert seen.wait(60)

    [run_id], _ = tracked(tracker, body)
    measured = client.get_run(run_id).data.metrics
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(measured)


def test_another_dagster_run_or_partition_gets_another_run(tracker: Tracker):
    ids = [tracked(tracker, nothing, mode)[0][0] for mode in ("vendor_all", "vendor_single", "vendor_all")]
    assert len(set(ids)) == 3


def test_a_run_is_named_and_linked_to_dagster(tracker: Tracker, client):
    [run_id], dagster_run = tracked(tracker, nothing, "vendor_all", image_mode="vendor_all")
    run = client.get_run(run_id)
    assert run.info.run_name == "dvbpr[vendor_all]"
    tags = run.data.tags
    url = f"http://127.0.0.1:3000/runs/{dagster_run}"
    assert (tags["dagster.run_id"], tags["dagster.run"]) == (dagster_run, url)
    assert url in tags["mlflow.note.content"]
    assert (tags["dagster.asset"], tags["dagster.partition"]) == ("dvbpr", "vendor_all")
    assert tags["image_mode"] == "vendor_all" and tags["git.commit"]


def test_settings_are_logged_as_parameters(tracker: Tracker, client):
    settings = DvbprSettings(epochs=3)
    [run_id], _ = tracked(tracker, lambda run: run.parameters(settings, preset="paper"))
    params = client.get_run(run_id).data.params
    assert {"epochs": "3", "k": "50", "betas": "(0.9, 0.999)", "preset": "paper"}.items() <= params.items()


def test_nested_settings_are_flattened(tracker: Tracker, client):
    nested = {"network": {"width": 0.5, "padding": {"conv1": "same"}}, "epochs": 3}
    [run_id], _ = tracked(tracker, lambda run: run.parameters(nested))
    flat = {"network.width": "0.5", "network.padding.conv1": "same", "epochs": "3"}
    assert client.get_run(run_id).data.params == flat


def test_a_table_is_shown_by_mlflow_and_a_retry_does_not_double_it(tracker: Tracker, client):
    rows = [{"run": "a", "auc": 0.5}, {"run": "b", "auc": None}]
    [run_id, _], _ = tracked(tracker, lambda run: run.table("runs", rows), times=2)
    table = json.loads((Path(tracker.artifact_root) / run_id / "artifacts" / "runs.json").read_text())
    assert table == {"columns": ["run", "auc"], "data": [["a", 0.5], ["b", None]]}
    shown = client.get_run(run_id).data.tags["mlflow.loggedArtifacts"]  # read by the UI's table view
    assert json.loads(shown) == [{"path": "runs.json", "type": "table"}]


def test_a_long_parameter_is_truncated(tracker: Tracker, client):
    [run_id], _ = tracked(tracker, lambda run: run.parameters({"classes": "x" * 20_000}))
    assert client.get_run(run_id).data.params["classes"] == "x" * 6000


def test_metrics_keep_their_steps_and_their_protocol(tracker: Tracker, client):
    def body(run: TrackedRun) -> None:
        for step in (1, 2, 3):
            run.metrics({"validation_auc": step / 10, "recall@10": 0.1}, step=step)

    [run_id], _ = tracked(tracker, body)
    history = client.get_metric_history(run_id, "validation_auc")
    assert [(m.step, m.value) for m in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert client.get_run(run_id).data.metrics["recall_at_10"] == 0.1


def test_metrics_beyond_one_batch_all_arrive(tracker: Tracker, client):
    [run_id], _ = tracked(tracker, lambda run: run.metrics({f"m{n}": n for n in range(1001)}))
    assert len(client.get_run(run_id).data.metrics) == 1001


def test_the_data_that_a_run_read_is_logged_with_its_digest(tracker: Tracker, client, tmp_path: Path):
    [run_id], _ = tracked(tracker, lambda run: run.data("triplets[vendor_all]", "d1gest", 42, tmp_path))
    [entry] = client.get_run(run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest) == ("triplets[vendor_all]", "d1gest")
    assert json.loads(entry.dataset.profile) == {"rows": 42}
    assert json.loads(entry.dataset.source) == {"uri": str(tmp_path)}
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]
    assert client.get_run(run_id).data.tags["data_version"] == "d1gest"


def test_pictures_and_files_are_stored_under_the_artifact_root(tracker: Tracker, client, tmp_path: Path):
    (tmp_path / "factors.npz").write_bytes(b"factors")

    def body(run: TrackedRun) -> None:
        run.picture("fakes", np.zeros((8, 8, 3), np.uint8), step=7)
        run.file(tmp_path / "factors.npz")

    [run_id], _ = tracked(tracker, body)
    root = Path(tracker.artifact_root) / run_id / "artifacts"
    assert (root / "factors.npz").read_bytes() == b"factors"
    pictures = [path.name for path in (root / "images").glob("fakes*.png")]
    assert pictures and all("step+7+" in name.replace("%", "+") for name in pictures)


def test_metadata_links_to_the_run(tracker: Tracker, client):
    links = []
    [run_id], _ = tracked(tracker, lambda run: links.append(run.link()))
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    assert links[0]["mlflow_run_id"].value == run_id
    assert links[0]["mlflow_run"].value == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{run_id}"
