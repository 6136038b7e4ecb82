"""Run a command of the terminal as a process: its exit code, its output, and the time from its failure to its end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.pipeline.conftest import TINY, VARIABLES

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugin"
LIMIT = 120.0  # seconds from start to end, with imports; like SOON, on an idle machine
SOON = 5.0  # seconds from a failure to the end


@dataclass(frozen=True)
class Command:
    """A command of the grid."""

    words: tuple[str, ...]
    at: str  # the function of its work that is made to fail, `module:name`
    tables: tuple[str, ...] = ()  # a table that it needs
    prepare: Callable[[Path], object] = lambda home: None


def _tune_config(home: Path) -> None:
    (home / "tune.yaml").write_text(
        f"resources: {{method: {{config: {{profile: {TINY}}}}}}}\n"
        "ops: {tuning: {config: {models: [bpr_mf], modes: [vendor_single], trials: 1}}}\n"
    )


PROFILE = ("--profile", str(TINY))
COMMANDS = {
    "run": Command(
        ("pipeline.run", *PROFILE, "--select", "key:splits"), "pipeline.core.dataset.splits:assign",
        ("interactions",),
    ),
    "study": Command(
        ("pipeline.study", *PROFILE, "--models", "popularity", "--modes", "vendor_single", "--splits", "1"),
        "pipeline.study.one_cell:run", ("interactions",),
    ),
    "tune": Command(
        ("pipeline.cli.tune", "-c", "{home}/tune.yaml"), "pipeline.study.tuning:search", ("interactions",),
        _tune_config,
    ),
    "erase": Command(("pipeline.erase", "--reviewer", "NOBODY"), "pipeline.erase.traces:find", ("users",)),
    "depot": Command(("pipeline.mirror", "push"), "pipeline.mirror.sync:push"),
    "lookbook": Command(("pipeline.lookbook",), "pipeline.lookbook.build:build", ("products",)),
    "generator study": Command(
        (
            "pipeline.study.generator_presets", "--set", "width=0.05", "z_dim=4", "steps=1", "minimum_class=1",
            "--samples", "20",
        ),
        "models.lsgan.train:train", ("garments",),
    ),
    "source comparison": Command(
        ("pipeline.study.generator_sources", *PROFILE), "models.lsgan.train:train", ("image_urls",),
    ),
    "sample": Command(
        ("pipeline.sample", "write", "--out", "{home}/more"), "pipeline.sample.catalogue:write_catalogue",
    ),
    "reference": Command(("pipeline.cli.reference",), "pipeline.build:build_definitions"),
}  # fmt: skip


@dataclass
class Ended:
    """A process that has ended."""

    code: int
    output: str
    after: float | None  # seconds from the failure or signal to the end; None if the process did not reach it
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lines = [line for line in self.output.splitlines() if line.strip()]

    @property
    def reasons(self) -> list[str]:
        """The lines that say why it ended."""
        begins = ("failed:", "error:", "stopped")
        return [line for line in self.lines if line.startswith(begins)]


def call(
    command: Command,
    home: Path,
    variables: dict[str, str],
    *more: str,
    kind: str = "",
    at: str = "",
    signals: tuple[int, ...] = (),
    shell: str = "",
) -> Ended:
    """Run the command on the home.

    Args:
        command: the command.
        home: the home.
        variables: its environment.
        more: further arguments.
        kind: how it fails, or that it waits; see `plugin/sitecustomize.py`.
        at: the function where, if not the command's own.
        signals: sent to it there.
        shell: a shell line that starts it as "$@", for limits and pipes.
    """
    command.prepare(home)
    mark = home.parent / f"{home.name}.mark"
    mark.unlink(missing_ok=True)
    environment = {**os.environ, **dict.fromkeys(VARIABLES, ""), "PYTHONPATH": f"{PLUGIN}{os.pathsep}{ROOT}"}
    environment |= {"ATELIER_HOME": str(home), "ATELIER_DEVICE": "cpu", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"ATELIER_STORE": str(home.parent / "store")} if command is COMMANDS["depot"] else {}
    environment |= {**variables, "COLUMNS": "200"}
    if kind:
        environment |= {"EDGE_AT": at or command.at, "EDGE_KIND": kind, "EDGE_MARK": str(mark)}
    words = [sys.executable, "-m", *(word.format(home=home) for word in (*command.words, *more))]
    if shell:
        words = ["bash", "-c", shell, "edge", *words]
    process = subprocess.Popen(
        words, cwd=home.parent, env={name: value for name, value in environment.items() if value},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        if signals:
            _until(lambda: (mark.is_file() and mark.read_text()) or process.poll() is not None)
            for number in signals:
                mark.write_text(str(time.time()))
                os.killpg(process.pid, number)  # to the whole process group, as a terminal does
        output, _ = process.communicate(timeout=scaled(LIMIT))
        ended = time.time()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    after = ended - float(mark.read_text()) if mark.is_file() else None
    return Ended(process.returncode, output, after)


def scaled(seconds: float) -> float:
    """Scale a time limit by the machine's load per processor."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + scaled(LIMIT)
    while not happened():
        assert time.monotonic() < deadline, "the command neither waited nor ended"
        time.sleep(0.02)
