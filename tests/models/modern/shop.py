"""Planted shops in which one thing alone decides what people buy."""

from dataclasses import dataclass

import numpy as np

from models.data.dataset import Dataset
from models.data.item_facts import ItemFacts

USERS, ITEMS, OWNED = 90, 240, 9
DAY = 86_400


@dataclass(frozen=True)
class Shop:
    """A data set, with features of its pictures and facts of its items."""

    data: Dataset
    features: np.ndarray  # [images, F]
    facts: ItemFacts


def shop(decides: str = "", seed: int = 0, times: bool = True) -> Shop:
    """Plant a shop where `decides` (image, text, bought_together, recency, or nothing) alone carries what people buy.

    Items are of four kinds, which the picture shows, or the text, or nothing; people buy one kind. With recency, an
    item sells for some weeks after its launch, to anybody. Every third item has two pictures.
    """
    rng = np.random.default_rng(seed)
    kind, likes, launch = rng.integers(0, 4, ITEMS), rng.integers(0, 4, USERS), rng.uniform(0, 330, ITEMS)
    rows, when = [], []
    for user in range(USERS):
        day = np.sort(rng.uniform(20, 360, OWNED))
        day[-2:] = 358, 359
        for of_day in day:
            chance = np.ones(ITEMS)
            if decides in ("image", "text", "bought_together"):
                chance = np.where(kind == likes[user], 1.0, 0.02)
            elif decides == "recency":
                age = of_day - launch
                chance = np.where(age > 0, np.exp(-age / 15), 0) + 1e-4
            chance[[item for owner, item in rows if owner == user]] = 0
            rows.append((user, int(rng.choice(ITEMS, p=chance / chance.sum()))))
            when.append(int(of_day * DAY))
    pairs, time = np.array(rows).reshape(USERS, OWNED, 2), np.array(when).reshape(USERS, OWNED)
    image_item = np.sort(np.concatenate([np.arange(ITEMS), np.arange(0, ITEMS, 3)]))
    of_kind = np.eye(4)[kind]
    features = rng.normal(size=(len(image_item), 12))
    text = rng.normal(size=(ITEMS, 6))
    if decides == "image":
        features[:, :4] += 5 * of_kind[image_item]
    if decides == "text":
        text[:, :4] += 5 * of_kind
    nothing = np.empty((0, 0), np.int32)
    data = Dataset(
        bank=rng.integers(0, 255, (len(image_item), 4, 4, 3)).astype(np.uint8),
        bank_row=np.arange(len(image_item)),
        image_item=image_item,
        users=np.arange(USERS) + 100,
        items=np.arange(ITEMS) + 500,
        train=pairs[:, :-2].reshape(-1, 2),
        validation=pairs[:, -2],
        test=pairs[:, -1],
        triplets_user=nothing,
        triplets_positive=nothing,
        triplets_negative=nothing[:, :, None],
        train_time=time[:, :-2].ravel() if times else np.empty(0, np.int64),
    )
    path = np.stack([rng.integers(-1, 3, ITEMS), rng.integers(0, 9, ITEMS)], 1)
    return Shop(data, features, ItemFacts(text, path, (tuple("abc"), tuple("defghijkl"))))
