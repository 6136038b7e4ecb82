"""A recommender as it is served: factors under the shop's own names, what everyone has, and the network for new items.

One folder holds all of it (`pack` writes it, `Shelf` reads it), so that a registered model needs nothing of the home.
Reviewers stand in it as hashes alone. How it is called over HTTP is `served_recommender.py`; where it is registered,
`registry.py`; neither Dagster nor MLflow is known here.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from models.data.factors import Factors, write_arrays
from models.metrics.ranking import best
from models.training.checkpoint import BEST
from pipeline.core.images import pictures
from pipeline.core.images.decoder import decode_posted
from pipeline.core.schemas import SPLIT_NAMES
from pipeline.recommenders.registry import of_manifest

if TYPE_CHECKING:  # a served model is packed elsewhere; where it runs it needs no tables
    import pyarrow as pa

    from pipeline.core.arrays import ModeArrays


SPLITS = (*SPLIT_NAMES, BEFORE := "before")  # before: a model that this one went on from was trained on the pair
FACTORS, SHOP, ABOUT = "factors.npz", "shop.npz", "about.json"
NO_CLASS = ""


@dataclass(frozen=True, eq=False)
class Shop:
    """What a model was trained in, by the shop's names; rows are those of its factors."""

    reviewer: np.ndarray  # [U] uint64, `hashed` reviewer ids
    asin: np.ndarray  # [I] str
    garment_class: np.ndarray  # [I] str, "" for none
    user: np.ndarray  # [m] int32, user row of every known pair
    item: np.ndarray  # [m] int32, item row
    split: np.ndarray  # [m] int8, place in SPLITS

    def pairs(self, *splits: str) -> np.ndarray:
        """The pairs of these splits, [n, 2] int32 of (user row, item row)."""
        chosen = np.isin(self.split, [SPLITS.index(name) for name in splits])
        return np.stack([self.user[chosen], self.item[chosen]], axis=1)


def hashed(reviewer_ids: list[str]) -> np.ndarray:
    """The first eight bytes of each id's SHA-256: [n] uint64. A served model tells nobody who its users are."""
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in reviewer_ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def shop_of(data: "ModeArrays", before: np.ndarray, users: "pa.Table", items: "pa.Table", products: "pa.Table") -> Shop:
    """The shop behind a mode's arrays.

    Args:
        data: users, items and pairs of the mode.
        before: pairs that a model this one went on from was trained on, [n, 2] of (user row, item row).
        users: USERS.
        items: ITEMS.
        products: PRODUCTS, with asin and garment_class.

    Raises:
        ValueError: a user or item of the mode is in no table; says how to mend it.
    """
    unknown = {
        "user": set(data.users.tolist()) - set(users["user"].to_pylist()),
        "item": set(data.items.tolist()) - set(items["item"].to_pylist()),
    }
    if any(unknown.values()):
        counts = ", ".join(f"{len(rows)} {name}(s)" for name, rows in unknown.items())
        raise ValueError(f"{counts} of the model are in no table any more: train the recommender again")
    reviewer = dict(zip(users["user"].to_pylist(), users["reviewer_id"].to_pylist(), strict=True))
    asin = dict(zip(items["item"].to_pylist(), items["asin"].to_pylist(), strict=True))
    kind = dict(zip(products["asin"].to_pylist(), products["garment_class"].to_pylist(), strict=True))
    names = [asin[item] for item in data.items.tolist()]
    of_split = {**{name: data.pairs[name] for name in SPLIT_NAMES}, BEFORE: before}
    pairs = np.concatenate([of_split[name] for name in SPLITS]).astype(np.int32)
    return Shop(
        reviewer=hashed([reviewer[user] for user in data.users.tolist()]),
        asin=np.array(names, np.str_),
        garment_class=np.array([kind.get(name) or NO_CLASS for name in names], np.str_),
        user=pairs[:, 0],
        item=pairs[:, 1],
        split=np.repeat(np.arange(len(SPLITS), dtype=np.int8), [len(of_split[name]) for name in SPLITS]),
    )


