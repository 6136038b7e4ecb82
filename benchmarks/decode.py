"""Compare building the bank from stored pictures with a plain Pillow loop: `python -m benchmarks.decode`.

Ours reads the picture store's shards and writes rows of a memory-mapped file on disk, with its index and digest. The
peer has its JPEGs in memory and fills an array in memory, in one thread. Hashing for near-duplicates is timed
separately. Every measurement runs in its own process, the sides in turn. CPU seconds and peak memory are those that the
work added.
"""

import argparse
import hashlib
import io
import multiprocessing
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks.measure import last_line, machine, medians
from pipeline.core.images.bank import build_bank, open_bank
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.images.near_duplicates import NearDuplicateSettings, close_pairs, fingerprints

SIZE = 224
SHAPES = {88: (66, 88), 444: (333, 444)}  # height -> width, height
PEER = "Image.open(BytesIO(jpeg)).convert('RGB').resize((224, 224)) into an array in memory, one thread"


def draw(folder: Path, count: int, height: int, seed: int = 0) -> None:
    """Make a picture store with `count` drawn JPEGs, and a NumPy file with the same bytes for the peer."""
    rng = np.random.default_rng(seed)
    width, height = SHAPES[height]
    store = PictureStore(folder / "store")
    jpegs = []
    with store.writing():
        for number in range(count):
            # Smooth shapes and a little grain give about as many bytes as a product picture on white.
            small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
            grain = rng.integers(-6, 7, (height, width, 1), dtype=np.int16)
            sink = io.BytesIO()
            Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=85)
            data = sink.getvalue()
            sha = hashlib.sha256(data).hexdigest()
            store.add(
                LedgerRow(f"drawn:{number}", "ok", 1, datetime.now(UTC), 200, sha, "JPEG", width, height, len(data)),
                data,
            )
            jpegs.append(data)
            if number % 1000 == 999:
                store.flush()
    np.savez(folder / "jpegs.npz", np.frombuffer(b"".join(jpegs), np.uint8), np.array([len(data) for data in jpegs]))


def build_ours(folder: Path, workers: int) -> Callable[[], object]:
    """Prepare building the bank as the asset `image_bank` does."""
    store = PictureStore(folder / "store")
    shas = sorted(store.ledger()["sha256"].to_pylist())
    return lambda: build_bank(store, shas, folder / "bank", SIZE, workers=workers)


def pillow_loop(folder: Path, _: int) -> Callable[[], object]:
    """Prepare the plain Pillow loop."""
    with np.load(folder / "jpegs.npz") as file:
        data, lengths = file["arr_0"].tobytes(), file["arr_1"].tolist()
    jpegs, start = [], 0
    for length in lengths:
        jpegs.append(data[start : start + length])
        start += length

    def loop() -> None:
        pixels = np.empty((len(jpegs), SIZE, SIZE, 3), np.uint8)
        for row, jpeg in enumerate(jpegs):
            pixels[row] = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB").resize((SIZE, SIZE)))

    return loop


def hash_bank(folder: Path, _: int) -> Callable[[], object]:
    """Prepare hashing the last built bank: perceptual hashes, thumbnails and the search."""
    pixels, distance = open_bank(folder / "bank").pixels, NearDuplicateSettings().distance
    return lambda: sum(len(i) for i, _ in close_pairs(fingerprints(pixels).phash, distance))


SIDES = {"ours": build_ours, "peer": pillow_loop, "hash": hash_bank}


def measure(side: str, folder: str, workers: int, cores: list[int], answer: multiprocessing.Queue) -> None:
    """Measure one side on `cores`: wall and CPU seconds, and the peak of private memory that the work added."""
    me = psutil.Process()
    if hasattr(me, "cpu_affinity"):
        me.cpu_affinity(cores)
    work = SIDES[side](Path(folder), workers)
    before = peak = _private_mb(me)
    stop = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.02):
            peak = max(peak, _private_mb(me))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    stop.set()
    watcher.join()
    answer.put({"wall_s": wall, "cpu_s": cpu, "peak_mb": peak - before})


def _private_mb(process: psutil.Process) -> float:
    """Measure memory without pages of mapped files, which the system can drop at any time."""
    used = process.memory_info()
    return (used.rss - getattr(used, "shared", 0)) / 1e6


def in_turn(folder: Path, cores: list[int], repeats: int) -> dict[str, dict[str, float]]:
    """Measure each side `repeats` times, in fresh processes and in turn; return the medians."""
    context = multiprocessing.get_context("spawn")
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        shutil.rmtree(folder / "bank", ignore_errors=True)
        for side in SIDES:
            answer = context.Queue()
            process = context.Process(target=measure, args=(side, str(folder), len(cores), cores, answer))
            process.start()
            try:
                runs[side].append(answer.get(timeout=1800))
            except queue.Empty:
                raise RuntimeError(f"{side}: no measurement within half an hour") from None
            finally:
                process.join()
    return {side: medians(of_side) for side, of_side in runs.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run both sides at both sizes on one core and on two, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="of each size (default 1,000)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    if options.pictures < 1 or options.repeats < 1:
        print("benchmarks.decode: --pictures and --repeats must be at least 1", file=sys.stderr)
        return 2
    available = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    )
    torch.set_num_threads(len(available))
    on = machine(torch.device("cpu"))
    print(f"bank building, {options.pictures:,} drawn JPEGs to {SIZE} px, medians of {options.repeats}; {on}")
    print(f"peer: {PEER}")
    print(f"{'':<26}{'pictures/s':>12}{'CPU s':>8}{'peak MB':>9}")
    cases: list[dict[str, Any]] = []
    for height in SHAPES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            draw(folder, options.pictures, height)
            for count in (1, 2)[: len(available)]:
                found = in_turn(folder, available[:count], options.repeats)
                for side, figures in found.items():
                    rate = options.pictures / figures["wall_s"]
                    where = f"{side:<6}{height:>4} px, {count} {'core' if count == 1 else 'cores'}"
                    print(f"{where:<26}{rate:>12,.0f}{figures['cpu_s']:>8.2f}{figures['peak_mb']:>9.0f}")
                ratio = found["peer"]["wall_s"] / found["ours"]["wall_s"]
                print(f"{'':<26}{ratio:>11.2f}x the peer")
                cases.append({"height": height, "cores": count, **found, "ratio": ratio})
    if options.json:
        first = cases[0]
        peer_figures = {**first["peer"], "what": PEER}
        print(last_line("decode", options.pictures, first["ours"], peer_figures, first["ratio"], on, cases=cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
