"""`python -m tests.soak`: kill -9 at random moments of everything; the last line says how many, and what was lost.

Three kills in five fall on the command (at any moment, while a table is being written, while a checkpoint is), two on
the servers and on runs that they started (the step, the run worker, the daemon, the webserver). After each, the next
start must go on by itself; whenever everything has been made, it is compared with what an undisturbed run made.
"""

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil

from tests.soak import shop as shops
from tests.soak.lives import Lives
from tests.soak.servers import Servers

COMMAND, SERVERS = ("moment", "table", "checkpoint"), ("step", "worker", "daemon", "webserver")
MODE = "vendor_all"
# What a run of the servers makes: one image mode, from its splits to its recommender.
ASSETS = ["splits", "catalogue", "triplets", "dvbpr", "recommendations"]
TABLES, CHECKPOINTS = 20, 12  # writes of each in a whole run, about


class Soak:
    """The kills so far, and what they cost."""

    def __init__(self, folder: Path, seed: int, select: str, patience: float):
        self.folder, self.select, self.patience = folder, select, patience
        self.random = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.lost: list[str] = []
        self.compared = 0

    def command(self, shop: shops.Shop, kinds: Iterator[str], undisturbed: Path) -> None:
        """Kill the command once for each of `kinds`; homes that get finished are compared, and begun again."""
        home = shops.emptied(self.folder / "killed")
        lives = Lives(shop.profile, self.select, shop.of(home), self.folder / "lives.log")
        began = time.monotonic()
        first = Lives(shop.profile, self.select, shop.of(undisturbed), self.folder / "lives.log")
        if first.live(at="end"):
            raise RuntimeError(f"the undisturbed run failed; see {lives.log}")
        first.close()
        whole = time.monotonic() - began
        print(f"an undisturbed run took {whole:.0f} s", flush=True)
        for kind in kinds:
            while self._life(lives, kind, whole) != 9:
                self._compare(home, undisturbed)
                shops.emptied(home)
        if lives.live(at="end"):
            self.lost.append(f"the command does not recover; see {lives.log}")
        self._compare(home, undisturbed)
        lives.close()

    def _life(self, lives: Lives, kind: str, whole: float) -> int:
        count = self.random.randint(1, TABLES if kind == "table" else CHECKPOINTS)
        after = self.random.uniform(0, whole if kind == "moment" else 0.004)
        status = lives.live(at=kind, count=count, after=after)
        if status == 9:
            self._count(kind)
        elif status:
            self.lost.append(f"a life ended with {status >> 8}; see {lives.log}")
        return status

    def servers(self, shop: shops.Shop, kinds: Iterator[str], undisturbed: Path) -> None:
        """Kill the servers and what they run, once for each of `kinds`."""
        home = self.folder / "killed"  # finished by the command
        with Servers(home, shop.of(home), self.folder / "servers.log", self.patience) as servers:
            for kind in kinds:
                for trained in (home / "recommender" / MODE).iterdir():
                    shops.emptied(trained) if trained.is_dir() else trained.unlink()
                self._strike(servers, kind)
            by = time.monotonic() + self.patience
            while shops.left_open(home) and time.monotonic() < by:  # the daemon closes it by itself
                time.sleep(5)
            self._compare(home, undisturbed)

    def _strike(self, servers: Servers, kind: str) -> None:
        # The step's own process is there with Dagster's default executor alone, which the UI's Materialize uses.
        job = "__ASSET_JOB" if kind == "step" else "everything"
        run_id = servers.launch(job, ASSETS, MODE)
        worker = servers.worker_of(run_id)
        time.sleep(self.random.uniform(0, 4))
        if kind == "worker":
            _kill(worker)
        elif kind == "step":
            self._kill_a_step(worker)
        else:
            servers.kill(kind)
            servers.start(kind)
        self._count(kind)
        status = servers.outcome(run_id)
        if kind == "step" and status is dg.DagsterRunStatus.FAILURE:  # the next start is somebody's, or automation's
            status = servers.outcome(servers.launch(job, ASSETS, MODE))
        if status is not dg.DagsterRunStatus.SUCCESS:
            self.lost.append(f"after kill -9 of the {kind}: run {run_id} ended {status.value}")

    def _kill_a_step(self, worker: psutil.Process) -> None:
        by = time.monotonic() + self.patience
        while time.monotonic() < by and worker.is_running():
            try:
                steps = [child for child in worker.children() if "spawn_main" in " ".join(child.cmdline())]
                if steps:
                    time.sleep(self.random.uniform(0, 6))
                    _kill(steps[0])
                    return
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)

    def _count(self, kind: str) -> None:
        self.kills[kind] += 1
        print(f"kill {self.kills.total()}: {kind}", flush=True)

    def _compare(self, home: Path, undisturbed: Path) -> None:
        self.compared += 1
        found = shops.lost(home, undisturbed)
        for line in found:
            print(f"lost: {line}", flush=True)
        self.lost += found


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def main() -> int:
    """The soak; 0 where nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--select", default="*", help="what the command makes (Dagster's selection syntax)")
    parser.add_argument("--folder", type=Path, help="where to work; kept afterwards (default: a temporary one)")
    parser.add_argument("--patience", type=float, default=600, help="seconds to wait for a server or a run")
    options = parser.parse_args()
    began = time.monotonic()
    of_servers = options.kills * 2 // 5
    with tempfile.TemporaryDirectory(prefix="atelier-soak-") as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, options.seed, options.select, options.patience)
        undisturbed = folder / "undisturbed"
        with shops.opened(folder) as shop:
            kinds = (COMMAND[number % len(COMMAND)] for number in range(options.kills - of_servers))
            soak.command(shop, kinds, undisturbed)
            kinds = (SERVERS[number % len(SERVERS)] for number in range(of_servers))
            if of_servers:
                soak.servers(shop, kinds, undisturbed)
    told = ", ".join(f"{kind} {count}" for kind, count in soak.kills.items())
    verdict = f"{len(soak.lost)} things lost: {'; '.join(soak.lost[:5])}" if soak.lost else "nothing lost"
    print(
        f"{soak.kills.total()} kills ({told}) in {time.monotonic() - began:.0f} s, {soak.compared} comparisons with an "
        f"undisturbed run: {verdict}"
    )
    return 1 if soak.lost else 0


if __name__ == "__main__":
    sys.exit(main())
