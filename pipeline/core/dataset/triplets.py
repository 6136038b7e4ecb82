"""Sampled (user, positive picture, negative picture) triplets of a mode, whole epochs at a time.

Sampling only, in numpy and without a loop over rows; what a triplet does to a model belongs to `models/`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import schemas

USER_SAMPLING = ("user", "interaction")
POSITIVE_PICTURE = ("row", "item_first")
NEGATIVES = ("train", "all_splits")
CHUNK = 1 << 18  # triplets drawn at once: the scratch arrays stay in the processor's cache


@dataclass(frozen=True)
class TripletSettings:
    """How triplets are drawn; part of the method's preset.

    user_sampling: "user" draws users uniformly, then one of their positives (K17); "interaction" draws positives
    uniformly. positive_picture: "row" takes every (train pair, picture) as one positive (a review becomes one positive
    a picture, NAF), "item_first" draws the train pair, then a picture of its item. negatives: pictures of items the
    user has not touched in "train" (K17), or in "all_splits", which tells training what was held out. A picture that
    is held out alone (`split_unit: image`) is no positive of its user; an item is touched in train where any other
    picture of it still is one.
    """

    epochs: int = 14  # sampled anew, each its own rows of the table
    seed: int = 0  # of the draw
    user_sampling: str = "user"  # user: users alike, then one of theirs (K17); interaction: positives alike
    positive_picture: str = "row"  # row: each picture of a purchase (NAF); item_first: the purchase, then one of its
    negatives: str = "train"  # of what the user has not touched in train (K17), or in all_splits, which tells too much
    negatives_per_positive: int = 1  # drawn for each positive

    def __post_init__(self) -> None:
        for name, least, most in (("epochs", 1, 32767), ("seed", 0, 2**63), ("negatives_per_positive", 1, 4096)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {getattr(self, name)} is not between {least} and {most}")
        for name, allowed in (
            ("user_sampling", USER_SAMPLING),
            ("positive_picture", POSITIVE_PICTURE),
            ("negatives", NEGATIVES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(allowed)}")


PRESETS: dict[str, TripletSettings] = {
    "paper": TripletSettings(epochs=14),  # NAF
    "kang2017": TripletSettings(epochs=20),  # K17's released code
}


@dataclass(frozen=True)
class Progress:
    """Epochs drawn so far, of the total."""

    done: int
    total: int


def sample(
    splits: pa.Table,
    catalogue: pa.Table,
    settings: TripletSettings,
    on_progress: Callable[[Progress], None] | None = None,
) -> pa.Table:
    """`schemas.triplets(n)` of `settings.epochs` epochs, from SPLITS and CATALOGUE of one mode; ids stay global.

    An epoch has as many triplets as there are positives: (train pair, picture) rows, or train pairs for "item_first".
    A negative is uniform over the pictures of all items the user has not touched; several of one triplet are
    independent. Every epoch has its own stream of (seed, epoch): more epochs do not change the earlier ones.

    Raises ValueError when nothing is in train, a train pair has no picture that may be drawn, a held-out picture is
    not in the catalogue, or a user has touched everything.
    """
    positives = _Positives(splits, catalogue, settings)
    touched = _Touched(splits, catalogue, settings.negatives)
    per_epoch, n = positives.per_epoch, settings.negatives_per_positive
    user = np.empty(settings.epochs * per_epoch, np.int32)
    positive = np.empty_like(user)
    negative = np.empty((len(user), n), np.int32)
    for epoch in range(settings.epochs):
        rng = np.random.Generator(np.random.PCG64([settings.seed, epoch]))
        for start in range(epoch * per_epoch, (epoch + 1) * per_epoch, CHUNK):
            part = slice(start, min(start + CHUNK, (epoch + 1) * per_epoch))
            user[part], positive[part] = positives.draw(rng, part.stop - part.start)
            negative[part] = touched.draw_others(rng, np.repeat(user[part], n)).reshape(-1, n)
        if on_progress:
            on_progress(Progress(epoch + 1, settings.epochs))
    epochs = np.repeat(np.arange(settings.epochs, dtype=np.int16), per_epoch)
    # Images are dense in the mode, so rows of the sorted catalogue are the ids themselves.
    negatives = pa.FixedSizeListArray.from_arrays(pa.array(negative.reshape(-1)), n)
    columns = [pa.array(epochs), pa.array(user), pa.array(positive), negatives]
    return pa.table(columns, schema=schemas.triplets(n))


def _below(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """Uniform integers below each of `size`: a scaled 53-bit draw, much quicker than `integers` with an array."""
    return (rng.random(len(size)) * size).astype(np.int64)


def _item_images(catalogue: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(item of each image [images], image ids in the order of items [images])."""
    catalogue = catalogue.sort_by("image")
    if not np.array_equal(catalogue["image"].to_numpy(), np.arange(catalogue.num_rows)):
        raise ValueError("catalogue: image ids are not 0..n-1; materialise catalogue again")
    item = catalogue["item"].to_numpy()
    return item, np.argsort(item, kind="stable").astype(np.int32)


def _codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 32 | right


