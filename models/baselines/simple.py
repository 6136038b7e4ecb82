"""Baselines without training: random scores, counts, and visual neighbours on frozen features.

Each function takes the data set and returns a model that scores, usually `Factors`, so that all are measured alike.
"""

import numpy as np

from models.baselines.neighbours import Neighbours
from models.data import priors
from models.data.dataset import Dataset
from models.data.factors import Factors, item_means


def random(data: Dataset, k: int = 50, seed: int = 0) -> Factors:
    """Draw seeded Gaussian factors, to show the level and the spread of chance."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((len(data.users), k), dtype=np.float32)
    return blind(data, theta, rng.standard_normal((len(data.items), k), dtype=np.float32))


def popularity(data: Dataset) -> Factors:
    """Score each item by log(1 + its users in train); an unseen item gets the mean over the seen ones."""
    return constant(data, priors.log_counts(data))


def popularity_zero(data: Dataset) -> Factors:
    """Score each item by the number of its interactions in train, so that an unseen item is below all others."""
    return constant(data, np.bincount(data.train[:, 1], minlength=len(data.items)))


def picture_count(data: Dataset) -> Factors:
    """Score each item by its number of pictures.

    This is not a recommender but a leak in the data; compare every visual recommender with it.
    """
    return constant(data, np.bincount(data.image_item, minlength=len(data.items)))


def visual_neighbours(data: Dataset, features: np.ndarray) -> Factors:
    """Score each item by its mean cosine to the user's train items, on centred frozen features [images, F].

    An item's feature is the mean over its pictures; the centre is the mean of the train items. A user without train
    items scores all items alike. Raises ValueError unless the features are one finite row for each picture.
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
    """Score each item by its largest cosine to any of the user's train items, on centred frozen features [images, F].

    With `nearest` above 1, by the mean of that many largest cosines. Centre and errors as in `visual_neighbours`.
    """
    return Neighbours(
        users=data.users,
        items=data.items,
        phi=_unit(data, features)[1],
        image_item=data.image_item,
        history=data.train,
        nearest=np.array(nearest),
    )


def _unit(data: Dataset, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre the features and scale each item to length one: (items [I, F], pictures [images, F])."""
    vectors = centred(data, features)
    item = item_means(vectors, data.image_item, len(data.items))
    # Scale an item's pictures by the same factor as the item, so that the item remains the mean of its pictures.
    norm = np.maximum(np.linalg.norm(item, axis=1), 1e-12)
    return item / norm[:, None], vectors / norm[data.image_item][:, None]


def centred(data: Dataset, features: np.ndarray) -> np.ndarray:
    """Subtract the mean of the train items from the pictures' features: [images, F] float32.

    Without centring, the cosines of ImageNet features are all close to one. The centre is computed on train items
    only, because held-out items must not shape the space that they are measured in.
    """
    if features.ndim != 2 or len(features) != len(data.image_item) or not np.isfinite(features).all():
        raise ValueError(
            f"features are {features.shape}; one finite row for each of {len(data.image_item)} pictures was expected"
        )
    item = item_means(features, data.image_item, len(data.items))
    seen = np.unique(data.train[:, 1])
    centre = item[seen].mean(0) if len(seen) else item.mean(0)
    return (features - centre).astype(np.float32)


def blind(data: Dataset, theta: np.ndarray, item: np.ndarray, item_bias: np.ndarray | None = None) -> Factors:
    """Make factors of a model that sees no pictures."""
    return Factors(
        users=data.users,
        items=data.items,
        theta=theta,
        item=item,
        item_bias=np.zeros(len(data.items)) if item_bias is None else item_bias,
        phi=np.zeros((0, theta.shape[1])),
        image_item=data.image_item,
    )


def constant(data: Dataset, scores: np.ndarray) -> Factors:
    """Make factors that give each item one score, the same for every user."""
    return blind(data, np.zeros((len(data.users), 1)), np.zeros((len(data.items), 1)), scores)
