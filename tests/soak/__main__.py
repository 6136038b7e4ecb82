"""`python -m tests.soak`: kill -9 every kind of process at random moments; the last line says what was lost.

Three kills in five hit the command: at any moment, while it writes a table, or while it writes a checkpoint. Two in
five hit the servers and their runs: a step, a run worker, the daemon or the webserver. After each kill the next start
must continue by itself. Every finished home is compared with that of an undisturbed run. With `--folder`, the same
call continues an interrupted soak.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import psutil

from pipeline.home.storage import write_json
from tests.soak import shop as shops
from tests.soak.lives import Lives
from tests.soak.parts import PARTS
from tests.soak.servers import Servers

COMMAND, SERVERS = ("moment", "table", "checkpoint"), ("step", "worker", "daemon", "webserver")
WRITING = 0.01  # seconds, about, to write a table or a checkpoint, with its flush to the disk
RUNNING = 8.0  # seconds, about, of a part's run and of one of its steps, with imports
TRIES = 5  # to hit a running process, before the soak gives up
CLOSING = 90  # seconds for the daemon to close what was left open


class Soak:
    """The kills so far and what was lost, recorded in the folder so that a soak can continue."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options, self.folder = options, folder
        self.home, self.undisturbed = folder / "killed", folder / "undisturbed"
        self.record = folder / "soak.json"
        known: dict[str, Any] = json.loads(self.record.read_text()) if self.record.is_file() else {}
        self.kills: Counter[str] = Counter(known.get("kills", {}))
        self.half_written: int = known.get("half_written", 0)
        self.compared: int = known.get("compared", 0)
        self.lost: list[str] = known.get("lost", [])
        self.whole: dict[str, float] = known.get("whole", {})  # of an undisturbed run: seconds, tables, checkpoints
        self.began = time.monotonic() - known.get("seconds", 0.0)
        self.random = random.Random()

    @property
    def seconds(self) -> float:
        """Seconds of all calls together."""
        return time.monotonic() - self.began

    def run(self) -> None:
        """Do the remaining kills."""
        of_command = self.options.kills - self.options.kills * 2 // 5
        with shops.opened(self.folder) as shop:
            if not self.whole:
                self._undisturbed(shop)
            if self.kills.total() < of_command or not self.compared:
                self._command(shop, of_command)
            if self.kills.total() < self.options.kills:
                with Servers(
                    self.home, shop.of(self.home), self.folder / "servers.log", self.options.patience
                ) as servers:
                    while self.kills.total() < self.options.kills:
                        self._strike(servers, self.kills.total() - of_command)
                    deadline = time.monotonic() + CLOSING
                    while shops.left_open(self.home) and time.monotonic() < deadline:  # the daemon closes it by itself
                        time.sleep(2)
                    self._compare(shops.lost(self.home, self.undisturbed))

    def _undisturbed(self, shop: shops.Shop) -> None:
        shops.emptied(self.undisturbed)
        lives = self._lives(shop, self.undisturbed)
        began = time.monotonic()
        if lives.live(at="end"):
            raise RuntimeError(f"the undisturbed run failed; see {lives.log}")
        lives.close()
        self.whole = {"moment": time.monotonic() - began, **lives.seen}
        print("undisturbed: {moment:.0f} s, {table} tables, {checkpoint} checkpoints".format(**self.whole), flush=True)
        self._keep()

    def _lives(self, shop: shops.Shop, home: Path) -> Lives:
        return Lives(shop.profile, "*", shop.of(home), self.folder / "lives.log")

    def _command(self, shop: shops.Shop, kills: int) -> None:
        """Kill the command. A finished home is compared and removed; only the last one stays."""
        lives = self._lives(shop, self.home)
        while (number := self.kills.total()) < kills:
            self._draw(number)
            self._life(lives, COMMAND[number % len(COMMAND)])
        if status := lives.live(at="end"):
            self.lost.append(f"the command does not recover (status {status}); see {lives.log}")
        self._compare(shops.lost(self.home, self.undisturbed))
        lives.close()

    def _life(self, lives: Lives, kind: str) -> None:
        most = self.whole[kind]
        death = {"at": kind, "after": self.random.uniform(0, most if kind == "moment" else WRITING)}
        if kind != "moment":
            death["count"] = self.random.randint(1, int(most))
        before, began = shops.half_written(self.home), time.monotonic()
        status = lives.live(**death)
        if status == 9:
            where = f"after {death['after']:.1f} s" if kind == "moment" else f"number {death['count']}"
            self._count(kind, where, len(shops.half_written(self.home) - before))
            return
        if status:
            self.lost.append(f"a life ended with {status >> 8}; see {lives.log}")
        if kind == "moment":  # it ended before the kill, so draw the next moment within its shorter time
            self.whole["moment"] = min(most, time.monotonic() - began)
        self._compare(shops.lost(self.home, self.undisturbed))
        shops.emptied(self.home)

    def _strike(self, servers: Servers, number: int) -> None:
        """Kill a server, a run worker or a step; the run must succeed all the same."""
        kind, part = SERVERS[number % len(SERVERS)], PARTS[(number + number // len(PARTS)) % len(PARTS)]
        self._draw(self.kills.total())
        # Only Dagster's default executor, which the UI's Materialize uses, runs a step in its own process.
        job = "__ASSET_JOB" if kind == "step" else "everything"
        for _ in range(TRIES):
            part.clear(self.home)
            before = shops.half_written(self.home)
            run_id = servers.launch(job, list(part.assets), part.mode)
            hit = self._hit(servers, kind, run_id)
            half = len(shops.half_written(self.home) - before)
            status = servers.outcome(run_id)
            if kind == "step" and hit and status is dg.DagsterRunStatus.FAILURE:  # a person starts the next run
                status = servers.outcome(servers.launch(job, list(part.assets), part.mode))
            if status is not dg.DagsterRunStatus.SUCCESS:
                self.lost.append(f"after kill -9 of the {kind}: run {run_id} of {part.name} ended {status.value}")
            self._compare(shops.differences(self.home, self.undisturbed))
            if hit:
                self._count(kind, f"in {part.name}", half)
                return
        raise RuntimeError(f"no {kind} was hit in {TRIES} runs of {part.name}; see {servers.log}")

    def _hit(self, servers: Servers, kind: str, run_id: str) -> bool:
        """Kill it during the run; return False if the run ended before."""
        if kind == "step":
            return self._hit_a_step(servers, run_id)
        worker = servers.worker_of(run_id) if kind == "worker" else None
        time.sleep(self.random.uniform(0, RUNNING))
        if servers.ended(run_id):
            return False
        if kind == "worker":
            return worker is not None and _killed(worker)
        servers.kill(kind)
        time.sleep(self.random.uniform(0, 2))
        servers.start(kind)
        return True

    def _hit_a_step(self, servers: Servers, run_id: str) -> bool:
        worker, after = servers.worker_of(run_id), self.random.uniform(0, 2 * RUNNING)
        first: float | None = None
        while worker is not None and not servers.ended(run_id):
            steps = _steps_of(worker)
            if steps and first is None:
                first = time.monotonic()
            if steps and first is not None and time.monotonic() - first >= after and _killed(steps[0]):
                return True
            time.sleep(0.05)
        return False

    def _draw(self, number: int) -> None:
        """Seed the draws of one kill, so that they do not depend on where the soak was continued."""
        self.random.seed(f"{self.options.seed} {number}")

    def _count(self, kind: str, where: str, half_written: int) -> None:
        self.kills[kind] += 1
        self.half_written += half_written
        files = f", {half_written} half-written" if half_written else ""
        print(f"{self.seconds:5.0f} s  kill {self.kills.total()}: {kind}, {where}{files}", flush=True)
        self._keep()

    def _compare(self, found: list[str]) -> None:
        self.compared += 1
        for line in found:
            print(f"{self.seconds:5.0f} s  lost: {line}", flush=True)
        self.lost += found
        self._keep()

    def _keep(self) -> None:
        """Record the progress."""
        kept = ("kills", "half_written", "compared", "lost", "whole", "seconds")
        write_json(self.record, {name: getattr(self, name) for name in kept})

    def summary(self) -> str:
        """Format the last line."""
        counts = ", ".join(f"{kind} {self.kills[kind]}" for kind in (*COMMAND, *SERVERS) if self.kills[kind])
        lost = f"{len(self.lost)} things lost: {'; '.join(self.lost[:5])}" if self.lost else "nothing lost"
        return (
            f"{self.kills.total()} of {self.options.kills} kills ({counts}) in {self.seconds:.0f} s, "
            f"{self.half_written} files cut off half-written, {self.compared} comparisons with an undisturbed run: "
            f"{lost}"
        )


def _steps_of(worker: psutil.Process) -> list[psutil.Process]:
    """List the processes of the steps that a run worker is executing."""
    try:
        return [child for child in worker.children() if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def _killed(process: psutil.Process) -> bool:
    """Kill -9 a process; return False if it had ended before."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def main() -> int:
    """Run the soak; return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work, or to continue (default: a temporary one)")
    parser.add_argument("--patience", type=float, default=300, help="seconds to wait for a server or a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-soak-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(options, folder)
        try:
            soak.run()
        except Exception:  # the last line must report any error
            traceback.print_exc()
            soak.lost.append("the soak itself failed")
    print(soak.summary())
    return 1 if soak.lost else 0


if __name__ == "__main__":
    sys.exit(main())
