"""Lives of the command `python -m pipeline.run`: one child process each, killed where it was told to die.

Run as a module it imports once and forks a life for every line of its standard input, since importing would take
longer than most lives. A line is JSON: {"at": "moment" | "table" | "checkpoint" | "end", "count": n, "after": seconds}.
"""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Lives:
    """The forking process; `live` runs one life."""

    def __init__(self, profile: Path, select: str, variables: dict[str, str], log: Path):
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.lives", str(profile), select, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        )

    def live(self, **death: Any) -> int:
        """One life; its wait status: 0 done, 9 killed, anything else an error that the log tells."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(death), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the forking process ended; see {self.log}")
        return int(answer)

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate(timeout=60)


def _die(after: float) -> None:
    """SIGKILL to this process, in a while: nothing of it runs any more, as if it came from outside."""
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def _arm(death: dict[str, Any]) -> None:
    """Set the death of this life: at a moment, or while the n-th table or checkpoint is being written."""
    import pyarrow.parquet as pq
    import torch

    if "file_limit" in death:  # bytes of the longest file: what a full disk does, at a place one can choose
        resource.setrlimit(resource.RLIMIT_FSIZE, (death["file_limit"], resource.RLIM_INFINITY))
    if death["at"] == "moment":
        _die(death["after"])
    for at, module, name in (("table", pq, "write_table"), ("checkpoint", torch, "save")):
        if death["at"] != at:
            continue
        write, seen = getattr(module, name), 0

        def writes(*args: Any, write: Any = write, **named: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == death["count"]:
                _die(death["after"])
            return write(*args, **named)

        setattr(module, name, writes)


def main() -> None:
    """Fork a life for every line."""
    profile, select, log = sys.argv[1:]
    for slow in ("mlflow.tracking", "pandas", "timm"):  # imported once, for all lives
        importlib.import_module(slow)

    from pipeline import run

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            with Path(log).open("a") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            _arm(json.loads(line))
            code = run.main(["--profile", profile, "--select", select])
            sys.stdout.flush()
            os._exit(code)
        status = os.waitpid(child, 0)[1]
        print(status if os.WIFEXITED(status) else os.WTERMSIG(status), flush=True)


if __name__ == "__main__":
    main()
