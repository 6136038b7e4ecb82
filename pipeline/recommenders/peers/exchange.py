"""The files between this project and a peer's worker: `worker.py IN.npz OUT.npz`.

IN.npz holds only what may be learned from, never a held-out pair:

    train [m, 2], train_time [m] (unix seconds, UNKNOWN_TIME for none), users, items, seed
    features [I, F]    mean picture features of the items, centred; without columns if the peer reads none
    text [I, T], categories [I, L]    as in `ItemFacts`; without columns if there are none
    epochs [S], knobs    numbers of epochs to return the model after, and other settings as JSON

OUT.npz holds the model after each of the `epochs`, the fewest first, in one of two forms:

    theta [S, U, K], item [S, I, K], item_bias [S, I]    the score is theta . item + item_bias
    scores [S, U, I]    where the model is no product

A worker is a script of its own: it must not import this project, whose packages may be of other versions there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.baselines.simple import centred
from models.data.dataset import UNKNOWN_TIME, Dataset
from models.data.factors import Factors, item_means
from models.data.item_facts import ItemFacts
from models.data.score_matrix import ScoreMatrix
from models.training.files import read_arrays
from pipeline.recommenders.contract import FitContext
from pipeline.recommenders.peers.environment import PeerError

IN, OUT = "given.npz", "returned.npz"
_FACTORS = ("theta", "item", "item_bias")


def write_given(path: Path, context: FitContext, epochs: Sequence[int], knobs: Mapping[str, Any]) -> None:
    """Write IN.npz: the train pairs, what the shop knows of the items, and the settings."""
    data, items = context.data, len(context.data.items)
    facts = context.facts or ItemFacts.none(items)
    features = np.zeros((items, 0), np.float32) if context.features is None else _of_items(data, context.features)
    np.savez(
        path, train=data.train, train_time=data.train_time, users=len(data.users), items=items, seed=context.seed,
        features=features, text=facts.text, categories=facts.categories, epochs=sorted(epochs), knobs=json.dumps(knobs),
        unknown_time=UNKNOWN_TIME,
    )  # fmt: skip


def read_returned(path: Path, data: Dataset, epochs: int) -> list[Factors] | list[ScoreMatrix]:
    """Read OUT.npz: one model for each number of epochs.

    Raises:
        PeerError: the file is missing or damaged, or the arrays have other shapes or values than scores can have.
    """
    try:
        found = read_arrays(path, "scores of a peer", ())
        names = ("scores",) if "scores" in found else _FACTORS
        if any(len(found[name]) != epochs for name in names):
            raise ValueError(f"{', '.join(names)}: {[len(found[name]) for name in names]} models, not {epochs}")
        if "scores" in found:
            return [ScoreMatrix(data.users, data.items, data.image_item, one) for one in found["scores"]]
        return [_factors(data, *arrays) for arrays in zip(*(found[name] for name in _FACTORS), strict=True)]
    except (OSError, ValueError, KeyError) as error:
        raise PeerError(f"a peer's worker returned no scores: {error}") from error


def _factors(data: Dataset, theta: np.ndarray, item: np.ndarray, item_bias: np.ndarray) -> Factors:
    no_pictures = np.zeros((0, theta.shape[-1]), np.float32)
    return Factors(data.users, data.items, theta, item, item_bias, no_pictures, data.image_item)


def _of_items(data: Dataset, features: np.ndarray) -> np.ndarray:
    """Average the pictures' features by item, centred on the train items and scaled as for this project's VBPR."""
    item = item_means(centred(data, features), data.image_item, len(data.items))
    return item / max(float(np.sqrt((item[np.unique(data.train[:, 1])] ** 2).mean())), 1e-12)
