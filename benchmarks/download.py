"""Compare our fetch with img2dataset, on one core each and from one loopback host: `python -m benchmarks.download`.

Both fetch the same drawn pictures in turn. Ours fetches, decodes to validate, hashes with sha256, and writes Parquet
with fsync and the ledger. The peer is img2dataset in its own virtual environment, made on the first call. It also
decodes and hashes; re-encoding is off, and a small sweep finds its best thread count and output format.

Ours is timed around `fetch`, the peer by its own statistics. Rates and CPU seconds exclude start-up: those of a run
over a few pictures are subtracted, on both sides. The ratio that includes start-up is printed too. CPU seconds are
those of the whole process tree. Memory is the tree's proportional set size, which counts shared pages once. If the peer
cannot be installed (no registry in reach), only ours is printed and the exit code is 1.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
import torch

from benchmarks.measure import machine, medians

PEER = "img2dataset==1.47.0"
FORMATS = ("parquet", "webdataset", "files")
THREADS = (8, 16, 32, 64)
FEW = 20  # pictures in a run that measures the cost of start-up
# img2dataset imports albumentations, which would ask the internet for a newer version of itself.
QUIET = {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
FLAT = (10_000, 100_000)  # URLs


class BenchmarkError(Exception):
    """A side failed; the message says which and why."""


@dataclass(frozen=True)
class Cores:
    """The cores of server and client: the same if there is only one, None if the system cannot pin processes."""

    server: set[int] | None
    client: set[int] | None

    @classmethod
    def chosen(cls) -> "Cores":
        """Choose the first and the last core that this process may use."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        return cls({usable[0]}, {usable[-1]})


