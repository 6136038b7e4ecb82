"""ItemKNN: score an item by its cosine similarities to the items of the user's history, nearest neighbours only.

The similarity of two items is users of both / (sqrt(users of one x users of the other) + shrinkage). An item's score
is the sum over the K nearest neighbours of it that the user has. Source: Sarwar et al. 2001; the shrinkage is that of
Dacrema et al. 2019. Neighbourhood size and shrinkage are tuned on validation.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.baselines.tuning import best, touched
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import write_arrays
from models.training.files import read_arrays

NEIGHBOURS = (20, 50, 100, 200)
SHRINKAGES = (0.0, 5.0, 20.0)
_BLOCK = 4_000_000  # pairs of items counted at a time

_LAYOUT = {"users": 1, "items": 1, "image_item": 1, "history": 2, "start": 1, "target": 1, "weight": 1}


@dataclass(frozen=True, eq=False)
class ItemKnn:
    """Histories, and the weights from each item to those that count it among their neighbours, stored flat."""

    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    image_item: np.ndarray  # [images] int32, row in `items`
    history: np.ndarray  # [m, 2] int32: user row, item row, distinct and sorted
    start: np.ndarray  # [I + 1] int64: the weights of item j are start[j] to start[j + 1]
    target: np.ndarray  # [weights] int32: row of the item that is scored
    weight: np.ndarray  # [weights] float32

    def scorer(self, device: torch.device) -> "_Sums":
        """Put the model on a device, ready to score."""
        return _Sums(self, device)

    def save(self, path: Path) -> None:
        """Write the arrays to an .npz file: the complete file or nothing."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "ItemKnn":
        """Read a file that `save` wrote. FileNotFoundError when there is none, ValueError when it is damaged."""
        found = read_arrays(path, "item neighbours", _LAYOUT)
        return cls(**{name: found[name] for name in _LAYOUT})


class _Sums:
    """Scores in float64 sums on the CPU: the order of additions, and so the score, does not depend on the device."""

    def __init__(self, model: ItemKnn, device: torch.device) -> None:
        self.model, self.device = model, device
        self.first = np.searchsorted(model.history[:, 0], np.arange(len(model.users) + 1))

    def items(self, users: np.ndarray) -> Tensor:
        model, width = self.model, len(self.model.items)
        row, own = flat(self.first, users)
        pair, slot = flat(model.start, model.history[own, 1])
        cell = row[pair] * width + model.target[slot]
        scores = np.bincount(cell, model.weight[slot], minlength=len(users) * width)
        return torch.from_numpy(scores.reshape(len(users), width).astype(np.float32)).to(self.device)

    def pictures(self, users: np.ndarray) -> None:
        return None


def item_knn(
    data: Dataset,
    neighbours: tuple[int, ...] = NEIGHBOURS,
    shrinkages: tuple[float, ...] = SHRINKAGES,
) -> tuple[ItemKnn, tuple[int, float], dict[tuple[int, float], float]]:
    """Tune neighbourhood size and shrinkage on validation: (model, the best of both, validation by both)."""
    history = priors.latest(data)[0].astype(np.int64)
    lists = nearest(history, len(data.items), max(neighbours), shrinkages)
    points = [(size, shrinkage) for shrinkage in shrinkages for size in neighbours]
    candidates = ((point, _model(data, history, *lists[point[1]], point[0])) for point in points)
    point, model, values = best(candidates, data.validation, touched(data))
    return model, point, values


def nearest(
    history: np.ndarray, items: int, size: int, shrinkages: tuple[float, ...]
) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Find the `size` nearest neighbours of each item, best first, for each shrinkage: (items [I, size], similarities).

    `history` [m, 2] holds distinct pairs sorted by user. Missing neighbours are -1 with similarity 0; ties go to the
    lower item row. Only the neighbours of a block of items are in memory at a time.
    """
    users = int(history[:, 0].max(initial=-1)) + 1
    popularity = np.bincount(history[:, 1], minlength=items)
    of_user = np.searchsorted(history[:, 0], np.arange(users + 1))
    by_item = np.argsort(history[:, 1], kind="stable")
    of_item = np.concatenate([[0], np.cumsum(popularity)])
    size = min(size, max(items - 1, 1))
    found = {shrinkage: (np.full((items, size), -1, np.int32), np.zeros((items, size), np.float32))
             for shrinkage in shrinkages}  # fmt: skip
    work = np.bincount(history[:, 1], np.diff(of_user)[history[:, 0]], minlength=items)
    block = (np.cumsum(work) // _BLOCK).astype(np.int64)
    for number in np.unique(block):
        chosen = np.flatnonzero(block == number)
        position, slot = flat(of_item, chosen)
        entry, other = flat(of_user, history[by_item[slot], 0])
        code = chosen[position[entry]] * items + history[other, 1]
        pair, both = np.unique(code, return_counts=True)
        one, two = pair // items, pair % items
        one, two, both = (values[one != two] for values in (one, two, both))
        for shrinkage, (neighbour, similarity) in found.items():
            value = both / (np.sqrt(popularity[one] * popularity[two]) + shrinkage)
            order = np.lexsort((two, -value, one))
            rank = np.arange(len(order)) - np.searchsorted(one, one[order])  # `one` is sorted
            kept = order[rank < size]
            neighbour[one[kept], rank[rank < size]] = two[kept]
            similarity[one[kept], rank[rank < size]] = value[kept]
    return found


def flat(start: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List start[key] to start[key + 1] for each key: (position in keys, number), both [total]."""
    length = start[keys + 1] - start[keys]
    position = np.repeat(np.arange(len(keys)), length)
    return position, np.arange(length.sum()) - np.repeat(np.cumsum(length) - length - start[keys], length)


def _model(data: Dataset, history: np.ndarray, neighbour: np.ndarray, similarity: np.ndarray, size: int) -> ItemKnn:
    target, column = np.nonzero(neighbour[:, :size] >= 0)
    source, weight = neighbour[target, column], similarity[target, column]
    order = np.argsort(source, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=len(data.items)))])
    return ItemKnn(
        users=data.users,
        items=data.items,
        image_item=data.image_item,
        history=history.astype(np.int32),
        start=start.astype(np.int64),
        target=target[order].astype(np.int32),
        weight=weight[order],
    )
