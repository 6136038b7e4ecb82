"""Compare reading local pictures into the store with a plain Pillow loop: `python -m benchmarks.local_pictures`.

Ours validates every picture in another process, and writes the picture store with its ledger. The peer opens, loads and
hashes each file, and writes it under its hash, in one thread. Both read the same drawn JPEGs from the page cache.
Every measurement runs in its own process, the sides in turn, so that other work on the machine slows both.
"""

import argparse
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import cpu_machine, last_line, medians

PEER = "Image.open(file).load(), sha256, write under the hash; one thread"
WIDTH, HEIGHT = 66, 88


def draw(folder: Path, count: int, seed: int = 0) -> None:
    """Write `count` drawn JPEGs, a thousand per folder."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        # Smooth shapes and a little grain give about as many bytes as a product picture on white.
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-6, 7, (HEIGHT, WIDTH, 1), dtype=np.int16)
        path = picture(folder, number)
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, "JPEG", quality=85)


def picture(folder: Path, number: int) -> Path:
    """Return the path of a drawn picture."""
    return folder / f"{number // 1000:03}" / f"{number:06}.jpg"


def ours(pictures: Path, count: int, out: Path) -> float:
    """Read the pictures into a store; return the seconds, without start-up and imports."""
    import pandas  # noqa: F401  (pyarrow imports it when it first converts a list)

    from pipeline.core.images.fetch import FetchSettings, fetch
    from pipeline.core.images.ledger import PictureStore
    from pipeline.core.local_address import file_address

    addresses = [file_address(str(picture(pictures, number))) for number in range(count)]
    started = time.perf_counter()
    report = fetch(addresses, PictureStore(out), FetchSettings(picture_folders=(str(pictures),)))
    seconds = time.perf_counter() - started
    if report.reasons != {"ok": count}:
        raise RuntimeError(f"not every picture was kept: {report.reasons}")
    return seconds


def peer(pictures: Path, count: int, out: Path) -> float:
    """Read the pictures with Pillow and write each under its hash; return the seconds."""
    out.mkdir()
    started = time.perf_counter()
    for number in range(count):
        data = picture(pictures, number).read_bytes()
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
        (out / f"{hashlib.sha256(data).hexdigest()}.jpg").write_bytes(data)
    return time.perf_counter() - started


SIDES = {"ours": ours, "peer": peer}


def measured(side: str, pictures: Path, count: int) -> dict[str, float]:
    """Run one side in its own process; return its seconds, CPU seconds and peak memory, those of its children too."""
    os.sync()
    with tempfile.TemporaryDirectory(dir=pictures.parent) as out:
        command = [sys.executable, "-m", "benchmarks.local_pictures", "--side", side, "--pictures", str(count)]
        command += ["--folder", str(pictures), "--out", f"{out}/out"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Run both sides in turn, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.local_pictures", description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000, metavar="N", help="drawn JPEGs (default 20,000)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    for name in ("--side", "--folder", "--out"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.pictures < 1 or options.repeats < 1:
        print("benchmarks.local_pictures: --pictures and --repeats must be at least 1", file=sys.stderr)
        return 2
    if options.side:
        wall = SIDES[options.side](Path(options.folder), options.pictures, Path(options.out))
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu, peak = sum(u.ru_utime + u.ru_stime for u in used), sum(u.ru_maxrss for u in used) / 1024
        print(json.dumps({"wall_s": wall, "cpu_s": cpu, "peak_mb": peak}))  # seconds of CPU include the imports
        return 0
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        pictures = Path(name) / "pictures"
        pictures.mkdir()
        draw(pictures, options.pictures)
        for _ in range(options.repeats):
            for side, found in runs.items():
                found.append(measured(side, pictures, options.pictures))
    on = cpu_machine()
    print(f"{options.pictures:,} local JPEGs of {WIDTH} x {HEIGHT} px, medians of {options.repeats}; {on}")
    print(f"peer: {PEER}")
    figures = {side: medians(found) for side, found in runs.items()}
    for side, found in figures.items():
        rate = f"{options.pictures / found['wall_s']:,.0f} pictures/s"
        print(f"{side:<6}{rate:>20}{found['cpu_s']:>8.2f} CPU s{found['peak_mb']:>8.0f} MB")
    ratio = figures["peer"]["wall_s"] / figures["ours"]["wall_s"]
    print(f"{ratio:.2f}x the peer")
    if options.json:
        print(
            last_line("local_pictures", options.pictures, figures["ours"], {**figures["peer"], "what": PEER}, ratio, on)
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
