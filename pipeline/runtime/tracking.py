"""MLflow runs: one for each (asset, partition, Dagster run) that trains or evaluates, and one for each trial of a
search, nested under the search's run.

It records parameters, metrics, pictures and the data's version, and closes every run that it opened. mlflow takes
seconds to import, so it is imported only when a run is opened.
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
from pipeline.home.place import set_default_artifacts
from pipeline.runtime.provenance import commit

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "atelier"
# MLflow's limits on a batch of metrics and on the length of a parameter.
BATCH = 1000
PARAMETER_LENGTH = 6000
LOGGED_TABLES = "mlflow.loggedArtifacts"  # tag that tells MLflow's UI which artifacts are tables
CONNECT_TIMEOUT = 5.0  # seconds to connect to a tracking server
FLUSH_AFTER = 5.0  # most seconds that a metric waits for its batch; a kill loses these, and a retry logs them again
MAKING_LOCK = "making.lock"
SQLITE = sqlite_files.DatabaseKind(
    "mlflow.db",
    "runs",
    frozenset({"runs", "experiments", "registered_models", "logged_models", "alembic_version"}),
    "all that MLflow shows, and which versions are champions",
)
SYSTEM_EVERY = 10.0  # seconds between samples of processor, memory, disk, network and GPU


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
        self._known: dict[str, set[tuple[int, float]]] = {}  # of a resumed run: name -> (step, value) already logged
        self._waiting: list[tuple[str, float, int, int]] = []  # name, value, milliseconds, step
        self._flushed = time.monotonic()

    def parameters(self, settings: Any, **more: Any) -> None:
        """Log a settings dataclass (or mapping) and further values; nested names are joined by dots."""
        from mlflow.entities import Param

        values = asdict(settings) if is_dataclass(settings) and not isinstance(settings, type) else dict(settings)
        flat = dict(_flattened({**values, **more}))
        params = [Param(key, str(value)[:PARAMETER_LENGTH]) for key, value in flat.items()]
        self.client.log_batch(self.run_id, params=params)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step, in batches; `flush` sends the rest. `@` in names becomes `_at_`."""
        now = int(time.time() * 1000)
        named = [(key.replace("@", "_at_"), float(value)) for key, value in values.items()]
        self._waiting += [(key, value, now, step) for key, value in named if not self._is_logged(key, step, value)]
        if len(self._waiting) >= BATCH or time.monotonic() - self._flushed > FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Send the waiting metrics; the end of the run does so too."""
        from mlflow.entities import Metric

        metrics = [Metric(*each) for each in self._waiting]
        self._waiting = []
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])
        self._flushed = time.monotonic()

    def _is_logged(self, key: str, step: int, value: float) -> bool:
        """Return whether an earlier attempt logged this value: a retry logs its whole history again."""
        if not self._resumed:
            return False
        if key not in self._known:
            history = self.client.get_metric_history(self.run_id, key)
            self._known[key] = {(metric.step, metric.value) for metric in history}
        return (step, value) in self._known[key]

    def data(self, name: str, digest: str, rows: int, source: Path) -> None:
        """Log which data the run read, as an MLflow dataset and as the tag `data_version`."""
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
        """Log rows with equal keys as a table for MLflow's UI; log nothing if there are no rows.

        The format is that of MLflow's `log_table`, which appends, so that a retry would duplicate every row.
        """
        import json

        if rows:
            content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
            self.client.log_dict(self.run_id, content, f"{name}.json")
            logged = json.loads(self.client.get_run(self.run_id).data.tags.get(LOGGED_TABLES, "[]"))
            entry = {"path": f"{name}.json", "type": "table"}
            self.tag(LOGGED_TABLES, json.dumps([*(each for each in logged if each != entry), entry]))

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log a picture, uint8 [H, W, 3], at a step."""
        self.client.log_image(self.run_id, pixels, key=name, step=step, synchronous=True)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def link(self) -> dict[str, Any]:
        """Make asset metadata of the run's id and its address in MLflow's UI."""
        return {
            "mlflow_run_id": dg.MetadataValue.text(self.run_id),
            "mlflow_run": dg.MetadataValue.url(f"{self._ui}/#/experiments/{self.experiment_id}/runs/{self.run_id}"),
        }


