"""However `make ui` ends, it leaves no process, and the next one on its home starts; real servers and signals."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.pipeline.cli.ui_process import LIMIT, Ui, matching

pytestmark = pytest.mark.skipif(
    not os.environ.get("ATELIER_EDGES"), reason="each takes half a minute of two cores: make edges"
)
HUP, INT, KILL, TERM = signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM


@pytest.mark.parametrize(
    ("signals", "background", "code"),
    [
        ((INT,), False, 130), ((INT, INT), False, 130), ((HUP,), False, 129), ((HUP, TERM), False, 129),
        ((TERM,), True, 143),
    ],
    ids=["ctrl-c", "ctrl-c twice", "terminal closed", "terminal closed and killed", "killed in the background"],
)  # fmt: skip
def test_no_process_is_left_and_the_exit_code_is_of_the_first_signal(tmp_path: Path, signals, background, code):
    with Ui(tmp_path, background=background, ATELIER_HOME=str(tmp_path / "home")) as ui:
        ui.up()
        assert ui.end(*signals) == code
        ui.nothing_is_left()


def test_a_signal_during_startup_leaves_no_process(tmp_path: Path):
    with Ui(tmp_path, ATELIER_HOME=str(tmp_path / "home")) as ui:
        ui.until(lambda: matching(ui.left(), "pipeline.cli.servers.supervisor"), "no server is started")
        assert ui.end(TERM) == 143
        ui.nothing_is_left()


def test_after_kill_9_no_process_is_left_and_the_next_ui_starts_at_once(tmp_path: Path):
    home = {"ATELIER_HOME": str(tmp_path / "home")}
    with Ui(tmp_path, **home) as first:
        first.up()
        assert first.end(KILL) == -KILL
        with Ui(tmp_path, **home) as second:
            second.up()
            first.nothing_is_left()
            assert second.end(TERM) == 143
            second.nothing_is_left()


@pytest.mark.parametrize("words", ["pipeline.cli.servers.webserver", "pipeline.cli.servers.supervisor"])
def test_if_a_server_is_killed_all_end_and_its_log_is_shown(tmp_path: Path, words):
    with Ui(tmp_path, ATELIER_HOME=str(tmp_path / "home")) as ui:
        ui.up()
        server = matching(ui.left(), "pipeline.cli.servers.webserver")
        (hit,) = [
            p for p in server if ("pipeline.cli.servers.supervisor" in p.cmdline()) == words.endswith("supervisor")
        ]
        hit.kill()
        assert ui.process.wait(LIMIT) == 1
        assert "failed: dagster ended by itself" in ui.output and "dagster.log" in ui.output
        ui.nothing_is_left()


def test_a_step_of_the_ui_uses_the_home_that_the_shell_names(tmp_path: Path):
    (tmp_path / ".env").write_text("ATELIER_HOME=other\nATELIER_LICENCE=of the file\n")
    with Ui(tmp_path, ATELIER_HOME=str(tmp_path / "home"), ATELIER_LICENCE="") as ui:
        ui.up()
        ui.launch("__ASSET_JOB", "raw_reviews")
        steps = ui.until(
            lambda: [step for step in matching(ui.left(), "spawn_main") if _grandchild(step)], "no step is run"
        )
        assert steps[0].environ()["ATELIER_HOME"] == str(tmp_path / "home")
        assert steps[0].environ()["ATELIER_LICENCE"] == ""
        assert ui.end(TERM) == 143
    assert not (tmp_path / "other").exists()


def _grandchild(process: psutil.Process) -> bool:
    """Return whether a process was spawned by a spawned process, as a step is by the run's worker."""
    try:
        parent = process.parent()
        return parent is not None and bool(matching([parent], "spawn_main"))
    except psutil.NoSuchProcess:
        return False
