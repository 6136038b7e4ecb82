"""What DVBPR is held against: recommenders that see no pixels, and recommenders on frozen features.

Each takes the same data set and returns a `Recommender` (nearly always `Factors`), so that all are measured in the
same way. The ones that learn live in `bpr.py`; the features come from a frozen network elsewhere.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.baselines.bpr import bpr_mf, vbpr, vbpr_visual
from models.baselines.neighbours import Neighbours
from models.baselines.settings import BprSettings
from models.data.dataset import Dataset
from models.data.factors import Factors, item_means

__all__ = [
    "NAMES",
    "BprSettings",
    "bpr_mf",
    "centred",
    "fit",
    "load",
    "picture_count",
    "popularity",
    "random",
    "save",
    "vbpr",
    "vbpr_visual",
    "visual_neighbours",
    "visual_neighbours_best",
]

NAMES = (
    "random", "popularity", "picture_count", "bpr_mf", "vbpr", "vbpr_visual", "visual_neighbours",
    "visual_neighbours_best",
)  # fmt: skip
_FACTORS, _NEIGHBOURS = "factors.npz", "neighbours.npz"


def fit(name: str, data: Dataset, features: np.ndarray, settings: BprSettings) -> Factors | Neighbours:
    """The baseline of that name, one of NAMES, trained; `features` [images, F] are read by those that see pictures."""
    fits: dict[str, Callable[[], Factors | Neighbours]] = {
        "random": lambda: random(data, seed=settings.seed),
        "popularity": lambda: popularity(data),
        "picture_count": lambda: picture_count(data),
        "bpr_mf": lambda: bpr_mf(data, settings),
        "vbpr": lambda: vbpr(data, features, settings),
        "vbpr_visual": lambda: vbpr_visual(data, features, settings),
        "visual_neighbours": lambda: visual_neighbours(data, features),
        "visual_neighbours_best": lambda: visual_neighbours_best(data, features),
    }
    return fits[name]()


def random(data: Dataset, k: int = 50, seed: int = 0) -> Factors:
    """Gaussian factors, seeded: what chance looks like, its spread included."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((len(data.users), k), dtype=np.float32)
    return _blind(data, theta, rng.standard_normal((len(data.items), k), dtype=np.float32))


def popularity(data: Dataset) -> Factors:
    """The number of users who touch the item in train."""
    return _constant(data, np.bincount(data.train[:, 1], minlength=len(data.items)))


def picture_count(data: Dataset) -> Factors:
    """The number of the item's pictures: no recommender, but a leak that every visual one must be seen beside."""
    return _constant(data, np.bincount(data.image_item, minlength=len(data.items)))


def visual_neighbours(data: Dataset, features: np.ndarray) -> Factors:
    """Mean cosine between the item and the user's train items, on centred frozen features [images, F].

    The item's feature is the mean over its pictures; the centre is that of the train items. A user without train
    items likes nothing in particular. ValueError when the features are not one finite row a picture.
    """
    item, phi = _unit(data, features)
    theta = np.zeros((len(data.users), item.shape[1]), np.float64)
    np.add.at(theta, data.train[:, 0], item[data.train[:, 1]])
    theta /= np.maximum(np.bincount(data.train[:, 0], minlength=len(data.users)), 1)[:, None]
    return Factors(
        users=data.users,
        items=data.items,
        theta=theta,
        item=item,
        item_bias=np.zeros(len(data.items)),
        phi=phi,
        image_item=data.image_item,
    )


def visual_neighbours_best(data: Dataset, features: np.ndarray, nearest: int = 1) -> Neighbours:
    """Largest cosine between the item and the user's train items, on centred frozen features [images, F].

    With `nearest` above 1, the mean over so many of the largest. Centre and errors as in `visual_neighbours`.
    """
    return Neighbours(
        users=data.users,
        items=data.items,
        phi=_unit(data, features)[1],
        image_item=data.image_item,
        history=data.train,
        nearest=np.array(nearest),
    )


def save(model: Factors | Neighbours, folder: Path) -> None:
    """Write a baseline into `folder`, factors.npz or neighbours.npz."""
    model.save(folder / (_FACTORS if isinstance(model, Factors) else _NEIGHBOURS))


def load(folder: Path) -> Factors | Neighbours:
    """The baseline that `save` wrote into `folder`. FileNotFoundError when there is none."""
    if (folder / _NEIGHBOURS).is_file():
        return Neighbours.load(folder / _NEIGHBOURS)
    return Factors.load(folder / _FACTORS)


def _unit(data: Dataset, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centred features with items of length one: ([items, F], [images, F])."""
    vectors = centred(data, features)
    item = item_means(vectors, data.image_item, len(data.items))
    # Normalised once more after the mean over pictures; phi is scaled alike, so that item stays the mean of phi.
    norm = np.maximum(np.linalg.norm(item, axis=1), 1e-12)
    return item / norm[:, None], vectors / norm[data.image_item][:, None]


def centred(data: Dataset, features: np.ndarray) -> np.ndarray:
    """The pictures' features minus their centre over the train items, [images, F] float32.

    Uncentred cosines of ImageNet features are all near one. The centre is fitted on train items alone: held-out
    items must not shape the space they are measured in.
    """
    if features.ndim != 2 or len(features) != len(data.image_item) or not np.isfinite(features).all():
        raise ValueError(
            f"features are {features.shape}; one finite row for each of {len(data.image_item)} pictures was expected"
        )
    item = item_means(features, data.image_item, len(data.items))
    seen = np.unique(data.train[:, 1])
    centre = item[seen].mean(0) if len(seen) else item.mean(0)
    return (features - centre).astype(np.float32)


def _blind(data: Dataset, theta: np.ndarray, item: np.ndarray, item_bias: np.ndarray | None = None) -> Factors:
    """Factors of a model that sees no pictures."""
    return Factors(
        users=data.users,
        items=data.items,
        theta=theta,
        item=item,
        item_bias=np.zeros(len(data.items)) if item_bias is None else item_bias,
        phi=np.zeros((0, theta.shape[1])),
        image_item=data.image_item,
    )


def _constant(data: Dataset, scores: np.ndarray) -> Factors:
    """One score an item, the same for every user."""
    return _blind(data, np.zeros((len(data.users), 1)), np.zeros((len(data.items), 1)), scores)