def spawn(
    command: list[str], core: set[int] | None, stdout: int | IO[str], stderr: int | None = None
) -> subprocess.Popen[str]:
    """Start a process on one core."""
    if core is not None:
        pin = f"import os, sys; os.sched_setaffinity(0, {core!r}); os.execvp(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-S", "-c", pin, *command]
    return subprocess.Popen(command, text=True, env=os.environ | QUIET, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def serving(pictures: int, core: set[int] | None) -> Generator[int]:
    """Run the picture server; yield its port."""
    command = [sys.executable, "-m", "benchmarks.picture_server", str(pictures)]
    process = spawn(command, core, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise BenchmarkError("the picture server ended before it listened; its message is above")
        yield int(line)
    finally:
        process.kill()
        process.wait()


def watched(command: list[str], core: set[int] | None) -> tuple[str, dict[str, float]]:
    """Run `command`; return its output, and CPU seconds and peak memory of its process tree."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = spawn(command, core, stdout=output, stderr=subprocess.STDOUT)
        root = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, sum(_megabytes(one) for one in [root, *root.children(recursive=True)]))
            time.sleep(0.1)
        output.seek(0)
        text = output.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise BenchmarkError(f"{' '.join(command[:3])} ... ended with {process.returncode}:\n{text[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return text, {"cpu_s": cpu, "peak_mb": peak}


def _megabytes(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
        return getattr(memory, "pss", memory.rss) / 1e6
    except psutil.Error:  # the process has just ended
        return 0.0


def run_loopback(side: str, port: int, count: int, core: set[int] | None) -> dict[str, float]:
    """Run `benchmarks.loopback` once. Raises BenchmarkError unless every picture was good."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.loopback", side, str(port), str(count), f"{folder}/store"]
        text, figures = watched(command, core)
    result = json.loads(text.splitlines()[-1])
    if result["reasons"] != {"ok": count}:
        raise BenchmarkError(f"{side}: {count} good pictures were served, but it reports {result['reasons']}")
    return {"wall_s": result["wall_s"], **figures}


class Peer:
    """img2dataset in the virtual environment `folder`, which is made if it is missing."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "bin" / "img2dataset"
        if not self.program.exists():
            print(f"installing {PEER} into {folder} ...", file=sys.stderr)
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", PEER]
            try:
                subprocess.run([*pip, "--disable-pip-version-check"], check=True, stdout=sys.stderr)
            except subprocess.CalledProcessError as error:
                self.program.unlink(missing_ok=True)
                raise BenchmarkError(f"{PEER} could not be installed (pip's message is above)") from error
        self.format, self.threads = FORMATS[0], 16

    def run(self, port: int, count: int, core: set[int] | None) -> dict[str, float]:
        """Run it once; wall seconds come from its own statistics. Raises BenchmarkError unless all were good."""
        with tempfile.TemporaryDirectory() as folder:
            listed = Path(folder) / "urls.txt"
            listed.write_text("".join(f"http://127.0.0.1:{port}/{number}.jpg\n" for number in range(count)))
            command = [str(self.program), f"--url_list={listed}", f"--output_folder={folder}/out"]
            command += ["--resize_mode=no", "--skip_reencode=True", "--extract_exif=False", "--compute_hash=sha256"]
            command += [f"--output_format={self.format}", f"--thread_count={self.threads}", "--processes_count=1"]
            _, figures = watched([*command, "--enable_wandb=False"], core)
            stats = [json.loads(path.read_text()) for path in Path(folder, "out").glob("*_stats.json")]
        good = sum(shard["successes"] for shard in stats)
        if good != count:
            raise BenchmarkError(f"img2dataset: {count} good pictures were served, but it took {good}")
        return {"wall_s": sum(shard["duration"] for shard in stats), **figures}

    def tune(self, port: int, count: int, core: set[int] | None) -> None:
        """Find and keep the fastest output format, then the fastest thread count."""

        def seconds(**setting: object) -> float:
            vars(self).update(setting)
            return self.run(port, count, core)["wall_s"]

        self.format = min(FORMATS, key=lambda name: seconds(format=name))
        self.threads = min(THREADS, key=lambda threads: seconds(threads=threads))


def net(run: dict[str, float], start: dict[str, float], count: int) -> dict[str, float]:
    """Subtract start-up (the seconds of a run over FEW pictures) from a run's figures; add both rates."""
    wall, cpu = (run[name] - start[name] for name in ("wall_s", "cpu_s"))
    rates = {"pictures_per_s": (count - FEW) / wall, "with_start_per_s": count / run["wall_s"]}
    return {**run, "wall_s": wall, "cpu_s": cpu, **rates}


def main(arguments: list[str] | None = None) -> int:
    """Run both sides in turn and print pictures per second."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.download", description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--flat", action="store_true", help=f"also our peak memory at {FLAT[0]:,} and {FLAT[1]:,} URLs")
    parser.add_argument("--cache", type=Path, default=Path("var/benchmarks"), help="folder for the peer's environment")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    if options.pictures < FEW or options.repeats < 1:
        print(f"benchmarks.download: at least {FEW} pictures and one repeat", file=sys.stderr)
        return 2
    try:
        return compare(options)
    except BenchmarkError as error:
        print(f"benchmarks.download: {error}", file=sys.stderr)
        return 1


def compare(options: argparse.Namespace) -> int:
    """Run the comparison. Raises BenchmarkError if ours fails; a missing peer is reported and left out."""
    count, cores = options.pictures, Cores.chosen()
    if cores.server is not None:
        os.sched_setaffinity(0, cores.server)  # this process watches the clients and must not take time from them
    peer = problem = None
    try:
        peer = Peer(options.cache.absolute() / PEER.replace("==", "-"))
    except BenchmarkError as error:
        problem = str(error)
    with serving(count, cores.server) as port:
        start = run_loopback("ours", port, FEW, cores.client)  # also the warm-up
        peer_start = {}
        if peer is not None:
            peer_start = peer.run(port, FEW, cores.client)
            peer.tune(port, max(FEW, count // 4), cores.client)
        ours, theirs, bare = [], [], []
        for _ in range(options.repeats):
            bare.append(run_loopback("bare", port, count, cores.client))
            ours.append(net(run_loopback("ours", port, count, cores.client), start, count))
            if peer is not None:
                theirs.append(net(peer.run(port, count, cores.client), peer_start, count))
        flat = {n: run_loopback("ours", port, n, cores.client)["peak_mb"] for n in FLAT} if options.flat else None
    mine = medians(ours)
    server = count / medians(bare)["wall_s"]
    shared = "" if cores.server != cores.client else " (server and client share it)"
    print(
        f"{count:,} pictures of 88 px, one core{shared}, medians of {options.repeats}; {machine(torch.device('cpu'))}"
    )
    print(f"  the server alone {server:8,.0f} pictures/s (a bare client on the same core)")
    print(f"  ours             {_line(mine, ours)}")
    result: dict[str, object] = {
        "name": "download",
        "n": count,
        "ours": mine,
        "peer": None,
        "ratio": None,
        "limit_fraction": mine["pictures_per_s"] / server,
        "limit": {"what": "a bare client that only counts bytes", "pictures_per_s": server},
        "machine": machine(torch.device("cpu")),
    }
    if peer is not None:
        other = medians(theirs)
        what = f"{PEER}, {peer.format}, {peer.threads} threads, one process, resize_mode no, skip_reencode"
        print(f"  img2dataset      {_line(other, theirs)}  ({peer.format}, {peer.threads} threads)")
        names = {"ratio": "pictures_per_s", "ratio_with_start": "with_start_per_s"}
        ratios = medians(
            [{name: a[rate] / b[rate] for name, rate in names.items()} for a, b in zip(ours, theirs, strict=True)]
        )
        result |= {"peer": {**other, "what": what}, **ratios}
        memory = mine["peak_mb"] / other["peak_mb"]
        print(
            f"  {ratios['ratio']:.2f} times the peer (median of pairs; {ratios['ratio_with_start']:.2f} with start-up),"
            f" {memory:.2f} of its memory"
        )
    if flat is not None:
        result["flat_mb"] = flat
        print("  " + "; ".join(f"{megabytes:,.0f} MB at {n:,} URLs" for n, megabytes in flat.items()))
    if problem is not None:
        print(f"benchmarks.download: no comparison: {problem}", file=sys.stderr)
    if options.json:
        print(json.dumps(result))
    return 1 if problem is not None else 0


def _line(side: dict[str, float], runs: list[dict[str, float]]) -> str:
    rates = [run["pictures_per_s"] for run in runs]
    return (
        f"{side['pictures_per_s']:8,.0f} pictures/s ({min(rates):,.0f}-{max(rates):,.0f}), "
        f"{side['cpu_s']:.2f} CPU s, {side['peak_mb']:,.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
