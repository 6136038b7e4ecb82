"""A supervised server and all its children end with the process that holds the pipe; real processes and signals."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

LIMIT = 60  # seconds for anything here
# A server with three children: one in its process group, one in its own session, and one that ignores SIGTERM.
SERVER = """
import signal, subprocess, sys, time
nap = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
deaf = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('up', flush=True); time.sleep(600)"]
children = [
    subprocess.Popen(nap, stdout=subprocess.PIPE),
    subprocess.Popen(nap, stdout=subprocess.PIPE, start_new_session=True),
    subprocess.Popen(deaf, stdout=subprocess.PIPE),
]
for child in children:
    child.stdout.readline()
open(sys.argv[1], "w").close()
time.sleep(600)
"""
# Holds the pipe, as the UI does. A shell's background job ignores SIGINT and SIGHUP, and its children inherit that.
HOLDER = """
import os, signal, subprocess, sys, time
if sys.argv.pop(1) == "background":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
reading, writing = os.pipe()
supervisor = [sys.executable, "-m", "pipeline.cli.servers.supervisor", str(reading), "0.5", "", "mark", *sys.argv[1:]]
print(subprocess.Popen(supervisor, pass_fds=[reading], start_new_session=True).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def mark() -> Iterator[str]:
    """Mark the test's processes in their environment, and kill those that are left at its end."""
    made = uuid.uuid4().hex
    yield made
    for process in marked(made):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def becomes_true(holds: Callable[[], object]) -> bool:
    """Wait until `holds` returns something true; false if it does not within LIMIT seconds."""
    deadline = time.monotonic() + LIMIT
    while not (held := bool(holds())) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


def start_supervised(mark: str, up: Path, ground: str = "foreground") -> tuple[subprocess.Popen, psutil.Process]:
    """Start a holder of the pipe with a supervisor and its server; return the holder and the supervisor."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, ground, sys.executable, "-c", SERVER, str(up)],
        env={**os.environ, "TEST_MARK": mark}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout
    supervisor = psutil.Process(int(holder.stdout.readline()))
    assert becomes_true(up.exists), "the server does not start"
    assert len(marked(mark)) == 6
    return holder, supervisor


@pytest.mark.parametrize("ground", ["foreground", "background"])
def test_nothing_of_a_server_outlives_a_kill_9_of_its_holder(mark, tmp_path, ground):
    holder, _ = start_supervised(mark, tmp_path / "up", ground)
    holder.kill()
    holder.wait()
    assert becomes_true(lambda: not marked(mark)), "processes are left"


def test_nothing_of_a_server_outlives_two_signals_to_its_supervisor(mark, tmp_path):
    holder, supervisor = start_supervised(mark, tmp_path / "up")
    supervisor.terminate()
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor.terminate()
    assert becomes_true(lambda: [process.pid for process in marked(mark)] == [holder.pid]), "processes are left"
    holder.kill()
    holder.wait()


def test_a_terminals_signals_do_not_reach_the_server(mark, tmp_path):
    holder, supervisor = start_supervised(mark, tmp_path / "up")
    assert os.getpgid(supervisor.pid) == supervisor.pid != os.getpgid(holder.pid)
    holder.kill()
    holder.wait()
    assert becomes_true(lambda: not marked(mark)), "processes are left"


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_a_server_that_ends_by_itself_passes_on_its_exit_code_and_its_children_end(mark, tmp_path, end, code):
    server = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    )
    reading, writing = os.pipe()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.servers.supervisor", str(reading), "5", str(scratch), "mark",
         sys.executable, "-c", server + end],
        check=False, pass_fds=[reading], env={**os.environ, "TEST_MARK": mark}, start_new_session=True, timeout=LIMIT,
    )  # fmt: skip
    assert ended.returncode == code
    assert marked(mark) == []
    assert not scratch.exists()
    os.close(reading)
    os.close(writing)
