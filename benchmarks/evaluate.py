"""Compare exact AUC with the original's sampled loop, on the paper's largest mode: `python -m benchmarks.evaluate`.

Both score the same factors of 2,377 users and 38,053 pictures. The peer is written like K17's evaluation, a Python loop
over the users and 100 sampled items. Figures are per scored (user, item) pair, because ours scores all pairs and the
peer a hundred per user.
"""

import argparse
import sys

import numpy as np

from benchmarks.measure import last_line, machine, medians, timed
from models.data.factors import Factors
from models.metrics.evaluate import exact_auc
from models.training import device as devices

USERS, ITEMS, K = 2_377, 38_053, 50  # NAF, table 2: vendor_customer


def sampled_loop(theta: np.ndarray, item: np.ndarray, held_out: np.ndarray, train: list[set[int]], seed: int) -> float:
    """Estimate AUC like K17's code: 100 draws per user, skipping train items and the target; a tie is a loss."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for user, target in held_out.tolist():
        own = theta[user] @ item[target]
        wins = count = 0
        for drawn in rng.integers(0, len(item), 100).tolist():
            if drawn == target or drawn in train[user]:
                continue
            wins += own > theta[user] @ item[drawn]
            count += 1
        total += wins / count
    return total / len(held_out)


def main(arguments: list[str] | None = None) -> int:
    """Run both sides in turn and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--device", default="auto", help="for our side: auto, cuda, mps or cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(arguments)
    try:
        device = devices.resolve(options.device)
    except (ValueError, RuntimeError) as error:
        print(f"benchmarks.evaluate: {error}", file=sys.stderr)
        return 2
    rng = np.random.default_rng(0)
    factors = Factors(
        users=np.arange(USERS),
        items=np.arange(ITEMS),
        theta=rng.standard_normal((USERS, K)),
        item=rng.standard_normal((ITEMS, K)),
        item_bias=np.zeros(ITEMS),
        phi=np.zeros((0, K)),
        image_item=np.zeros(0),
    )
    touched = rng.integers(0, [USERS, ITEMS], (13_000, 2))
    held_out = np.stack([np.arange(USERS), rng.integers(0, ITEMS, USERS)], 1)
    train: list[set[int]] = [set() for _ in range(USERS)]
    for user, item in touched.tolist():
        train[user].add(item)
    exact_auc(factors, held_out[:50], touched, device)  # warm-up
    ours, peer = [], []
    for repeat in range(options.repeats):
        ours.append(timed(lambda: exact_auc(factors, held_out, touched, device)))
        peer.append(timed(lambda seed=repeat: sampled_loop(factors.theta, factors.item, held_out, train, seed)))
    mine, theirs = medians(ours), medians(peer)
    pairs, sampled = USERS * ITEMS, USERS * 100
    ratio = (pairs / mine["wall_s"]) / (sampled / theirs["wall_s"])
    what = "K17's Python loop, 100 sampled items a user"
    print(
        f"exact AUC, {USERS:,} users x {ITEMS:,} pictures, K = {K}; medians of {options.repeats} on {machine(device)}"
    )
    print(f"  ours  {mine['wall_s']:8.3f} s  {pairs / mine['wall_s']:14,.0f} pairs/s")
    print(f"  peer  {theirs['wall_s']:8.3f} s  {sampled / theirs['wall_s']:14,.0f} pairs/s  ({what})")
    print(f"  {ratio:,.0f} times the peer, for each scored pair")
    if options.json:
        peer_figures = {**theirs, "what": what, "n": sampled}
        print(last_line("evaluate", pairs, mine, peer_figures, ratio, machine(device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
