"""MLflow, thin: one MLflow run for each (asset, partition, Dagster run) that trains or evaluates, and for each trial of
a search one under the search's own.

The one module that imports mlflow, and only when a run is opened (it costs seconds). It decides nothing about
models; it records parameters, metrics, pictures and where the data came from, and closes every run it opened.
"""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import dagster as dg
import numpy as np

from pipeline.core.durable import TEMPORARY_SUFFIX, held, temporary_name
from pipeline.core.errors import InputError, UnreachableError
from pipeline.home import environment, sqlite_files
from pipeline.home.place import own_default_artifacts
from pipeline.runtime.provenance import commit

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "atelier"
# MLflow's own bound on one batch of metrics, and on a parameter's length.
BATCH = 1000
PARAMETER_LENGTH = 6000
LOCKED_AFTER = 30.0  # seconds that a SQLite file may be held by others; their transactions take milliseconds
LOGGED_TABLES = "mlflow.loggedArtifacts"  # the tag by which MLflow's UI knows which artifacts are tables
KNOCK = 5.0  # seconds that a server of runs has to take a connection
FLUSH_AFTER = 5.0  # seconds that a metric may wait for its batch: what a kill can lose, and a retry logs again
MAKING_LOCK = "making.lock"
SQLITE = sqlite_files.Kind(
    "mlflow.db",
    "runs",
    frozenset({"runs", "experiments", "registered_models", "logged_models", "alembic_version"}),
    "all that MLflow shows, and which versions are champions",
)
SYSTEM_EVERY = 10.0  # seconds between two looks at processor, memory, disk, network and GPU


class TrackedRun:
    """An open MLflow run."""

    def __init__(
        self,
        client: "MlflowClient",
        run_id: str,
        experiment_id: str,
        tracker: "Tracker",
        dagster_run: str,
        *,
        resumed: bool,
    ):
        self.client = client
        self.run_id = run_id
        self.experiment_id = experiment_id
        self.uri = tracker.uri
        self.dagster_run = dagster_run
        self._ui = tracker.mlflow_ui
        self._resumed = resumed
        self._known: dict[str, set[tuple[int, float]]] = {}  # of a resumed run: name -> (step, value) already there
        self._waiting: list[tuple[str, float, int, int]] = []  # name, value, milliseconds, step
        self._flushed = time.monotonic()

    def parameters(self, settings: Any, **more: Any) -> None:
        """Log a settings dataclass (or mapping) and further values; what is nested is flattened with dots."""
        from mlflow.entities import Param

        values = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
        flat = dict(_flattened({**values, **more}))
        params = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in flat.items()]
        self.client.log_batch(self.run_id, params=params)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step; names keep their protocol. They travel in batches: `flush` says when the last does."""
        now = int(time.time() * 1000)
        named = [(key.replace("@", "_at_"), float(value)) for key, value in values.items()]
        self._waiting += [(key, value, now, step) for key, value in named if not self._is_there(key, step, value)]
        if len(self._waiting) >= BATCH or time.monotonic() - self._flushed > FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait; the run's end does it too."""
        from mlflow.entities import Metric

        metrics = [Metric(*each) for each in self._waiting]
        self._waiting = []
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])
        self._flushed = time.monotonic()

    def _is_there(self, key: str, step: int, value: float) -> bool:
        """Whether an attempt before this one logged it: a retry tells its whole history again."""
        if not self._resumed:
            return False
        if key not in self._known:
            history = self.client.get_metric_history(self.run_id, key)
            self._known[key] = {(metric.step, metric.value) for metric in history}
        return (step, value) in self._known[key]

    def data(self, name: str, digest: str, rows: int, source: Path) -> None:
        """Say which data the run read: as MLflow's dataset, and as the tag `data_version`."""
        import json

        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": str(source)}),
            profile=json.dumps({"rows": rows}),
        )
        self.client.log_inputs(
            self.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        )
        self.tag("data_version", digest)

    def tag(self, name: str, value: str) -> None:
        """Set a tag."""
        self.client.set_tag(self.run_id, name, value)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log rows, all of the same keys, as a table that MLflow's UI shows; nothing for no rows.

        What MLflow's `log_table` writes, but in its place: that one appends, and a retry would say everything twice.
        """
        import json

        if rows:
            content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
            self.client.log_dict(self.run_id, content, f"{name}.json")
            there = json.loads(self.client.get_run(self.run_id).data.tags.get(LOGGED_TABLES, "[]"))
            entry = {"path": f"{name}.json", "type": "table"}
            self.tag(LOGGED_TABLES, json.dumps([*(each for each in there if each != entry), entry]))

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log a picture, uint8 [H, W, 3], that the UI shows by step."""
        self.client.log_image(self.run_id, pixels, key=name, step=step, synchronous=True)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def link(self) -> dict[str, Any]:
        """What the asset's metadata says of this run: its id, and where MLflow's UI shows it."""
        return {
            "mlflow_run_id": dg.MetadataValue.text(self.run_id),
            "mlflow_run": dg.MetadataValue.url(f"{self._ui}/#/experiments/{self.experiment_id}/runs/{self.run_id}"),
        }