class Tracker(dg.ConfigurableResource):
    """The MLflow store, and the addresses of both UIs for links."""

    tracking_uri: str  # redacted, because Dagster stores a resource's configuration; see `uri`
    artifact_root: str  # absolute path or URI; otherwise, with sqlite, MLflow writes into the working directory
    mlflow_ui: str = ""
    dagster_ui: str = ""

    @property
    def uri(self) -> str:
        """The tracking URI with its password, if it has one."""
        return environment.unredacted(self.tracking_uri, environment.tracking_uri(environment.home()))

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, **tags: str) -> Generator[TrackedRun]:
        """Open the MLflow run of this asset, partition and Dagster run; a retry resumes it.

        It ends FINISHED, or FAILED if the body raises.
        """
        asset = context.assets_def.node_def.name
        partition = context.partition_key if context.has_partition_key else ""
        identity = {"dagster.run_id": context.run_id, "dagster.asset": asset, "dagster.partition": partition}
        name = f"{asset}[{partition}]" if partition else asset
        with self._open(name, identity, {**self._dagster_link(context.run_id), **tags}) as run:
            yield run

    @contextmanager
    def parent(self, search: str, dagster_run: str = "", **tags: str) -> Generator[TrackedRun]:
        """Open the MLflow run of a search, the parent of its trials; a continued search resumes it."""
        link = self._dagster_link(dagster_run) if dagster_run else {}
        with self._open(f"tune {search}", {"tuning.search": search, "tuning.trial": "all"}, {**link, **tags}) as run:
            yield run

    @contextmanager
    def child(self, parent: TrackedRun, name: str, trial: int) -> Generator[TrackedRun]:
        """Open the MLflow run of one trial, nested under its search; an interrupted trial resumes it."""
        identity = {"mlflow.parentRunId": parent.run_id, "tuning.trial": str(trial)}
        with self._open(name, identity, {}) as run:
            yield run

    def _dagster_link(self, dagster_run: str) -> dict[str, str]:
        """Make tags that link to the Dagster run: MLflow renders its note as Markdown, so the link can be clicked."""
        url = f"{self.dagster_ui}/runs/{dagster_run}"
        return {"dagster.run": url, "mlflow.note.content": f"[The Dagster run]({url})"}

    @contextmanager
    def _open(self, name: str, identity: Mapping[str, str], tags: Mapping[str, str]) -> Generator[TrackedRun]:
        """Open the run with this identity, or create it; it ends FINISHED, or FAILED if the body raises."""
        client = self.client()
        experiment = self._experiment(client)
        found = self._find_run(client, experiment, identity)
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
            with suppress(Exception):  # log what was measured, but raise the original failure
                run.flush()
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")

    @contextmanager
    def _system_metrics(self, run_id: str, resumed: bool) -> Generator[None]:
        """Log use of processor, memory, disk, network and GPU while the body runs."""
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
        """Raise UnreachableError if the store is a server that does not answer; MLflow would retry for minutes."""
        import socket

        parts = urlsplit(self.tracking_uri)
        default_ports = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
        port = parts.port or default_ports.get(parts.scheme.split("+")[0])
        if not parts.hostname or not port:
            return
        try:
            socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT).close()
        except OSError as error:
            raise UnreachableError(
                f"MLFLOW_TRACKING_URI: nothing answers at {parts.hostname}:{port} ({error.strerror or error}); start "
                "that server, or unset the variable to use a store under ATELIER_HOME."
            ) from error

    def client(self) -> "MlflowClient":
        """Make MLflow's client of this store. Raises as `check`, or sqlite3.OperationalError if its file is locked."""
        _configure_mlflow()
        self.check()
        from mlflow.tracking import MlflowClient

        self.make_database()
        if (path := self._file()) is not None:
            _expect_unlocked(path)
        return MlflowClient(tracking_uri=self.uri)

    def _file(self) -> Path | None:
        """Return the SQLite file of the store; None if it is another database or a server."""
        return Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def make_database(self) -> None:
        """Create the store's SQLite file atomically if it is missing, or repair it if its creation was interrupted.

        Raises:
            InputError: it is damaged; the message says what to do.
        """
        path = self._file()
        if path is None or (path.is_file() and sqlite_files.is_complete(path, SQLITE)):
            return
        with held(path.with_name(MAKING_LOCK)):
            if path.is_file() and sqlite_files.is_complete(path, SQLITE):
                return
            _configure_mlflow()
            from mlflow.tracking import MlflowClient

            for leftover in path.parent.glob(f"{path.name}.*{TEMPORARY_SUFFIX}"):  # of a killed process
                leftover.unlink()
            fresh = temporary_name(path)
            try:
                # MLflow creates its tables in about fifty transactions; a kill between two leaves an incomplete file.
                MlflowClient(tracking_uri=f"sqlite:///{fresh}")
                set_default_artifacts(fresh, self.artifact_root)
                if path.is_file():
                    sqlite_files.repair_or_refuse(path, fresh, SQLITE)
                if not path.is_file():
                    sqlite_files.move_into_place(fresh, path)
            finally:
                fresh.unlink(missing_ok=True)

    def _experiment(self, client: "MlflowClient") -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            self._check_artifact_location(found.artifact_location)
            return found.experiment_id
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=_as_uri(self.artifact_root))
        except MlflowException:  # another process created it first
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
            return found.experiment_id

    def _check_artifact_location(self, location: str) -> None:
        """Check that the experiment's artifact folder exists or is the configured one; MLflow would create any.

        Raises:
            InputError: it does not, because the home was moved but its MLflow database is elsewhere.
        """
        folder = urlsplit(location)
        remote = self.tracking_uri.startswith(("http://", "https://")) or folder.scheme not in ("", "file")
        if remote or location == _as_uri(self.artifact_root) or Path(unquote(folder.path)).is_dir():
            return
        raise InputError(
            f"the experiment {EXPERIMENT} of the MLflow database keeps its files in {unquote(folder.path)}, which is "
            "not there. If the home was moved, MLflow's database did not move with it: name another "
            "MLFLOW_TRACKING_URI, or make that folder again if the files are to lie there."
        )

    @staticmethod
    def _find_run(client: "MlflowClient", experiment: str, identity: Mapping[str, str]) -> str | None:
        wanted = {key: value for key, value in identity.items() if value}
        runs = client.search_runs(
            [experiment], " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items()), max_results=1
        )
        return runs[0].info.run_id if runs else None


def _configure_mlflow() -> None:
    """Set what mlflow reads when it is imported: no telemetry, no progress bars, fewer log lines."""
    import logging
    import os

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for noisy in ("mlflow.store.db.utils", "mlflow.system_metrics", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _expect_unlocked(path: Path) -> None:
    """Raise sqlite3.OperationalError if another process locks the database; MLflow itself would retry for an hour."""
    import sqlite3

    if not path.is_file():
        return
    connection = sqlite3.connect(path, timeout=sqlite_files.LOCK_TIMEOUT, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _as_uri(root: str) -> str:
    """Convert a folder to a URI, unless it is one already."""
    return root if "://" in root else Path(root).as_uri()


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
