"""Compare sampled triplets per second on one core with a plain Python sampler: `python -m benchmarks.triplets`.

The data is a seeded mode of the paper's largest size. The peer is K17's scheme as a Python loop: draw a user, one of
the user's positives, and pictures until one shows an item that the user has not touched. Both sample the same kind of
triplets.
"""

import argparse
import os
import random
import sys
from collections.abc import Callable
from itertools import product

import numpy as np
import pyarrow as pa

from benchmarks.measure import cpu_machine, last_line, medians, timed
from pipeline.core import schemas
from pipeline.core.dataset.triplets import POSITIVE_PICTURE, USER_SAMPLING, TripletSettings, sample

USERS, ITEMS, PICTURES, PAIRS = 2_377, 17_173, 38_053, 20_000  # NAF, tables 1 and 2; about eight items per user


def mode_of_paper_size(seed: int) -> tuple[pa.Table, pa.Table]:
    """Make SPLITS and CATALOGUE of a synthetic mode: one picture per item, and the rest on random items."""
    rng = np.random.default_rng(seed)
    code = rng.choice(USERS * ITEMS, PAIRS, replace=False)
    user, item = np.divmod(np.sort(code), ITEMS)
    of_item = np.sort(np.concatenate([np.arange(ITEMS), rng.integers(0, ITEMS, PICTURES - ITEMS)])).astype(np.int32)
    image = pa.array(np.arange(PICTURES, dtype=np.int32))
    names = pa.array([str(n) for n in range(PICTURES)])
    splits = {
        "user": pa.array(user.astype(np.int32)),
        "item": pa.array(item.astype(np.int32)),
        "split": pa.repeat("train", PAIRS),
        "paired": pa.repeat(pa.scalar(True), PAIRS),
    }
    catalogue = {
        "image": image,
        "bank_row": image,
        "item": pa.array(of_item),
        "source": pa.repeat("vendor", PICTURES),
        "position": pa.array(np.zeros(PICTURES, np.int16)),
        "sha256": names,
    }
    return _table(splits, schemas.SPLITS), _table(catalogue, schemas.CATALOGUE)


def _table(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in schema], schema=schema)


def plain_loop(splits: pa.Table, catalogue: pa.Table, triplets: int, seed: int) -> list[tuple[int, int, int]]:
    """Sample triplets as the peer: users uniformly, one row per picture, negatives of items not touched in train."""
    draw = random.Random(seed)
    item_of = catalogue["item"].to_pylist()
    pictures: dict[int, list[int]] = {}
    for image, item in enumerate(item_of):
        pictures.setdefault(item, []).append(image)
    touched: dict[int, set[int]] = {}
    positives: dict[int, list[int]] = {}
    for user, item in zip(splits["user"].to_pylist(), splits["item"].to_pylist(), strict=True):
        touched.setdefault(user, set()).add(item)
        positives.setdefault(user, []).extend(pictures[item])
    users = list(positives)
    drawn = []
    for _ in range(triplets):
        user = draw.choice(users)
        negative = draw.randrange(len(item_of))
        while item_of[negative] in touched[user]:
            negative = draw.randrange(len(item_of))
        drawn.append((user, draw.choice(positives[user]), negative))
    return drawn


def main(arguments: list[str] | None = None) -> int:
    """Run both sides in turn on one core and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triplets", description=__doc__)
    parser.add_argument("--epochs", type=int, default=40, help="of ours, drawn in one call")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    if options.epochs < 1 or options.repeats < 1:
        parser.error("--epochs and --repeats must be at least 1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    splits, catalogue = mode_of_paper_size(seed=0)
    kinds = {
        f"{user}, {positive}": TripletSettings(epochs=options.epochs, user_sampling=user, positive_picture=positive)
        for user, positive in product(USER_SAMPLING, POSITIVE_PICTURE)
    }
    n = sample(splits, catalogue, next(iter(kinds.values()))).num_rows  # also the warm-up

    def rate(work: Callable[[], int]) -> dict[str, float]:
        rows = 0

        def counted() -> None:
            nonlocal rows
            rows = work()

        used = timed(counted)
        return {**used, "triplets_per_s": rows / used["wall_s"]}

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    peer: list[dict[str, float]] = []
    for repeat in range(options.repeats):
        for name, settings in kinds.items():
            runs[name].append(rate(lambda settings=settings: sample(splits, catalogue, settings).num_rows))
        peer.append(rate(lambda seed=repeat: len(plain_loop(splits, catalogue, 100_000, seed))))
    found, theirs, where = {name: medians(side) for name, side in runs.items()}, medians(peer), cpu_machine()
    print(f"triplets on one core, {USERS:,} users, {PICTURES:,} pictures; medians of {options.repeats}; {where}")
    for name, figures in found.items():
        print(f"  ours  {name:24} {figures['triplets_per_s']:14,.0f}/s")
    print(f"  peer  {'user, row':24} {theirs['triplets_per_s']:14,.0f}/s  (a Python loop)")
    mine = found["user, row"]
    ratio = mine["triplets_per_s"] / theirs["triplets_per_s"]
    print(f"  {ratio:.0f} times the loop, for user, row")
    if options.json:
        peer_figures = {**theirs, "what": "a Python loop"}
        print(last_line("triplets", n, {**mine, "all": found}, peer_figures, ratio, where))
    return 0


if __name__ == "__main__":
    sys.exit(main())