class Tracker(dg.ConfigurableResource):
    """Where runs are tracked, and where the two UIs are that show them."""

    tracking_uri: str  # as `environment.kept`: Dagster stores a resource's configuration; `uri` is the whole
    artifact_root: str  # absolute, or a URI: with sqlite, MLflow would otherwise write into the working directory
    mlflow_ui: str = ""
    dagster_ui: str = ""

    @property
    def uri(self) -> str:
        """Where runs are tracked, with the password that it may need."""
        return environment.whole(self.tracking_uri, environment.tracking_uri(environment.home()))

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, **tags: str) -> Generator[TrackedRun]:
        """An MLflow run for this asset, partition and Dagster run; the same one again after a retry.

        It ends FINISHED, or FAILED where the body raises.
        """
        asset = context.assets_def.node_def.name
        partition = context.partition_key if context.has_partition_key else ""
        identity = {"dagster.run_id": context.run_id, "dagster.asset": asset, "dagster.partition": partition}
        name = f"{asset}[{partition}]" if partition else asset
        with self._open(name, identity, {**self._back(context.run_id), **tags}) as run:
            yield run

    @contextmanager
    def parent(self, search: str, dagster_run: str = "", **tags: str) -> Generator[TrackedRun]:
        """The MLflow run of a search, under which its trials stand; the same one again when the search goes on."""
        link = self._back(dagster_run) if dagster_run else {}
        with self._open(f"tune {search}", {"tuning.search": search, "tuning.trial": "all"}, {**link, **tags}) as run:
            yield run

    @contextmanager
    def child(self, parent: TrackedRun, name: str, trial: int) -> Generator[TrackedRun]:
        """The MLflow run of one trial, nested under its search; the same one again when the trial was cut off."""
        identity = {"mlflow.parentRunId": parent.run_id, "tuning.trial": str(trial)}
        with self._open(name, identity, {}) as run:
            yield run

    def _back(self, dagster_run: str) -> dict[str, str]:
        """Tags that lead to the Dagster run: MLflow shows its note as Markdown, where a link can be followed."""
        url = f"{self.dagster_ui}/runs/{dagster_run}"
        return {"dagster.run": url, "mlflow.note.content": f"[The Dagster run]({url})"}

    @contextmanager
    def _open(self, name: str, identity: Mapping[str, str], tags: Mapping[str, str]) -> Generator[TrackedRun]:
        """The run with this identity, new or again; ends FINISHED, or FAILED where the body raises."""
        client = self.client()
        experiment = self._experiment(client)
        found = self._same(client, experiment, identity)
        if found is None:
            all_tags = {**identity, "git.commit": commit(), **tags}
            run_id = client.create_run(experiment, run_name=name, tags=all_tags).info.run_id
        else:
            run_id = found
            client.update_run(run_id, status="RUNNING")
        by = identity.get("dagster.run_id", "")
        run = TrackedRun(client, run_id, experiment, self, by, resumed=found is not None)
        try:
            with self._system_metrics(run_id, resumed=found is not None):
                yield run
            run.flush()
        except BaseException:
            with suppress(Exception):  # what was measured before it failed; the failure itself is what counts
                run.flush()
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def _system_metrics(self, run_id: str, resumed: bool) -> Generator[None]:
        """Log processor, memory, disk, network and GPU beside the run while the body lasts."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(
            run_id, sampling_interval=SYSTEM_EVERY, resume_logging=resumed, tracking_uri=self.uri
        )
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def check(self) -> None:
        """Raise UnreachableError where the store is a server that does not answer: MLflow itself asks for minutes."""
        import socket

        parts = urlsplit(self.tracking_uri)
        usual = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
        port = parts.port or usual.get(parts.scheme.split("+")[0])
        if not parts.hostname or not port:
            return
        try:
            socket.create_connection((parts.hostname, port), timeout=KNOCK).close()
        except OSError as error:
            raise UnreachableError(
                f"MLFLOW_TRACKING_URI: nothing answers at {parts.hostname}:{port} ({error.strerror or error}); start "
                "that server, or leave the variable out for a store under ATELIER_HOME."
            ) from error

    def client(self) -> "MlflowClient":
        """MLflow's client of this store; sqlite3.OperationalError where its SQLite file is held; else as `check`."""
        _quiet()
        self.check()
        from mlflow.tracking import MlflowClient

        self.make_database()
        if (path := self._file()) is not None:
            _expect_unlocked(path)
        return MlflowClient(tracking_uri=self.uri)

    def _file(self) -> Path | None:
        """The SQLite file of the store; None where it is another kind of database, or a server."""
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def make_database(self) -> None:
        """Make the store's SQLite file where it is not there, whole or not at all, or mend one left unfinished.

        Raises:
            InputError: it is damaged; says what to do.
        """
        path = self._file()
        if path is None or (path.is_file() and sqlite_files.is_whole(path, SQLITE)):
            return
        with held(path.with_name(MAKING_LOCK)):
            if path.is_file() and sqlite_files.is_whole(path, SQLITE):
                return
            _quiet()
            from mlflow.tracking import MlflowClient

            for left in path.parent.glob(f"{path.name}.*{TEMPORARY_SUFFIX}"):  # of a process that was killed
                left.unlink()
            fresh = temporary_name(path)
            try:
                # MLflow makes its tables in some fifty steps, each of them final: a kill in between would stay.
                MlflowClient(tracking_uri=f"sqlite:///{fresh}")
                own_default_artifacts(fresh, self.artifact_root)
                if path.is_file():
                    sqlite_files.mend_or_refuse(path, fresh, SQLITE)
                if not path.is_file():
                    sqlite_files.take(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            self._expect_place(found.artifact_location)
            return found.experiment_id
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=_address(self.artifact_root))
        except MlflowException:  # another process was first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
            return found.experiment_id

    def _expect_place(self, location: str) -> None:
        """Refuse a place of files that a home, moved since, left in a database elsewhere: MLflow would make it again.

        Raises:
            InputError: the place is a folder that is not there, and not the one that was asked for.
        """
        place = urlsplit(location)
        elsewhere = self.tracking_uri.startswith(("http://", "https://")) or place.scheme not in ("", "file")
        if elsewhere or location == _address(self.artifact_root) or Path(unquote(place.path)).is_dir():
            return
        raise InputError(
            f"the experiment {EXPERIMENT} of the MLflow database keeps its files in {unquote(place.path)}, which is "
            "not there. If the home was moved, MLflow's database did not move with it: name another "
            "MLFLOW_TRACKING_URI, or make that folder again if the files are to lie there."
        )

    @staticmethod
    def _same(client: "MlflowClient", experiment: str, identity: Mapping[str, str]) -> str | None:
        wanted = {key: value for key, value in identity.items() if value}
        runs = client.search_runs(
            [experiment], " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items()), max_results=1
        )
        return runs[0].info.run_id if runs else None


def _quiet() -> None:
    """Say before mlflow is imported what it reads then, and keep its noise from the terminal."""
    import logging
    import os

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for noisy in ("mlflow.store.db.utils", "mlflow.system_metrics", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _expect_unlocked(path: Path) -> None:
    """Raise sqlite3.OperationalError where somebody holds the database: MLflow itself would retry for an hour."""
    import sqlite3

    if not path.is_file():
        return
    connection = sqlite3.connect(path, timeout=LOCKED_AFTER, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _address(root: str) -> str:
    """The URI of a folder; what is one already stays."""
    return root if "://" in root else Path(root).as_uri()


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
