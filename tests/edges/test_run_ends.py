"""Failures that only `pipeline.run` meets: odd messages, signals at odd moments, limits, divergence, databases."""

import re
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.edges.commands import COMMANDS, Command, call
from tests.edges.test_grid import faults
from tests.pipeline.conftest import TINY
from tests.pipeline.core.loopback import closed_port

RUN = COMMANDS["run"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no words", r"splits: AssertionError without a word"),
        ("a bug", r"splits: KeyError: 'image'"),
        ("many lines", r"it does not fit: one \\x1b\[31mred\\x1b\[0m; two \\u202eback"),
        ("a traceback in its words", r"a worker failed: OSError: its disk is gone"),
        ("a group", r"the innermost says it"),
        ("exit", r"sys\.exit\(3\)"),
        ("no memory", r"memory ran out.*batch_size"),
        ("hangs afterwards", r"the step failed"),
    ],
)
def test_every_error_of_a_step_is_reported_in_one_line(kind: str, said: str, home: Path, variables: dict[str, str]):
    assert faults(call(RUN, home, variables, kind=kind), 1, said) == []


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ((signal.SIGHUP,), 129),
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGINT, signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGINT), 143),
    ],
)
def test_signals_in_a_step_end_the_run(signals: tuple[int, ...], code: int, home: Path, variables: dict[str, str]):
    ended = call(RUN, home, variables, kind="waits", signals=signals)
    assert faults(ended, code, "stopped") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_before_dagster_starts_end_the_command(number: int, code: int, home: Path, variables: dict[str, str]):
    assert (
        faults(
            call(RUN, home, variables, kind="waits", at="import", signals=(number,)), code, "stopped before it began"
        )
        == []
    )


def test_a_run_in_the_background_that_ignores_ctrl_c_is_ended_by_term(home: Path, variables: dict[str, str]):
    """Dagster gives TERM the handler of Ctrl-C, so a run that ignores the one must not come to ignore the other."""
    started = 'trap "" INT; exec "$@"'
    assert faults(call(RUN, home, variables, kind="waits", signals=(signal.SIGTERM,), shell=started), 143, "st") == []


def test_a_stopped_run_continues(home: Path, variables: dict[str, str]):
    assert faults(call(RUN, home, variables, kind="waits", signals=(signal.SIGINT,)), 130, "goes on") == []
    again = call(RUN, home, variables)
    assert again.code == 0 and not again.reasons, again.output


def test_a_file_in_the_place_of_the_tables_is_named(tmp_path: Path, variables: dict[str, str]):
    home = tmp_path / "home"
    home.mkdir()
    (home / "tables").write_text("not a folder")
    reads = Command(
        ("pipeline.run", "--profile", str(TINY), "--select", "key:reviews or key:products or key:rejects"), ""
    )
    assert faults(call(reads, home, variables), 1, r"home/tables.*move it away") == []


def test_a_limit_on_the_size_of_files_is_reported_with_the_remedy(home: Path, variables: dict[str, str]):
    ended = call(RUN, home, variables, shell='ulimit -f 1; trap "" XFSZ; exec "$@"')
    assert faults(ended, 1, r"raise the limit.*ulimit -f") == []


def test_a_closed_pipe_and_a_full_disk_under_the_output_end_it_quietly(home: Path, variables: dict[str, str]):
    quiet = call(COMMANDS["reference"], home, variables, shell='"$@" | head -n 1; exit ${PIPESTATUS[0]}')
    assert quiet.code in (0, 1) and "Traceback" not in quiet.output and not quiet.reasons, quiet.output
    assert len(quiet.lines) == 1, quiet.output
    full = call(RUN, home, variables, shell='exec "$@" > /dev/full')
    assert faults(full, 1, "make room") == []


@pytest.mark.parametrize("rate", ["1.0e+30"])
def test_a_diverged_training_is_reported_and_the_current_model_stays(
    rate: str, home: Path, variables: dict[str, str], tmp_path: Path
):
    train = ("pipeline.run", "--profile", "{profile}", "--select", "key:dvbpr")

    def of(profile: Path) -> Command:
        return Command(tuple(word.replace("{profile}", str(profile)) for word in train), "")

    good = call(of(TINY), home, variables)
    assert good.code == 0, good.output
    current = {path: path.read_bytes() for path in home.glob("recommender/*/current.json")}
    assert current
    wild = tmp_path / "wild.yaml"
    wild.write_text(re.sub(r"learning_rate: \S+", f"learning_rate: {rate}", TINY.read_text()))
    assert faults(call(of(wild), home, variables), 1, r"dvbpr: .*not a number.*learning_rate") == []
    assert current == {path: path.read_bytes() for path in home.glob("recommender/*/current.json")}


@pytest.mark.parametrize("content", [b"", b"no database at all" * 9])
def test_a_file_that_is_no_database_is_named(content: bytes, home: Path, variables: dict[str, str]):
    path = next((home / "dagster").rglob("runs.db"))
    path.write_bytes(content)
    ended = call(RUN, home, variables)
    if not content:  # SQLite makes a new database
        assert "Traceback" not in ended.output, ended.output
        return
    assert faults(ended, 2, r"runs\.db is incomplete or damaged.*move it away") == []


def test_a_locked_database_is_reported(home: Path, variables: dict[str, str]):
    holder = sqlite3.connect(next((home / "dagster").rglob("runs.db")), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        ended = call(RUN, home, variables)
    finally:
        holder.close()
    assert faults(ended, 1, "another process holds a SQLite file") == []


def test_a_tracking_server_that_does_not_answer_is_reported_at_once(home: Path, variables: dict[str, str]):
    address = f"http://127.0.0.1:{closed_port()}"
    assert (
        faults(
            call(RUN, home, {**variables, "MLFLOW_TRACKING_URI": address}), 2, "MLFLOW_TRACKING_URI: nothing answers"
        )
        == []
    )


def test_a_postgresql_that_does_not_answer_is_reported(home: Path, variables: dict[str, str]):
    address = f"postgresql://nobody:secret@127.0.0.1:{closed_port()}/none"
    ended = call(RUN, home, {**variables, "ATELIER_DATABASE": address})
    assert faults(ended, 1, "PostgreSQL.*ATELIER_DATABASE") == []
    assert "secret" not in ended.output
