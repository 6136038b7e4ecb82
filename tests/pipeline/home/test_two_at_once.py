"""Several commands on one home at the same moment; a barrier starts the processes together."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.durable import is_abandoned, lock_holder, sole_writer, temporary_name, whole, write_whole
from pipeline.core.errors import InputError
from pipeline.home import command_lock, instance
from pipeline.home.sqlite_files import is_complete
from pipeline.runtime.tracking import EXPERIMENT, SQLITE, Tracker

# Processes are forked from a clean one that has imported this module: a fork of pytest itself, with the threads that
# other tests have left in it, can crash.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
PATIENCE = 120  # seconds until a test gives up
OTHERS = ("DAGSTER_HOME", "ATELIER_DATABASE", "ATELIER_ARTIFACTS", "MLFLOW_TRACKING_URI")


def together(count: int, work: Callable[..., Any], *common: Any) -> list[Any]:
    """Call `work(number, *common)` in `count` processes at the same moment; return what each returned or raised."""
    barrier, answers = PROCESSES.Barrier(count), PROCESSES.SimpleQueue()
    processes = [
        PROCESSES.Process(target=_answer, args=(barrier, answers, work, number, *common)) for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    return [answer for _, answer in sorted(answers.get() for _ in processes)]


def _answer(barrier: Barrier, answers: SimpleQueue, work: Callable[..., Any], number: int, *common: Any) -> None:
    for name in (*OTHERS, "PYTEST_CURRENT_TEST"):  # with the last one set, MLflow refuses to write
        os.environ.pop(name, None)
    barrier.wait(PATIENCE)
    try:
        answers.put((number, work(number, *common)))
    except BaseException as error:
        answers.put((number, f"{type(error).__name__}: {error}"))


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)


def runs_in(_: int, home: Path) -> int:
    with instance.open_instance(home) as opened:
        return len(opened.get_runs(limit=1))


def test_several_processes_open_a_new_home_at_once(tmp_path: Path):
    assert together(4, runs_in, tmp_path / "home") == [0] * 4
    assert all(is_complete(tmp_path / "home" / "dagster" / kind.path, kind) for kind in instance.SQLITE)
    assert not list((tmp_path / "home" / "dagster").glob(f"{instance.MAKING}*"))


def tracker_of(home: Path) -> Tracker:
    return Tracker(tracking_uri=f"sqlite:///{home}/mlflow/mlflow.db", artifact_root=str(home / "mlflow" / "artifacts"))


def experiment_in(_: int, home: Path) -> str:
    return tracker_of(home)._experiment(tracker_of(home).client())


def test_one_of_several_processes_creates_mlflows_database_and_all_use_it(tmp_path: Path):
    assert together(3, experiment_in, tmp_path) == ["1"] * 3
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as opened:
        places = dict(opened.execute("SELECT name, artifact_location FROM experiments"))
    assert places[EXPERIMENT] == (tmp_path / "mlflow" / "artifacts").as_uri()
    assert places["Default"] == (tmp_path / "mlflow" / "artifacts" / "0").as_uri()  # MLflow: the working directory
    assert not list((tmp_path / "mlflow").glob("*.tmp"))


def torn_reads(number: int, path: Path) -> int:
    """Write the file and read it back, 40 times; count the reads that mix two writers' bytes."""

    def pieces(temporary: Path) -> None:
        with temporary.open("wb") as file:
            for _ in range(64):
                file.write(bytes([number]) * 4096)

    torn = 0
    for _ in range(40):
        write_whole(path, pieces)
        data = path.read_bytes()
        torn += len(data) != 64 * 4096 or len(set(data)) != 1
    return torn


def test_a_file_that_several_processes_write_atomically_is_always_complete(tmp_path: Path):
    path = tmp_path / "whole.bin"
    assert together(3, torn_reads, path) == [0] * 3
    assert list(tmp_path.iterdir()) == [path]


