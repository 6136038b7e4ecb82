"""Divide the held-out garments into two halves: one trains the judge, the other is the reference of the figures.

Which garments are held out is decided in `garments.py`.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.core.generator.generation import classes, labels


@dataclass(frozen=True)
class Halves:
    """The halves of the held-out garments; a product is in one of them with all its pictures."""

    judge: np.ndarray  # bool [N], rows of GARMENTS that train the judge
    reference: np.ndarray  # bool [N], rows that generated garments are compared with
    left_out: dict[str, str]  # class with too few pictures -> what it has; all its held-out rows are in `reference`


def halves(garments: pa.Table, minimum: int, seed: int, held: np.ndarray | None = None) -> Halves:
    """Divide each class's held-out products at random into two halves with about as many pictures.

    `held`, bool [N], marks the rows to divide; None: all that are held out.

    A class is left out if it has fewer than `minimum` held-out pictures, or so few products that one half would have
    fewer than a quarter of the minimum (at least two).
    """
    held, label = np.asarray(garments["held_out"]) if held is None else held, labels(garments)
    asin = np.asarray(garments["asin"].to_pylist())
    judge, left_out = np.zeros(len(held), bool), {}
    for number, name in enumerate(classes(garments)):
        rows = np.flatnonzero(held & (label == number))
        products, pictures = np.unique(asin[rows], return_counts=True)
        order = np.argsort([hashlib.blake2b(f"half\0{seed}\0{name}".encode()).hexdigest() for name in products])
        of_judge, counts = [], [0, 0]  # pictures of the reference and of the judge
        for place in order:
            side = int(counts[1] < counts[0])
            counts[side] += int(pictures[place])
            if side:
                of_judge.append(products[place])
        if len(rows) < minimum or min(counts) < max(2, minimum // 4):
            left_out[name] = f"{len(rows)} held-out pictures of {len(products)} product{'s' * (len(products) != 1)}"
        else:
            judge[rows] = np.isin(asin[rows], of_judge)
    return Halves(judge, held & ~judge, left_out)
