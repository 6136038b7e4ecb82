"""MLflow, thin: one MLflow run for each (asset, partition, Dagster run) that trains or evaluates, and for each trial of
a search one under the search's own.

The one module that imports mlflow, and only when a run is opened (it costs seconds). It decides nothing about
models; it records parameters, metrics, pictures and where the data came from, and closes every run it opened.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np

from pipeline.provenance import commit

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "atelier"
# MLflow's own bound on one batch of metrics, and on a parameter's length.
BATCH = 1000
PARAMETER_LENGTH = 6000


class TrackedRun:
    """An open MLflow run."""

    def __init__(self, client: "MlflowClient", run_id: str, experiment_id: str, uri: str):
        self._client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.uri = uri

    def parameters(self, settings: Any, **more: Any) -> None:
        """Log a settings dataclass (or mapping) and further values, flattened."""
        from mlflow.entities import Param

        values = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
        flat = {**values, **more}
        params = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in flat.items()]
        self._client.log_batch(self.run_id, params=params)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step; names keep their protocol."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key.replace("@", "_at_"), float(value), now, step) for key, value in values.items()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])

    def data(self, name: str, digest: str, rows: int, source: Path) -> None:
        """Say which data the run read."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": str(source)}),
            profile=json.dumps({"rows": rows}),
        )
        self._client.log_inputs(
            self.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log a picture, uint8 [H, W, 3], that the UI shows by step."""
        self._client.log_image(self.run_id, pixels, key=name, step=step, synchronous=True)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file as an artifact."""
        self._client.log_artifact(self.run_id, str(path), folder or None)

    def link(self) -> dict[str, Any]:
        """What the asset's metadata says of this run."""
        return {
            "mlflow_run_id": dg.MetadataValue.text(self.run_id),
            "mlflow_run": dg.MetadataValue.text(f"#/experiments/{self.experiment_id}/runs/{self.run_id}"),
        }


class Tracker(dg.ConfigurableResource):
    """Where runs are tracked."""

    tracking_uri: str
    artifact_root: str  # absolute: with sqlite, MLflow would otherwise write artifacts into the working directory

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, **tags: str) -> Generator[TrackedRun]:
        """An MLflow run for this asset, partition and Dagster run; the same one again after a retry.

        It ends FINISHED, or FAILED where the body raises.
        """
        asset = context.assets_def.node_def.name
        partition = context.partition_key if context.has_partition_key else ""
        identity = {"dagster.run_id": context.run_id, "dagster.asset": asset, "dagster.partition": partition}
        name = f"{asset}[{partition}]" if partition else asset
        with self._open(name, identity, {"dagster.run": f"/runs/{context.run_id}", **tags}) as run:
            yield run

    @contextmanager
    def parent(self, search: str, dagster_run: str = "", **tags: str) -> Generator[TrackedRun]:
        """The MLflow run of a search, under which its trials stand; the same one again when the search goes on."""
        link = {"dagster.run": f"/runs/{dagster_run}"} if dagster_run else {}
        with self._open(f"tune {search}", {"tuning.search": search, "tuning.trial": "all"}, {**link, **tags}) as run:
            yield run

    @contextmanager
    def child(self, parent: TrackedRun, name: str, trial: int) -> Generator[TrackedRun]:
        """The MLflow run of one trial, nested under its search; the same one again when the trial was cut off."""
        identity = {"mlflow.parentRunId": parent.run_id, "tuning.trial": str(trial)}
        with self._open(name, identity, {}) as run:
            yield run

    @contextmanager
    def _open(self, name: str, identity: Mapping[str, str], tags: Mapping[str, str]) -> Generator[TrackedRun]:
        """The run with this identity, new or again; ends FINISHED, or FAILED where the body raises."""
        client = self._client()
        experiment = self._experiment(client)
        run_id = self._same(client, experiment, identity)
        if run_id is None:
            all_tags = {**identity, "git.commit": commit(), **tags}
            run_id = client.create_run(experiment, run_name=name, tags=all_tags).info.run_id
        else:
            client.update_run(run_id, status="RUNNING")
        try:
            yield TrackedRun(client, run_id, experiment, self.tracking_uri)
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")

    def _client(self) -> "MlflowClient":
        import logging

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow.tracking import MlflowClient

        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.tracking_uri)

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return found.experiment_id
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=Path(self.artifact_root).as_uri())
        except MlflowException:  # another process was first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
            return found.experiment_id

    @staticmethod
    def _same(client: "MlflowClient", experiment: str, identity: Mapping[str, str]) -> str | None:
        wanted = {key: value for key, value in identity.items() if value}
        runs = client.search_runs(
            [experiment], " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items()), max_results=1
        )
        return runs[0].info.run_id if runs else None
