"""Run `python -m pipeline.run` in child processes that are killed at a chosen point. Each process is called a life.

Run as a module, it imports once and forks a life for every line of its standard input, because the imports take longer
than most lives. A line is JSON: {"at": "moment" | "table" | "checkpoint" | "end", "count": n, "after": seconds}. The
answer is JSON too: {"status": wait status, "seen": {"table": n, "checkpoint": n}}.
"""

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WRITES = {"t": "table", "c": "checkpoint"}  # the letter that a life sends before it writes one
POLL_INTERVAL = 0.1  # seconds


class Lives:
    """The process that forks; `live` runs one life."""

    def __init__(self, profile: Path, select: str, variables: dict[str, str], log: Path):
        self.log = log
        self.seen: dict[str, int] = {}  # tables and checkpoints that the last life started to write
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.lives", str(profile), select, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        )

    def live(self, **death: Any) -> int:
        """Run one life; return its wait status: 0 done, 9 killed, anything else an error that is in the log."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(death), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the forking process ended; see {self.log}")
        result = json.loads(answer)
        self.seen = result["seen"]
        return result["status"]

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate(timeout=60)


def _announce_writes(pipe: int) -> None:
    """Make this life send a letter whenever it starts to write a table or a checkpoint."""
    import pyarrow.parquet as pq
    import torch

    for letter, owner, name in (("t", pq.ParquetWriter, "write_table"), ("c", torch, "save")):
        write = getattr(owner, name)

        def writes(*args: Any, _write: Any = write, _letter: bytes = letter.encode(), **named: Any) -> Any:
            os.write(pipe, _letter)
            return _write(*args, **named)

        setattr(owner, name, writes)


def _watch(child: int, pipe: int, death: dict[str, Any]) -> tuple[int, Counter[str]]:
    """Wait for the end of a life, and kill it at the chosen point; return its wait status and counts of its writes."""
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + death["after"] if death["at"] == "moment" else None
    listening = [pipe]
    while True:
        wait = POLL_INTERVAL if deadline is None else max(0.0, min(POLL_INTERVAL, deadline - time.monotonic()))
        if select.select(listening, [], [], wait)[0]:
            letters = os.read(pipe, 4096).decode()
            listening = listening if letters else []
            for letter in letters:
                seen[WRITES[letter]] += 1
                if deadline is None and WRITES[letter] == death["at"] and seen[death["at"]] == death["count"]:
                    deadline = time.monotonic() + death["after"]
        if deadline is not None and time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], seen
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status, seen


def main() -> None:
    """Fork a life for every line."""
    profile, select_, log = sys.argv[1:]
    for slow in ("mlflow.tracking", "pandas", "timm"):  # imported once, for all lives
        importlib.import_module(slow)

    from pipeline.cli import run

    for line in sys.stdin:
        death = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with Path(log).open("a") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            if "file_limit" in death:  # bytes of the largest file: it acts like a full disk, at a chosen point
                resource.setrlimit(resource.RLIMIT_FSIZE, (death["file_limit"], resource.RLIM_INFINITY))
            _announce_writes(writing)
            code = run.main(["--profile", profile, "--select", select_])
            sys.stdout.flush()
            os._exit(code)
        os.close(writing)
        status, seen = _watch(child, reading, death)
        os.close(reading)
        print(json.dumps({"status": status, "seen": seen}), flush=True)


if __name__ == "__main__":
    main()
