"""Lives of the command `python -m pipeline.run`: one child process each, killed from outside where it was told to die.

Run as a module it imports once and forks a life for every line of its standard input, since importing would take
longer than most lives. A line is JSON: {"at": "moment" | "table" | "checkpoint" | "end", "count": n, "after": seconds},
and so is the answer: {"status": wait status, "seen": {"table": n, "checkpoint": n}}.
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
WRITES = {"t": "table", "c": "checkpoint"}  # what a life says before it writes one
LOOK = 0.1  # seconds between two looks whether it has ended


class Lives:
    """The forking process; `live` runs one life."""

    def __init__(self, profile: Path, select: str, variables: dict[str, str], log: Path):
        self.log = log
        self.seen: dict[str, int] = {}  # how many tables and checkpoints the last life began to write
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
        told = json.loads(answer)
        self.seen = told["seen"]
        return told["status"]

    def close(self) -> None:
        """End the forking process."""
        self._process.communicate(timeout=60)


def _tell(say: int) -> None:
    """Have this life say a letter whenever it begins to write a table or a checkpoint."""
    import pyarrow.parquet as pq
    import torch

    for letter, owner, name in (("t", pq.ParquetWriter, "write_table"), ("c", torch, "save")):
        write = getattr(owner, name)

        def writes(*args: Any, _write: Any = write, _letter: bytes = letter.encode(), **named: Any) -> Any:
            os.write(say, _letter)
            return _write(*args, **named)

        setattr(owner, name, writes)


def _watch(child: int, hears: int, death: dict[str, Any]) -> tuple[int, Counter[str]]:
    """Wait for the end of a life, and bring it about where that was asked for: its wait status, and what it wrote."""
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + death["after"] if death["at"] == "moment" else None
    listening = [hears]
    while True:
        wait = LOOK if deadline is None else max(0.0, min(LOOK, deadline - time.monotonic()))
        if select.select(listening, [], [], wait)[0]:
            told = os.read(hears, 4096).decode()
            listening = listening if told else []
            for letter in told:
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
        hears, say = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(hears)
            with Path(log).open("a") as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            if "file_limit" in death:  # bytes of the longest file: what a full disk does, at a place one can choose
                resource.setrlimit(resource.RLIMIT_FSIZE, (death["file_limit"], resource.RLIM_INFINITY))
            _tell(say)
            code = run.main(["--profile", profile, "--select", select_])
            sys.stdout.flush()
            os._exit(code)
        os.close(say)
        status, seen = _watch(child, hears, death)
        os.close(hears)
        print(json.dumps({"status": status, "seen": seen}), flush=True)


if __name__ == "__main__":
    main()