def _held_out_pictures(splits: pa.Table, catalogue: pa.Table) -> np.ndarray:
    """Codes of (user, image) that are held out as single pictures."""
    held = splits.filter(pc.is_valid(splits["sha256"])).select(["user", "item", "sha256"])
    found = held.join(catalogue.select(["image", "item", "sha256"]), ["item", "sha256"], join_type="left outer")
    if found["image"].null_count:
        lost = found.filter(pc.is_null(found["image"])).slice(0, 1).to_pylist()[0]
        raise ValueError(
            f"catalogue: {found['image'].null_count} held-out pictures are not in it (first: item {lost['item']},"
            f" {lost['sha256']}); materialise splits and catalogue again"
        )
    return _codes(found["user"].to_numpy(), found["image"].to_numpy())


class _Positives:
    """The train positives grouped by user, and how to draw from them."""

    def __init__(self, splits: pa.Table, catalogue: pa.Table, settings: TripletSettings) -> None:
        train = splits.filter(pc.equal(splits["split"], "train"))
        train = train.sort_by([("user", "ascending"), ("item", "ascending")])
        user, item = train["user"].to_numpy(), train["item"].to_numpy()
        if not len(user):
            raise ValueError("splits: nothing is in train; check the 5-core filter and the working pictures")
        image_item, images = _item_images(catalogue)
        sorted_items = image_item[images]
        first = np.searchsorted(sorted_items, item)  # [pairs] in images
        number = np.searchsorted(sorted_items, item, side="right") - first
        if not number.all():
            bare = int(item[number == 0][0])
            raise ValueError(f"catalogue: item {bare} of train has no picture; materialise splits and catalogue again")
        # Every (pair, picture) is a row; the pictures of a pair lie together.
        pair = np.repeat(np.arange(len(user)), number)
        nth = np.arange(len(pair)) - np.repeat(np.cumsum(number) - number, number)
        image = images[np.repeat(first, number) + nth]
        allowed = ~np.isin(_codes(user[pair], image), _held_out_pictures(splits, catalogue))
        pair, image = pair[allowed], image[allowed]
        number = np.bincount(pair, minlength=len(user))
        if not number.all():
            at = number.argmin()
            raise ValueError(
                f"splits: user {user[at]} trains on item {item[at]}, of which the only picture is held out;"
                " materialise splits and catalogue again"
            )
        self._image = image  # [rows]
        self._rows = settings.positive_picture == "row"  # each row is a positive of its own, else each pair
        self._first, self._number = np.cumsum(number) - number, number  # [pairs], of rows
        self._user = user[pair] if self._rows else user
        self._users, self._start, self._length = np.unique(self._user, return_index=True, return_counts=True)
        self._by_user = settings.user_sampling == "user"
        self.per_epoch = len(self._user)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(users [n], positive images [n])."""
        if self._by_user:
            who = rng.integers(0, len(self._users), n)
            at = self._start[who] + _below(rng, self._length[who])
        else:
            at = rng.integers(0, len(self._user), n)
        row = at if self._rows else self._first[at] + _below(rng, self._number[at])
        return self._user[at], self._image[row]


class _Touched:
    """What each user has touched, for drawing pictures of the rest."""

    def __init__(self, splits: pa.Table, catalogue: pa.Table, negatives: str) -> None:
        table = splits if negatives == "all_splits" else splits.filter(pc.equal(splits["split"], "train"))
        self._item, _ = _item_images(catalogue)
        user, item = table["user"].to_numpy(), table["item"].to_numpy()
        items, self._row = np.unique(self._item, return_inverse=True)  # dense rows keep the codes small
        self._row = self._row.astype(np.int64)
        known = np.isin(item, items)
        user, item = user[known], item[known]
        self._items = len(items)
        self._codes = np.unique(user.astype(np.int64) * self._items + np.searchsorted(items, item))
        # A first look that says no almost always, in one gather: a bit for each of many hash values.
        self._bits = max(16, int(len(self._codes) * 16).bit_length())
        self._maybe = np.zeros(1 << self._bits, bool)
        self._maybe[self._hash(self._codes)] = True
        pictures = np.bincount(self._row)[self._codes % self._items]
        seen = np.bincount(self._codes // self._items, weights=pictures)
        if (seen >= len(self._item)).any():
            raise ValueError(f"user {int(seen.argmax())} has touched every item of the mode: no negative can be drawn")

    def _hash(self, codes: np.ndarray) -> np.ndarray:
        """Fibonacci hashing: the high bits of a product with 2^64 / golden ratio, wrapping around."""
        return (codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._bits)

    def _has(self, user: np.ndarray, image: np.ndarray) -> np.ndarray:
        codes = user * np.int64(self._items) + self._row[image]
        maybe = np.flatnonzero(self._maybe[self._hash(codes)])
        at = np.searchsorted(self._codes, codes[maybe])
        at[at == len(self._codes)] = 0
        return maybe[self._codes[at] == codes[maybe]]

    def draw_others(self, rng: np.random.Generator, user: np.ndarray) -> np.ndarray:
        """For each of `user` [n] an image [n] of an item not touched: drawn again until none is."""
        image = rng.integers(0, len(self._item), len(user), dtype=np.int32)
        again = self._has(user, image)
        while len(again):
            image[again] = rng.integers(0, len(self._item), len(again), dtype=np.int32)
            again = again[self._has(user[again], image[again])]
        return image
