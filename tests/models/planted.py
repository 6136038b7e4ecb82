"""A tiny planted problem for tests of recommenders: shoppers who like square pictures of one colour."""

from dataclasses import replace

import numpy as np

from models.data.dataset import Dataset


def planted(
    seed: int = 0, users: int = 24, items: int = 60, epochs: int = 6, triplets: int = 256, side: int = 16
) -> Dataset:
    """Make red or blue items with noise and one or two pictures each; the five items of a user have one colour."""
    rng = np.random.default_rng(seed)
    colour = np.arange(items) % 2
    image_item = np.sort(np.concatenate([np.arange(items), rng.choice(items, items // 2, replace=False)]))
    images = len(image_item)
    bank = rng.integers(0, 120, (images + 3, side, side, 3)).astype(np.uint8)
    bank_row = rng.permutation(images + 3)[:images]
    bank[bank_row, :, :, np.where(colour[image_item], 2, 0)] += 120
    likes = np.arange(users) % 2
    owned = np.stack([rng.choice(np.flatnonzero(colour == like), 5, replace=False) for like in likes])
    user = np.arange(users)
    train = np.stack([np.repeat(user, 3), owned[:, 2:].ravel()], 1)
    drawn = rng.integers(0, users, (epochs, triplets))
    positive_item = owned[drawn, rng.integers(2, 5, drawn.shape)]
    negative_item = rng.integers(0, items, drawn.shape)
    first = np.searchsorted(image_item, np.arange(items))  # an item's first picture
    return Dataset(
        bank=bank,
        bank_row=bank_row,
        image_item=image_item,
        users=user + 100,
        items=np.arange(items) + 500,
        train=train,
        validation=np.stack([user, owned[:, 0]], 1),
        test=np.stack([user, owned[:, 1]], 1),
        triplets_user=drawn,
        triplets_positive=first[positive_item],
        triplets_negative=first[negative_item][:, :, None],
    )


def shuffled_validation(data: Dataset, seed: int) -> Dataset:
    """Replace the held-out items by items that have nothing to do with their users."""
    items = np.random.default_rng(seed).integers(0, len(data.items), len(data.users))
    return replace(data, validation=np.stack([np.arange(len(data.users)), items], 1))
