"""After a kill, the run is closed in Dagster and MLflow, its pool slot is free, and the same work succeeds."""

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from pipeline.core.errors import InputError, UnreachableError
from pipeline.home import environment, instance
from pipeline.runtime import failures
from pipeline.runtime.exits import explained
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep import recovery
from pipeline.upkeep.launcher import WatchedRunLauncher
from pipeline.upkeep.recovery import recover
from pipeline.upkeep.workers import HOST_TAG, PROCESS_TAG, Liveness, liveness, this_process

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", "")
    for name in ("ATELIER_DATABASE", "ATELIER_ARTIFACTS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def tracker_of(home: Path) -> Tracker:
    return Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))


def started(opened: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """Create a run with the status STARTED."""
    empty = dg.GraphDefinition("empty").to_job()
    return opened.create_run_for_job(job_def=empty, tags=tags, status=dg.DagsterRunStatus.STARTED)


def a_dead_process() -> str:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return f"{socket.gethostname()} {child} {time.time():.2f}"


def test_a_run_of_this_process_is_alive_and_one_of_a_gone_process_is_not(home: Path):
    me = psutil.Process()
    earlier = f"{socket.gethostname()} {me.pid} {me.create_time() - 60:.2f}"  # a reused id: another process had it then
    with instance.open_instance(home) as opened:
        assert liveness(opened, started(opened, **this_process())) is Liveness.ALIVE
        assert liveness(opened, started(opened, **{PROCESS_TAG: a_dead_process()})) is Liveness.GONE
        assert liveness(opened, started(opened, **{PROCESS_TAG: earlier})) is Liveness.GONE


def test_the_liveness_of_a_process_on_another_host_is_unknown(home: Path):
    with instance.open_instance(home) as opened:
        assert liveness(opened, started(opened, **{PROCESS_TAG: "elsewhere 1 1.0"})) is Liveness.UNKNOWN
        assert liveness(opened, started(opened)) is Liveness.UNKNOWN


def test_the_launcher_reports_a_killed_worker_and_no_living_one(home: Path):
    with instance.open_instance(home) as opened:
        launcher = opened.run_launcher
        assert isinstance(launcher, WatchedRunLauncher) and launcher.supports_check_run_worker_health
        for pid, status in ((os.getpid(), "RUNNING"), (int(a_dead_process().split(" ")[1]), "FAILED")):
            run = started(opened, **{HOST_TAG: socket.gethostname()})
            assert launcher.check_run_worker_health(run).status.value == "RUNNING"  # no event with its process id yet
            opened.report_engine_event(f"Started process for run (pid: {pid}).", run)
            assert launcher.check_run_worker_health(run).status.value == status


def job(home: Path, report: int | None) -> dg.JobDefinition:
    """Make a job with one step in the GPU's pool that opens an MLflow run; given a pipe, it reports there and hangs."""

    @dg.asset(pool="gpu")
    def trains(context: dg.AssetExecutionContext, tracker: Tracker) -> None:
        with tracker.run(context):
            if report is not None:
                os.write(report, b".")
                time.sleep(600)

    defs = dg.Definitions([trains], jobs=[dg.define_asset_job("train")], resources={"tracker": tracker_of(home)})
    return defs.resolve_job_def("train")


def kill_in_the_middle(home: Path) -> None:
    """Execute the job in a process, and kill -9 it when it holds the pool slot and the MLflow run."""
    body = "import sys; from tests.pipeline.upkeep.test_recovery import execute; execute(sys.argv[1], int(sys.argv[2]))"
    reads, writes = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", body, str(home), str(writes)], pass_fds=[writes], cwd=ROOT)
    os.close(writes)
    assert os.read(reads, 1) == b"."
    child.kill()
    child.wait()
    os.close(reads)


def execute(home: str, writes: int) -> None:
    """Execute the job; the body of that process."""
    with instance.open_instance(Path(home)) as opened:
        job(Path(home), writes).execute_in_process(instance=opened, tags=this_process())


def test_a_killed_run_is_closed_its_slot_freed_and_the_next_run_succeeds(home: Path):
    from mlflow.tracking import MlflowClient

    kill_in_the_middle(home)
    client = MlflowClient(tracking_uri=tracker_of(home).tracking_uri)

    def tracked() -> list[str]:
        return [run.info.status for run in client.search_runs(["1"], order_by=["attributes.start_time"])]

    with instance.open_instance(home) as opened:
        [run] = opened.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED and tracked() == ["RUNNING"]
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 1

        done = recover(opened, home, tracker_of(home))

        assert (done.runs, done.slots, done.tracked) == ((run.run_id,), 1, 1)
        assert "1 run of a killed process marked failed; 1 pool slot freed; 1 MLflow run closed" in str(done)
        assert opened.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE
        assert opened.event_log_storage.get_concurrency_info("gpu").active_slot_count == 0
        assert tracked() == ["KILLED"]
        assert str(recover(opened, home, tracker_of(home))) == ""
        assert job(home, None).execute_in_process(instance=opened, tags=this_process()).success
        assert tracked() == ["KILLED", "FINISHED"]


def test_a_living_run_is_left_alone(home: Path):
    with instance.open_instance(home) as opened:
        run = started(opened, **this_process())
        assert recover(opened, home, tracker_of(home)) == recovery.Recovered()
        assert opened.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_never_started_is_closed_too(home: Path):
    with instance.open_instance(home) as opened:
        empty = dg.GraphDefinition("empty").to_job()
        run = opened.create_run_for_job(job_def=empty, tags={PROCESS_TAG: a_dead_process()})
        assert run.status is dg.DagsterRunStatus.NOT_STARTED
        assert recover(opened, home, tracker_of(home)).runs == (run.run_id,)
        assert opened.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE


def test_half_written_files_are_removed_when_their_writer_must_be_dead(home: Path):
    young, old = home / "tables" / "a.parquet.tmp", home / "recommender" / "m" / ".last.pt.0a.tmp"
    whole = home / "tables" / "a.parquet"
    for path in (young, old, whole):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    os.utime(whole, (time.time() - 7200,) * 2)
    with instance.open_instance(home) as opened:
        assert recover(opened, home, tracker_of(home)).files == 1
    assert young.exists() and whole.exists() and not old.exists()


def attempts(error: Exception) -> int:
    """Count the attempts of a network step that always raises `error`."""
    tried = 0

    @dg.asset
    def asks(context: dg.AssetExecutionContext) -> None:
        nonlocal tried
        tried += 1
        with failures.network(context):
            raise error

    assert not dg.materialize([asks], raise_on_error=False).success
    return tried


@pytest.mark.parametrize(
    ("error", "times"), [(UnreachableError("nobody answers"), 3), (InputError("404"), 1), (KeyError("a mistake"), 1)]
)
def test_only_transient_errors_are_retried(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int):
    monkeypatch.setattr(failures, "WAIT", 0.0)
    assert attempts(error) == times


def test_a_command_still_reads_a_permanent_failure_as_bad_input():
    @dg.asset
    def asks(context: dg.AssetExecutionContext) -> None:
        with failures.network(context):
            raise InputError("no such file there")

    with pytest.raises(InputError, match="no such file there"):
        dg.materialize([asks])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/t.parquet"), "/x/t.parquet': make room on that disk"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "fix the permissions"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "mounted read-only"),
        (RuntimeError("(sqlite3.OperationalError) database is locked\n[SQL: ..."), "another process holds a SQLite"),
        (ValueError("something else"), "something else"),
    ],
)
def test_errors_of_the_machine_are_explained_with_a_remedy(error: Exception, said: str):
    assert said in explained(error)


def test_the_remedy_is_found_inside_a_wrapped_error():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as full:
            raise RuntimeError("writing failed") from full
    except RuntimeError as wrapped:
        assert "make room" in explained(wrapped)
