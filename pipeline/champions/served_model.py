"""A recommender for serving: factors under the shop's ids, each user's items, and the network for new items.

`pack` writes it into one folder and `ServedModel` reads it, so that a registered model needs nothing from the home.
Reviewers are stored only as hashes. Never import Dagster or MLflow here.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from models.data.factors import Factors, write_arrays
from models.metrics.ranking import best
from pipeline.core.images import pictures
from pipeline.core.images.decoder import decode_posted
from pipeline.core.schemas import SPLIT_NAMES
from pipeline.recommenders.contract import NewItem
from pipeline.recommenders.registry import of_manifest

if TYPE_CHECKING:  # only `pack`'s side has tables; the serving process does not import these
    import pyarrow as pa

    from pipeline.core.arrays import ModeArrays


SPLITS = (*SPLIT_NAMES, BEFORE := "before")  # before: an earlier model that this one was started from trained on it
FACTORS, SHOP, ABOUT = "factors.npz", "shop.npz", "about.json"
NO_CLASS = ""


@dataclass(frozen=True, eq=False)
class TrainingShop:
    """The data a model was trained on, under the shop's ids; rows are those of its factors."""

    reviewer: np.ndarray  # [U] uint64, `hashed` reviewer ids
    asin: np.ndarray  # [I] str
    garment_class: np.ndarray  # [I] str, "" for none
    user: np.ndarray  # [m] int32, user row of every known pair
    item: np.ndarray  # [m] int32, item row
    split: np.ndarray  # [m] int8, index in SPLITS

    def pairs(self, *splits: str) -> np.ndarray:
        """Return the pairs of these splits, [n, 2] int32 of (user row, item row)."""
        chosen = np.isin(self.split, [SPLITS.index(name) for name in splits])
        return np.stack([self.user[chosen], self.item[chosen]], axis=1)


def hashed(reviewer_ids: list[str]) -> np.ndarray:
    """Hash ids to the first eight bytes of their SHA-256, [n] uint64, so that a served model names no users."""
    digests = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in reviewer_ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def shop_of(
    data: "ModeArrays", before: np.ndarray, users: "pa.Table", items: "pa.Table", products: "pa.Table"
) -> TrainingShop:
    """Make the shop of a mode's arrays.

    Args:
        data: users, items and pairs of the mode.
        before: [n, 2] training pairs (user row, item row) of the models that this one was warm-started from.
        users: USERS.
        items: ITEMS.
        products: PRODUCTS, with asin and garment_class.

    Raises:
        ValueError: a user or item of the mode is not in the tables.
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
    return TrainingShop(
        reviewer=hashed([reviewer[user] for user in data.users.tolist()]),
        asin=np.array(names, np.str_),
        garment_class=np.array([kind.get(name) or NO_CLASS for name in names], np.str_),
        user=pairs[:, 0],
        item=pairs[:, 1],
        split=np.repeat(np.arange(len(SPLITS), dtype=np.int8), [len(of_split[name]) for name in SPLITS]),
    )


def pack(out: Path, trained: Path, shop: TrainingShop, about: Mapping[str, Any]) -> None:
    """Write the folder to serve the model in `trained`, with its provenance in `about`.

    The pictures' own vectors are left out, because an item's score needs only their mean.
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
    of_manifest(about).pack(trained, out)
    (out / ABOUT).write_text(json.dumps(about, indent=2, sort_keys=True, default=str) + "\n")


def read_shop(folder: Path) -> TrainingShop:
    """Read the shop from a served folder."""
    with np.load(folder / SHOP, allow_pickle=False) as file:
        return TrainingShop(**{name: file[name] for name in TrainingShop.__dataclass_fields__})


@dataclass(frozen=True)
class Pick:
    """One ranked item, or the new item of a request."""

    rank: int  # from 1; a new item's is the rank it would have
    item: str | None  # None for the new item
    score: float


