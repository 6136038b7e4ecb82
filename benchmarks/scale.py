"""Measure the cost per row of the same work at 1x, 10x and 100x: `python -m benchmarks.scale`.

Reviews go through ingest and the 5-core, products through ingest and their classes, and pictures from a loopback host
through fetch and bank, called as the assets call them. The reviews are synthetic, as in `prepare.py`. Every size runs
in its own process. Seconds are those of the stage without imports; memory is the process's peak during the stage.

The limits: a row at 100x costs at most 1.3 times as much as at 1x, and as at 10x, where start-up weighs less. This is
measured in CPU seconds, which other work on the machine affects least. The peak memory at 100x is at most 1.3 times
that at 10x, where the buffers are full.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import cpu_machine, last_line, medians, timed

GROWTH = (1, 10, 100)
SHORT_RUNS = 3  # minimum runs of the smaller sizes: they take only a second, and the ratios depend on them
REVIEWS, PRODUCTS, PICTURES = 50_000, 6_000, 300  # at 1x
BAR = 1.3
SIZE = 64  # side in pixels of the bank's pictures
SEED = 0
STAGES = {"reviews": ("ingest", "5-core"), "products": ("products",), "pictures": ("fetch", "bank")}


def reviews(folder: Path, rows: int, port: int) -> dict[str, Callable[[], object]]:
    """Prepare ingest and 5-core of a file of `rows` reviews; return the call of each stage."""
    from pipeline.core.dataset.kcore import five_core
    from pipeline.core.raw.ingest import ReadContext, read_reviews
    from pipeline.core.schemas import REVIEWS as SCHEMA
    from pipeline.core.tables import StoredTable

    out = folder / "out"
    out.mkdir()
    return {
        "ingest": lambda: read_reviews([folder.parent / f"reviews-{rows}.json.gz"], read_context=ReadContext(out=out)),
        "5-core": lambda: five_core(StoredTable(out / "reviews.parquet", SCHEMA)),
    }


def products(folder: Path, rows: int, port: int) -> dict[str, Callable[[], object]]:
    """Prepare ingest and classification of a file of `rows` products; return the call of the stage."""
    from pipeline.core.generator.categories import map_products
    from pipeline.core.raw.ingest import ReadContext, read_products

    source, read_context = folder.parent / f"products-{rows}.json.gz", ReadContext(out=folder)
    return {"products": lambda: read_products([source], read_context=read_context, classed=map_products)}


def write_products(path: Path, rows: int, seed: int) -> None:
    """Write gzipped products in AMAZON_FASHION's format: four pictures in two sizes, and one in fifty repeated."""
    from isal import igzip

    rng = np.random.default_rng(seed)
    kinds = ("Shirts", "Dresses", "Pants", "Shoes", "Watches")
    with igzip.open(path, "wb", compresslevel=2) as file:
        for row in range(rows):
            asin = f"B{(row if rng.random() > 0.02 else rng.integers(0, row + 1)):09d}"
            urls = [f"https://pictures.example/I/{row:09d}{picture}" for picture in range(4)]
            small, large = ([f"{url}._{size}_.jpg" for url in urls] for size in ("SS40", "SL1500"))
            product = {
                "title": f"Women's {kinds[row % 5]} number {row}, of cotton",
                "category": ["Clothing, Shoes & Jewelry", "Women", "Clothing", kinds[row % 5]],
                "asin": asin,
                "imageURL": small,
                "imageURLHighRes": large,
            }
            file.write(json.dumps(product).encode() + b"\n")


def pictures(folder: Path, rows: int, port: int) -> dict[str, Callable[[], object]]:
    """Prepare fetch and bank of `rows` pictures of a loopback host; return the call of each stage."""
    from pipeline.core.images.bank import build_bank
    from pipeline.core.images.fetch import FetchSettings, fetch
    from pipeline.core.images.ledger import PictureStore

    host = f"127.0.0.1:{port}"
    urls = [f"http://{host}/{number}.jpg" for number in range(rows)]
    settings = FetchSettings(per_host=128, allow_hosts=frozenset({host}))

    def bank() -> None:
        store = PictureStore(folder / "store")
        build_bank(store, sorted(store.ledger(["sha256"])["sha256"].to_pylist()), folder / "bank", SIZE)

    return {"fetch": lambda: fetch(urls, PictureStore(folder / "store"), settings), "bank": bank}


