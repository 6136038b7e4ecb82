"""Sample (user, positive picture, negative picture) triplets of a mode, whole epochs at a time, vectorised in numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Doc

from pipeline.core import schemas

USER_SAMPLING = ("user", "interaction")
POSITIVE_PICTURE = ("row", "item_first")
NEGATIVES = ("train", "all_splits")
CHUNK = 1 << 18  # triplets drawn at once, so that scratch arrays fit the processor's cache


@dataclass(frozen=True)
class TripletSettings:
    """How triplets are sampled; part of the method's preset.

    - user_sampling: "user" draws a user uniformly, then one of the user's positives (K17); "interaction" draws
      positives uniformly.
    - positive_picture: "row" makes every (train pair, picture) a positive, so a review counts once per picture (NAF);
      "item_first" draws a train pair, then a picture of its item.
    - negatives: pictures of items that the user has not touched in "train" (K17), or in "all_splits", which leaks the
      hold-outs to training.

    A picture that is held out alone (`split_unit: image`) is not a positive of its user. Its item counts as touched in
    train if another picture of it is a positive.
    """

    epochs: Annotated[int, Doc("Number of epochs, each sampled anew; 1 to 32767.")] = 14
    seed: Annotated[int, Doc("Seed of the draws.")] = 0
    user_sampling: Annotated[str, Doc("user: draw users uniformly (K17); interaction: draw positives.")] = "user"
    positive_picture: Annotated[
        str, Doc("row: every picture of a purchase is a positive (NAF); item_first: draw a purchase, then a picture.")
    ] = "row"
    negatives: Annotated[
        str, Doc("Exclude items touched in train (K17), or in all_splits, which leaks the hold-outs.")
    ] = "train"
    negatives_per_positive: Annotated[int, Doc("Negatives drawn for each positive; 1 to 4096.")] = 1

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
class TripletProgress:
    """How many epochs are sampled, of the total."""

    done: int
    total: int


def sample(
    splits: pa.Table,
    catalogue: pa.Table,
    settings: TripletSettings,
    on_progress: Callable[[TripletProgress], None] | None = None,
) -> pa.Table:
    """Sample `settings.epochs` epochs of triplets from SPLITS and CATALOGUE of one mode; ids stay global.

    An epoch has as many triplets as there are positives: (train pair, picture) rows, or train pairs for "item_first".
    Negatives are drawn uniformly from the pictures of all items that the user has not touched; those of one triplet
    are independent. Every epoch has its own random stream from (seed, epoch), so more epochs do not change earlier
    ones.

    Returns:
        A table of `schemas.triplets(n)`, n negatives per positive.

    Raises:
        ValueError: train is empty, a train pair has no picture that may be drawn, a held-out picture is not in the
            catalogue, or a user has touched every item.
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
            on_progress(TripletProgress(epoch + 1, settings.epochs))
    epochs = np.repeat(np.arange(settings.epochs, dtype=np.int16), per_epoch)
    # Image ids are dense in the mode, so rows of the sorted catalogue are the ids.
    negatives = pa.FixedSizeListArray.from_arrays(pa.array(negative.reshape(-1)), n)
    columns = [pa.array(epochs), pa.array(user), pa.array(positive), negatives]
    return pa.table(columns, schema=schemas.triplets(n))


def _below(rng: np.random.Generator, size: np.ndarray) -> np.ndarray:
    """Draw uniform integers below each of `size`, by scaling 53 bits: much faster than `integers` with an array."""
    return (rng.random(len(size)) * size).astype(np.int64)


def _item_images(catalogue: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return the item of each image [images], and the image ids in the order of items [images]."""
    catalogue = catalogue.sort_by("image")
    if not np.array_equal(catalogue["image"].to_numpy(), np.arange(catalogue.num_rows)):
        raise ValueError("catalogue: image ids are not 0..n-1; materialise catalogue again")
    item = catalogue["item"].to_numpy()
    return item, np.argsort(item, kind="stable").astype(np.int32)


def _codes(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) << 32 | right


def _held_out_pictures(splits: pa.Table, catalogue: pa.Table) -> np.ndarray:
    """Return the codes of (user, image) that are held out as single pictures."""
    held = splits.filter(pc.is_valid(splits["sha256"])).select(["user", "item", "sha256"])
    pictures = held.join(catalogue.select(["image", "item", "sha256"]), ["item", "sha256"], join_type="left outer")
    if pictures["image"].null_count:
        lost = pictures.filter(pc.is_null(pictures["image"])).slice(0, 1).to_pylist()[0]
        raise ValueError(
            f"catalogue: {pictures['image'].null_count} held-out pictures are not in it (first: item {lost['item']},"
            f" {lost['sha256']}); materialise splits and catalogue again"
        )
    return _codes(pictures["user"].to_numpy(), pictures["image"].to_numpy())


class _Positives:
    """The positives in train, grouped by user, to draw from."""

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
        # Every (pair, picture) is a row; the rows of a pair are contiguous.
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
        self._rows = settings.positive_picture == "row"  # whether each row is a positive; otherwise each pair is
        self._first, self._number = np.cumsum(number) - number, number  # [pairs], of rows
        self._user = user[pair] if self._rows else user
        self._users, self._start, self._length = np.unique(self._user, return_index=True, return_counts=True)
        self._by_user = settings.user_sampling == "user"
        self.per_epoch = len(self._user)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw users [n] and positive images [n]."""
        if self._by_user:
            who = rng.integers(0, len(self._users), n)
            at = self._start[who] + _below(rng, self._length[who])
        else:
            at = rng.integers(0, len(self._user), n)
        row = at if self._rows else self._first[at] + _below(rng, self._number[at])
        return self._user[at], self._image[row]


class _Touched:
    """The items that each user has touched, to draw pictures of the others."""

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
        # A Bloom filter: one lookup rules out almost all images, and only the rest are searched.
        self._bits = max(16, int(len(self._codes) * 16).bit_length())
        self._maybe = np.zeros(1 << self._bits, bool)
        self._maybe[self._hash(self._codes)] = True
        pictures = np.bincount(self._row)[self._codes % self._items]
        seen = np.bincount(self._codes // self._items, weights=pictures)
        if (seen >= len(self._item)).any():
            raise ValueError(f"user {int(seen.argmax())} has touched every item of the mode: no negative can be drawn")

    def _hash(self, codes: np.ndarray) -> np.ndarray:
        """Hash by Fibonacci hashing: the high bits of the wrapping product with 2^64 / golden ratio."""
        return (codes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._bits)

    def _has(self, user: np.ndarray, image: np.ndarray) -> np.ndarray:
        codes = user * np.int64(self._items) + self._row[image]
        maybe = np.flatnonzero(self._maybe[self._hash(codes)])
        at = np.searchsorted(self._codes, codes[maybe])
        at[at == len(self._codes)] = 0
        return maybe[self._codes[at] == codes[maybe]]

    def draw_others(self, rng: np.random.Generator, user: np.ndarray) -> np.ndarray:
        """Draw for each of `user` [n] an image [n] of an item not touched, repeating draws that hit a touched one."""
        image = rng.integers(0, len(self._item), len(user), dtype=np.int32)
        again = self._has(user, image)
        while len(again):
            image[again] = rng.integers(0, len(self._item), len(again), dtype=np.int32)
            again = again[self._has(user[again], image[again])]
        return image
