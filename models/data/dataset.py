"""The training data of the recommenders: one image mode as arrays. Nothing here learns.

The pipeline builds a data set from its tables. `save` and `load` are for machines that have only this folder.
"""

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from models.data.pictures import check_bank
from models.training.files import read_array, read_arrays

_BANK, _REST = "bank.npy", "dataset.npz"
_DIMENSIONS = {
    "bank_row": 1,
    "image_item": 1,
    "users": 1,
    "items": 1,
    "train": 2,
    "validation": 2,
    "test": 2,
    "triplets_user": 2,
    "triplets_positive": 2,
    "triplets_negative": 3,
}
SPLITS = ("train", "validation", "test")
UNKNOWN_TIME = np.iinfo(np.int64).min  # of a train interaction whose time the data does not give


@dataclass(frozen=True, eq=False)
class Dataset:
    """The data of one mode: U users, I items, and E epochs of n triplets each. Images are numbered within the mode.

    E may be 0 if only baselines are trained. `bank_digest` identifies the pictures; if it is empty, the pictures
    themselves are hashed. An empty `train_time` is filled with UNKNOWN_TIME. Raises ValueError naming the array that
    does not fit.
    """

    bank: np.ndarray  # uint8 [rows, side, side, 3], an array or a memory map
    bank_row: np.ndarray  # [images] int32
    image_item: np.ndarray  # [images] int32, row in `items`
    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    train: np.ndarray  # [interactions, 2] int32: row in `users`, row in `items`
    validation: np.ndarray  # as `train`
    test: np.ndarray  # as `train`
    triplets_user: np.ndarray  # [E, n] int32, row in `users`
    triplets_positive: np.ndarray  # [E, n] int32, image number
    triplets_negative: np.ndarray  # [E, n, negatives] int32, image number
    bank_digest: str = ""
    train_time: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # [interactions], as `train`: unix s

    def __post_init__(self) -> None:
        for name, ndim in _DIMENSIONS.items():
            array = np.ascontiguousarray(getattr(self, name), np.int32)
            if name in SPLITS:
                array = array.reshape(-1, 2)
            if array.ndim != ndim:
                raise ValueError(f"data set: {name} has {array.ndim} dimension(s), not {ndim}")
            object.__setattr__(self, name, array)
        known = np.any(np.asarray(self.train_time) != UNKNOWN_TIME)
        times = self.train_time if known else np.full(len(self.train), UNKNOWN_TIME)
        object.__setattr__(self, "train_time", np.ascontiguousarray(times, np.int64))
        if self.train_time.shape != (len(self.train),):
            raise ValueError(f"data set: {len(self.train_time)} times for {len(self.train)} train interactions")
        users, items, images = len(self.users), len(self.items), len(self.image_item)
        if not users or not items or not images:
            raise ValueError(
                f"the mode has {users} users, {items} items and {images} pictures, nothing to train on; "
                "see the catalogue's counts for the step that emptied it"
            )
        if len(self.bank_row) != images:
            raise ValueError(f"data set: bank_row has {len(self.bank_row)} entries, image_item {images}")
        check_bank(self.bank, self.bank_row)
        self._within("image_item", self.image_item, items)
        bare = int((np.bincount(self.image_item, minlength=items) == 0).sum())
        if bare:
            raise ValueError(f"data set: {bare} of {items} items have no picture; drop them from the catalogue")
        for name in SPLITS:
            pairs = getattr(self, name)
            self._within(f"{name}: user", pairs[:, 0], users)
            self._within(f"{name}: item", pairs[:, 1], items)
        if (
            self.triplets_user.shape != self.triplets_positive.shape
            or self.triplets_user.shape != self.triplets_negative.shape[:2]
        ):
            raise ValueError(
                f"data set: triplets_user {self.triplets_user.shape}, triplets_positive {self.triplets_positive.shape} "
                f"and triplets_negative {self.triplets_negative.shape} must be [E, n], [E, n] and [E, n, negatives]"
            )
        self._within("triplets_user", self.triplets_user, users)
        self._within("triplets_positive", self.triplets_positive, images)
        self._within("triplets_negative", self.triplets_negative, images)

    @property
    def epochs(self) -> int:
        """Return the number of epochs in the triplet table."""
        return len(self.triplets_user)

    def digest(self) -> str:
        """Compute the sha256 of ids, splits, triplets, and pictures (or the bank's digest).

        Times are left out, as most recommenders do not see them: one that does adds them to its own digest.
        """
        digest = hashlib.sha256()
        for name in _DIMENSIONS:
            array = getattr(self, name)
            digest.update(f"{name} {array.shape} ".encode())
            digest.update(array.data)
        digest.update(f"bank {self.bank.shape[1:]} {self.bank_digest} ".encode())
        if not self.bank_digest:
            for start in range(0, len(self.bank_row), 1024):
                digest.update(np.ascontiguousarray(self.bank[self.bank_row[start : start + 1024]]).data)
        return digest.hexdigest()

    def save(self, folder: Path, link: bool = False) -> None:
        """Write dataset.npz and bank.npy into `folder`.

        With `link`, a bank that is memory-mapped from a .npy file, from its first row on, is symlinked, not copied.
        """
        folder.mkdir(parents=True, exist_ok=True)
        rest = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "bank"}
        np.savez(folder / _REST, **rest)
        mapped = Path(str(self.bank.filename)).resolve() if isinstance(self.bank, np.memmap) else None
        if mapped == (folder / _BANK).resolve():
            return
        (folder / _BANK).unlink(missing_ok=True)  # may be a link to another folder's bank: never write through it
        if link and mapped is not None and mapped.suffix == ".npy":
            (folder / _BANK).symlink_to(mapped)
        else:
            np.save(folder / _BANK, self.bank)

    @classmethod
    def load(cls, folder: Path) -> "Dataset":
        """Read the files that `save` wrote, with the bank as a memory map.

        Raises FileNotFoundError naming a missing file, ValueError naming a missing array.
        """
        for name in (_REST, _BANK):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name}: not there; a data folder holds {_REST} and {_BANK}")
        found = read_arrays(folder / _REST, "arrays of a data set", _DIMENSIONS)
        arrays = {name: found[name] for name in _DIMENSIONS}
        if odd := [name for name, array in arrays.items() if array.dtype.kind not in "iu"]:
            raise ValueError(f"{folder / _REST}: {', '.join(odd)}: whole numbers were expected; write it again")
        bank = read_array(folder / _BANK, "pictures", memory_map=True)
        try:
            times = found.get("train_time", np.empty(0, np.int64))
            return cls(bank=bank, bank_digest=str(found.get("bank_digest", "")), train_time=times, **arrays)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error

    @staticmethod
    def _within(name: str, values: np.ndarray, limit: int) -> None:
        if values.size and not (values.min() >= 0 and values.max() < limit):
            raise ValueError(f"data set: {name} runs from {values.min()} to {values.max()}, outside 0..{limit - 1}")