def killed_while_it_writes(path: Path) -> None:
    with whole(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_files_of_a_killed_writer_are_deleted_and_those_of_a_running_one_kept(tmp_path: Path):
    path = tmp_path / "table"
    victim = PROCESSES.Process(target=killed_while_it_writes, args=(path,))
    victim.start()
    victim.join(PATIENCE)
    (left,) = tmp_path.glob("*.tmp")
    assert is_abandoned(left)
    with whole(path) as living:
        living.write_text("whole")
        assert not is_abandoned(living)
        with sole_writer(tmp_path):
            assert living.exists() and not left.exists()
    assert path.read_text() == "whole"
    assert not is_abandoned(temporary_name(path))  # of nobody, but not there either


def test_the_second_writer_of_a_folder_learns_who_the_first_is(tmp_path: Path):
    who = rf"process {os.getpid()} on .*, since 20"
    with sole_writer(tmp_path), pytest.raises(BlockingIOError, match=who), sole_writer(tmp_path):
        pass


def hold(home: Path, begun: Event, end: Event) -> None:
    with command_lock.hold(home):
        begun.set()
        end.wait(PATIENCE)


def test_a_second_run_waits_for_the_first_and_a_second_erasure_is_refused(tmp_path: Path):
    begun, end = PROCESSES.Event(), PROCESSES.Event()
    process = PROCESSES.Process(target=hold, args=(tmp_path, begun, end))
    process.start()
    try:
        assert begun.wait(PATIENCE)
        who = f"process {process.pid} on .* is running in "
        with pytest.raises(InputError, match=who), command_lock.hold(tmp_path):
            pass
        told: list[str] = []

        def say(text: str) -> None:
            told.append(text)
            end.set()

        with command_lock.hold(tmp_path, say):
            assert f"process {process.pid}" in told[0] and "waiting" in told[0]
            assert lock_holder(tmp_path / command_lock.LOCK).startswith(f"process {os.getpid()} ")
    finally:
        end.set()
        process.join(PATIENCE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with databases. Creating them takes seconds, so the tests copy it."""
    import dagster as dg

    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATELIER_DATABASE", raising=False)
        patch.setenv("DAGSTER_HOME", "")
        with instance.open_instance(home) as opened:
            opened.report_runless_asset_event(dg.AssetMaterialization("coats"))
        tracker_of(home).make_database()
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


def ruin(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()


TWO_HEADS = "INSERT INTO alembic_version VALUES ('5771160a95ad')"


def test_a_home_with_two_heads_or_half_its_tables_is_repaired_and_keeps_its_contents(home: Path):
    import dagster as dg

    runs, events, ticks = (home / "dagster" / kind.path for kind in instance.SQLITE)
    ruin(runs, TWO_HEADS, "DROP TABLE run_tags")
    ruin(events, TWO_HEADS, "DROP TABLE asset_event_tags")
    ruin(ticks, "DELETE FROM alembic_version", "DROP TABLE instigators")
    with instance.open_instance(home) as opened:
        assert opened.get_runs(limit=1) == []
        assert opened.get_latest_materialization_event(dg.AssetKey("coats")) is not None
        assert opened.all_instigator_state() == []
    assert all(is_complete(home / "dagster" / kind.path, kind) for kind in instance.SQLITE)


def test_a_database_that_cannot_be_repaired_is_refused_with_the_file_to_move_and_what_is_lost(home: Path):
    runs = home / "dagster" / "history" / "runs.db"
    ruin(runs, TWO_HEADS, "ALTER TABLE runs ADD COLUMN of_another TEXT")
    ruin(runs, "INSERT INTO runs (run_id) VALUES ('1')")
    before = runs.read_bytes()
    with pytest.raises(InputError, match=r"mv '.*runs\.db' .*That loses the list of runs"):
        instance.open_instance(home)
    assert runs.read_bytes() == before
    ruin(runs, "DELETE FROM runs")  # nothing would be lost: it is renamed
    with instance.open_instance(home) as opened:
        assert opened.get_runs(limit=1) == []


def test_a_tracking_database_left_incomplete_by_a_kill_is_repaired(home: Path):
    database = home / "mlflow" / "mlflow.db"
    ruin(database, "DROP TABLE logged_models", "INSERT INTO alembic_version VALUES ('0000')")
    assert not is_complete(database, SQLITE)
    assert tracker_of(home).client().get_experiment("0").name == "Default"
    assert is_complete(database, SQLITE)


def test_a_home_opens_after_a_kill_during_its_creation(tmp_path: Path):
    """Whenever the kill happens, no incomplete file has a name that a process opens."""
    home = tmp_path / "home"
    child = PROCESSES.Process(target=instance.prepare, args=(home,))
    child.start()
    give_up = time.monotonic() + PATIENCE
    while child.is_alive() and not list(home.glob(f"dagster/{instance.MAKING}*/history/*.db")):
        assert time.monotonic() < give_up
    child.kill()
    child.join(PATIENCE)
    with instance.open_instance(home) as opened:
        assert opened.get_runs(limit=1) == []
    assert not list(home.glob(f"dagster/{instance.MAKING}*"))