def run_stages(kind: str, folder: Path, rows: int, port: int) -> dict[str, dict[str, float]]:
    """Measure the stages of one kind in their own process. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        command = [sys.executable, "-m", "benchmarks.scale", "--side", kind, "--folder", run, "--rows", str(rows)]
        done = subprocess.run([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{kind}, {rows:,} rows: the process ended with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def measured(run: Callable[[], object]) -> dict[str, float]:
    """Run `timed`, with the peak memory of this call alone if the system reports it (Linux)."""
    own = Path("/proc/self")
    try:
        (own / "clear_refs").write_text("5")  # resets the peak (proc(5))
    except OSError:
        return timed(run)
    figures = timed(run)
    peak = next(line for line in (own / "status").read_text().splitlines() if line.startswith("VmHWM:"))
    return {**figures, "peak_mb": int(peak.split()[1]) / 1024}


def grown(kind: str, base: int, folder: Path, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Measure one kind at every size: stage -> median figures per size, including the number of rows."""
    from benchmarks.download import serving
    from benchmarks.prepare import write_reviews

    found: dict[str, list[dict[str, float]]] = {stage: [] for stage in STAGES[kind]}
    for times in GROWTH:
        rows = base * times
        runs_of = repeats if times == GROWTH[-1] else max(repeats, SHORT_RUNS)
        if kind == "pictures":
            with serving(rows, None) as port:
                runs = [run_stages(kind, folder, rows, port) for _ in range(runs_of)]
        else:
            source = folder / f"{kind}-{rows}.json.gz"
            {"reviews": write_reviews, "products": write_products}[kind](source, rows, SEED)
            runs = [run_stages(kind, folder, rows, 0) for _ in range(runs_of)]
            source.unlink()
        for stage, sizes in found.items():
            sizes.append({"rows": rows, **medians([run[stage] for run in runs])})
        print(f"  {kind} at {times}x done", file=sys.stderr)
    return found


def growth_of(stage: str, sizes: list[dict[str, float]]) -> dict[str, Any]:
    """Compute a stage's growth: the ratios of the cost per row and of memory, and the memory added per row."""
    first, last = sizes[0], sizes[-1]
    each = [size["cpu_s"] / size["rows"] for size in sizes]
    return {
        "stage": stage,
        "sizes": sizes,
        "per_row": each[-1] / each[0],
        "per_row_from_10x": each[-1] / each[1],
        "per_row_wall": (last["wall_s"] / last["rows"]) / (first["wall_s"] / first["rows"]),
        "memory": last["peak_mb"] / sizes[1]["peak_mb"],
        "bytes_a_row": (last["peak_mb"] - first["peak_mb"]) * 2**20 / (last["rows"] - first["rows"]),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run every size and print the growth; return 1 if it exceeds the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--reviews", type=int, default=REVIEWS, help="at 1x")
    parser.add_argument("--products", type=int, default=PRODUCTS, help="at 1x")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="at 1x")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks/scale"))
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--side", choices=sorted(STAGES), help=argparse.SUPPRESS)  # one size, in this process
    parser.add_argument("--rows", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.side:
        side = {"reviews": reviews, "products": products, "pictures": pictures}[options.side]
        work = side(options.folder, options.rows, options.port)
        print(json.dumps({stage: measured(run) for stage, run in work.items()}))
        return 0
    bases = {kind: getattr(options, kind) for kind in STAGES}
    if min(*bases.values(), options.repeats) < 1:
        parser.error("--reviews, --products, --pictures and --repeats must be at least 1")
    options.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        found = {
            stage: growth_of(stage, sizes)
            for kind, base in bases.items()
            for stage, sizes in grown(kind, base, options.folder, options.repeats).items()
        }
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    where, short = cpu_machine(), max(options.repeats, SHORT_RUNS)
    took = time.monotonic() - started
    print(f"growth, medians of {short}, at {GROWTH[-1]}x of {options.repeats}; {took:.0f} s in all; {where}")
    print(f"  {'':8}{'rows':>12}{'us a row, CPU':>15}{'wall':>9}{'peak MB':>10}")
    for stage, growth in found.items():
        for size in growth["sizes"]:
            cpu, wall = (1e6 * size[name] / size["rows"] for name in ("cpu_s", "wall_s"))
            print(f"  {stage:8}{size['rows']:12,.0f}{cpu:15.1f}{wall:9.1f}{size['peak_mb']:10,.0f}")
        first, middle, clock = (growth[name] for name in ("per_row", "per_row_from_10x", "per_row_wall"))
        print(
            f"  {'':8}a row at 100x: {first:.2f} times one at 1x, {middle:.2f} times one at 10x (by the clock"
            f" {clock:.2f}); the peak: {growth['memory']:.2f} times that at 10x, {growth['bytes_a_row']:,.0f} bytes"
            f" a row (limit {BAR})"
        )
    worst = max(float(growth[name]) for growth in found.values() for name in ("per_row", "per_row_from_10x", "memory"))
    if options.json:
        big, small = ({k: v for k, v in found["ingest"]["sizes"][at].items() if k != "rows"} for at in (-1, 0))
        peer = {**small, "what": "ingest at 1x"}
        print(
            last_line("scale", options.reviews * GROWTH[-1], big, peer, 1 / worst, where, growth=list(found.values()))
        )
    return 0 if worst <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