def pack(out: Path, trained: Path, shop: Shop, about: Mapping[str, Any]) -> None:
    """Write the served folder of the model trained in `trained`; `about` is told by whoever asks where it came from.

    The pictures' own vectors stay behind: an item's score needs their mean alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    factors = Factors.load(trained / FACTORS)
    if len(factors.users) != len(shop.reviewer) or len(factors.items) != len(shop.asin):
        raise ValueError(
            f"{trained}: factors of {len(factors.users)} users and {len(factors.items)} items, the shop has "
            f"{len(shop.reviewer)} and {len(shop.asin)}: train the model again"
        )
    bare = replace(factors, phi=np.zeros((0, factors.theta.shape[1])), image_item=np.zeros(0))
    bare.save(out / FACTORS)
    write_arrays(out / SHOP, dict(vars(shop)))
    shutil.copyfile(trained / BEST, out / BEST)
    (out / ABOUT).write_text(json.dumps(about, indent=2, sort_keys=True, default=str) + "\n")


def read_shop(folder: Path) -> Shop:
    """The shop of a served folder."""
    with np.load(folder / SHOP, allow_pickle=False) as file:
        return Shop(**{name: file[name] for name in Shop.__dataclass_fields__})


@dataclass(frozen=True)
class Pick:
    """One ranked item, or the new item that a request brought."""

    rank: int  # from 1; of a new item: the place it would take
    item: str | None  # None: the new item
    score: float


class Shelf:
    """A served folder, read: answers one person at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = json.loads((self.folder / ABOUT).read_text())
        self.shop = read_shop(self.folder)
        self.factors = Factors.load(self.folder / FACTORS)
        self._row = {int(key): row for row, key in enumerate(self.shop.reviewer)}
        order = np.argsort(self.shop.user, kind="stable")  # a pair of two splits is seen twice, which hides it once
        starts = np.searchsorted(self.shop.user[order], np.arange(1, len(self.shop.reviewer)))
        self._seen = np.split(self.shop.item[order], starts)
        train = self.shop.pairs("train")
        self.popularity = np.bincount(train[:, 1], minlength=len(self.shop.asin)).astype(np.float32)  # [I]
        self.classes = sorted(set(self.shop.garment_class.tolist()) - {NO_CLASS})
        self._embed: Callable[[np.ndarray], np.ndarray] | None = None

    def user(self, reviewer_id: str | None) -> int | None:
        """The row of a reviewer; None for somebody the model does not know."""
        return None if reviewer_id is None else self._row.get(int(hashed([reviewer_id])[0]))

    def recommend(
        self, user: int | None, k: int = 10, *, exclude_seen: bool = True, garment_class: str | None = None
    ) -> list[Pick]:
        """The k best items, best first; fewer where fewer are left. Ties go to the item first in the catalogue.

        Args:
            user: a row; None gets the items by popularity (how many users have them in train).
            k: at least 1.
            exclude_seen: leave out what the user has.
            garment_class: items of this class alone.

        Raises:
            ValueError: k, or a class that no item has.
        """
        if k < 1:
            raise ValueError(f"k={k}: at least one item must be asked for")
        scores = np.where(self._open(user, exclude_seen, garment_class), self._scores(user), -np.inf)
        rows, values = best(torch.from_numpy(scores.astype(np.float32))[None], min(k, len(scores)))
        there = rows[0] >= 0
        found = zip(rows[0][there], values[0][there], strict=True)
        return [Pick(rank, str(self.shop.asin[row]), float(value)) for rank, (row, value) in enumerate(found, 1)]

    def place(
        self, user: int | None, picture: bytes, *, exclude_seen: bool = True, garment_class: str | None = None
    ) -> Pick:
        """The score of a new item, known by one picture, and the rank it would have among the items of `recommend`.

        Somebody unknown is given the mean taste of all users.

        Raises:
            ValueError: the bytes are no picture we take, or a class that no item has.
        """
        theta = self._theta(user)
        score = float(theta @ self.embed(picture))
        open_ = self._open(user, exclude_seen, garment_class)
        above = int((self._by_taste(theta)[open_] > score).sum())
        return Pick(above + 1, None, score)

    def embed(self, picture: bytes) -> np.ndarray:
        """A picture's place in the space of tastes, [K] float32: decoded and sized as the pictures of training were.

        Raises:
            ValueError: the bytes are no picture we take (`core/images/pictures.py`), or the model cannot score one.
        """
        if self._embed is None:  # read when a picture first asks for it: the paper's network is 280 MB
            self._embed = of_manifest(self.about).picture_embedder(self.folder)
        pixels = pictures.resize(
            decode_posted(picture), self.about["bank_size"], Image.Resampling[self.about["bank_filter"].upper()]
        )
        return self._embed(pixels[None])[0]

    def _theta(self, user: int | None) -> np.ndarray:
        return self.factors.theta.mean(0) if user is None else self.factors.theta[user]  # [K]

    def _by_taste(self, theta: np.ndarray) -> np.ndarray:
        return self.factors.item @ theta + self.factors.item_bias  # [I]

    def _scores(self, user: int | None) -> np.ndarray:
        return self.popularity if user is None else self._by_taste(self._theta(user))

    def _open(self, user: int | None, exclude_seen: bool, garment_class: str | None) -> np.ndarray:
        """Which items may be shown, bool [I]."""
        allowed = np.ones(len(self.shop.asin), bool)
        if garment_class is not None:
            if garment_class not in self.classes:
                raise ValueError(f"class {garment_class!r} is unknown; there are: {', '.join(self.classes) or 'none'}")
            allowed = self.shop.garment_class == garment_class
        if user is not None and exclude_seen:
            allowed = allowed.copy()
            allowed[self._seen[user]] = False
        return allowed