class ServedModel:
    """A served folder, loaded to answer requests for one user at a time."""

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
        self._encode: Callable[[NewItem], tuple[np.ndarray, float]] | None = None

    def user(self, reviewer_id: str | None) -> int | None:
        """Return the row of a reviewer; None if the model does not know them."""
        return None if reviewer_id is None else self._row.get(int(hashed([reviewer_id])[0]))

    def recommend(
        self, user: int | None, k: int = 10, *, exclude_seen: bool = True, garment_class: str | None = None
    ) -> list[Pick]:
        """Rank the k best items; fewer if there are fewer candidates. Ties go to the first item in the catalogue.

        Args:
            user: a row; None ranks by popularity (the number of training users that have the item).
            k: at least 1.
            exclude_seen: leave out the user's own items.
            garment_class: only items of this class.

        Raises:
            ValueError: k is below 1, or no item has the class.
        """
        if k < 1:
            raise ValueError(f"k={k}: must be at least 1")
        scores = np.where(self._candidates(user, exclude_seen, garment_class), self._scores(user), -np.inf)
        rows, values = best(torch.from_numpy(scores.astype(np.float32))[None], min(k, len(scores)))
        filled = rows[0] >= 0
        found = zip(rows[0][filled], values[0][filled], strict=True)
        return [Pick(rank, str(self.shop.asin[row]), float(value)) for rank, (row, value) in enumerate(found, 1)]

    def score_new_item(
        self,
        user: int | None,
        picture: bytes,
        title: str | None = None,
        categories: tuple[str, ...] | None = None,
        *,
        exclude_seen: bool = True,
        garment_class: str | None = None,
    ) -> Pick:
        """Score a new item by one picture and, if given, its title and category path; find its rank in `recommend`.

        An unknown user gets the mean factors of all users.

        Raises:
            NewItemError: the model cannot use the title or the categories.
            ValueError: the bytes are no accepted picture, or no item has the class.
        """
        theta = self._theta(user)
        factors, bias = self.encode(picture, title, categories)
        score = float(theta @ factors) + bias
        candidates = self._candidates(user, exclude_seen, garment_class)
        above = int((self._dot(theta)[candidates] > score).sum())
        return Pick(above + 1, None, score)

    def encode(
        self, picture: bytes, title: str | None = None, categories: tuple[str, ...] | None = None
    ) -> tuple[np.ndarray, float]:
        """Compute the factors [K] float32 and bias of a new item; its picture is decoded and resized as in training.

        Raises:
            NewItemError: the model cannot use the title or the categories.
            ValueError: the bytes are no accepted picture (`core/images/pictures.py`), or the model cannot score one.
        """
        if self._encode is None:  # loaded on first use: the paper's network has 280 MB
            self._encode = of_manifest(self.about).new_item_encoder(self.folder, self.about)
        pixels = pictures.resize(
            decode_posted(picture), self.about["bank_size"], Image.Resampling[self.about["bank_filter"].upper()]
        )
        return self._encode(NewItem(pixels, title, categories))

    def _theta(self, user: int | None) -> np.ndarray:
        return self.factors.theta.mean(0) if user is None else self.factors.theta[user]  # [K]

    def _dot(self, theta: np.ndarray) -> np.ndarray:
        return self.factors.item @ theta + self.factors.item_bias  # [I]

    def _scores(self, user: int | None) -> np.ndarray:
        return self.popularity if user is None else self._dot(self._theta(user))

    def _candidates(self, user: int | None, exclude_seen: bool, garment_class: str | None) -> np.ndarray:
        """Return which items may be recommended, bool [I]."""
        allowed = np.ones(len(self.shop.asin), bool)
        if garment_class is not None:
            if garment_class not in self.classes:
                raise ValueError(f"class {garment_class!r} is unknown; there are: {', '.join(self.classes) or 'none'}")
            allowed = self.shop.garment_class == garment_class
        if user is not None and exclude_seen:
            allowed = allowed.copy()
            allowed[self._seen[user]] = False
        return allowed
