"""What a study or a search trains on: a home's tables read once, and from them any split of any image mode.

Only reading, and the data work of `core/` for another seed of the hold-out; the home's own `splits`, `catalogue` and
`triplets` are neither read nor written. What is trained on it is `contenders.py`'s business.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.dvbpr_dataset import Dataset
from pipeline.core import arrays
from pipeline.core import parquet as pq
from pipeline.core.arrays import ModeArrays
from pipeline.core.dataset import catalogue, splits, survivors, triplets
from pipeline.core.dataset.survivors import Surviving
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.images.bank import Bank, open_bank
from pipeline.core.raw.sources import BadInput
from pipeline.core.schemas import IMAGE_MODES
from pipeline.io_managers import conform, whole_table
from pipeline.method import Method
from pipeline.settings import FiveCoreSettings, SplitSettings
from pipeline.storage import Storage, digest
from pipeline.views.metadata import table_digest

TABLES = ("interactions", "users", "items", "image_urls", "image_ledger")


@dataclass(frozen=True)
class HomeData:
    """What of a home every cell of a study shares. `features`: [bank rows, F], a memory map."""

    home: Path
    users: pa.Table
    items: pa.Table
    by_mode: dict[str, Surviving]
    bank: Bank
    features: np.ndarray
    types: dict[int, int]  # item -> its product type, numbered; items of no known type are not in it
    inputs: dict[str, str] = field(default_factory=dict)  # name -> digest of what was read

    def of(self, mode: str) -> dict[str, str]:
        """Digests of what one mode is made from: its pairs and pictures, the numbering, pixels and features."""
        surviving = self.by_mode[mode]
        return {**self.inputs, "surviving": digest(table_digest(surviving.pairs), table_digest(surviving.images))}


@dataclass(frozen=True)
class ModeData:
    """One split of one image mode, as tables and as arrays. `features`: float32 [images, F]."""

    mode: str
    splits: pa.Table
    catalogue: pa.Table
    arrays: ModeArrays
    bank: Bank
    features: np.ndarray
    types: np.ndarray  # [I] the items' product types, -1 where it is not known
    inputs: dict[str, str]

    def dataset(self, settings: TripletSettings | None = None) -> Dataset:
        """What the recommenders train on, with triplets sampled anew where settings for them are given."""
        table = None if settings is None else triplets.sample(self.splits, self.catalogue, settings)
        return arrays.dataset(self.arrays, table, self.bank)


def open_home(storage: Storage, method: Method) -> HomeData:
    """Read a home's tables, its bank and its frozen features.

    Raises:
        BadInput: something is missing or does not fit together; names all of it, and the assets to materialise.
    """
    missing = [name for name in TABLES if not (storage.tables / f"{name}.parquet").is_file()]
    missing += [] if (storage.bank / "bank.json").is_file() else ["image_bank"]
    pointer = storage.home / "features" / "current.json"
    missing += [] if pointer.is_file() and storage.current_features().is_file() else ["image_features"]
    if missing:
        raise BadInput(
            f"the home {storage.home} lacks {', '.join(missing)}: materialise them first, in the UI or with "
            f"python -m pipeline.run --select '{' or '.join(f'+key:{name}' for name in missing)}' "
            "(and the --profile that you mean to study), or name another home in ATELIER_HOME."
        )
    read = {name: _table(storage, name) for name in TABLES}
    bank, path = open_bank(storage.bank), storage.current_features()
    features = np.load(path, mmap_mode="r")
    if len(features) != len(bank.pixels):
        raise BadInput(
            f"{path} has features of {len(features):,} pictures, the bank {storage.bank} has {len(bank.pixels):,}: "
            "materialise image_features again."
        )
    k = method.settings(FiveCoreSettings, "five_core").k
    by_mode = {
        mode: survivors.surviving(read["interactions"], read["image_urls"], read["image_ledger"], mode, k=k)
        for mode in IMAGE_MODES
    }
    inputs = {name: table_digest(read[name]) for name in ("users", "items")}
    inputs |= {"image_bank": bank.digest, "image_features": path.stem}
    types = _types(storage, read["items"])
    return HomeData(storage.home, read["users"], read["items"], by_mode, bank, features, types, inputs)


def mode_data(home: HomeData, mode: str, settings: SplitSettings, shuffled: bool = False) -> ModeData:
    """One mode, split by the settings' seed.

    Args:
        home: the tables.
        mode: the image mode.
        settings: the hold-out; its seed is the split.
        shuffled: every user's items are replaced by as many drawn at random, held-out ones too, so that nothing can be
            learned and every AUC but a leak's is a half.

    Raises:
        BadInput: shuffled, and single pictures are held out.
    """
    table = splits.leave_one_out(
        home.by_mode, mode, home.users, home.items, settings.seed,
        hold_out=settings.hold_out, split_unit=settings.split_unit,
    )  # fmt: skip
    pictures = catalogue.build(home.by_mode[mode], table, home.bank.index, home.users).table
    if shuffled:
        table = _shuffled(table, pictures, settings.seed)
    return _mode_data(home, mode, table, pictures, home.of(mode))


def materialised(storage: Storage, home: HomeData, mode: str) -> ModeData:
    """One mode as the home's assets `splits` and `catalogue` have it.

    Raises:
        BadInput: they are not there.
    """
    missing = [name for name in ("splits", "catalogue") if not (storage.tables / name / f"{mode}.parquet").is_file()]
    if missing:
        raise BadInput(f"the home {storage.home} lacks {' and '.join(missing)} of {mode}: materialise them first.")
    table, pictures = (_table(storage, name, mode) for name in ("splits", "catalogue"))
    return _mode_data(home, mode, table, pictures, home.inputs)


def _mode_data(home: HomeData, mode: str, table: pa.Table, pictures: pa.Table, inputs: dict[str, str]) -> ModeData:
    found = arrays.mode_arrays(pictures, table)
    types = np.array([home.types.get(item, -1) for item in found.items.tolist()])
    inputs = inputs | {"splits": table_digest(table), "catalogue": table_digest(pictures)}
    return ModeData(mode, table, pictures, found, home.bank, np.asarray(home.features[found.bank_row]), types, inputs)


def _types(storage: Storage, items: pa.Table) -> dict[int, int]:
    """The last of a product's categories, the narrowest, as a number; a home without products has no types."""
    path = storage.tables / "products.parquet"
    if not path.is_file():
        return {}
    wanted = pc.field("asin").isin(items["asin"])
    products = pq.read_table(path, columns=["asin", "categories"], filters=wanted).to_pydict()
    words = {a: c[-1].strip().lower() for a, c in zip(products["asin"], products["categories"], strict=True) if c}
    numbers = {word: number for number, word in enumerate(sorted({*words.values()} - {"", "unknown"}))}
    found = {item: numbers.get(words.get(asin, ""), -1) for item, asin in zip(*items.to_pydict().values(), strict=True)}
    return {item: number for item, number in found.items() if number >= 0}


def _table(storage: Storage, name: str, mode: str = "") -> pa.Table:
    path = storage.tables / name / f"{mode}.parquet" if mode else storage.tables / f"{name}.parquet"
    try:
        return conform(name, whole_table(path, name))
    except BadInput:
        raise
    except ValueError as error:
        raise BadInput(f"{path}: {error}: another version wrote it, so materialise {name} again.") from error


def _shuffled(table: pa.Table, pictures: pa.Table, seed: int) -> pa.Table:
    """SPLITS with every user's items drawn anew, uniformly and without repeats, from the mode's items.

    Held-out items are then as any other to everyone: not by popularity, not by looks, not by being unseen can they be
    told apart, which a permutation of the item column would leave possible.
    """
    if table["sha256"].null_count < table.num_rows:
        raise BadInput("labels can be shuffled where pairs are held out, not pictures: set split_unit to interaction.")
    items = np.unique(pictures["item"].to_numpy())
    rng = np.random.default_rng([seed, 0x5EED])
    counts = [count.as_py() for count in pc.value_counts(table["user"]).field("counts")]  # sorted by user
    drawn = np.concatenate([rng.choice(items, count, replace=False) for count in counts])
    column = table.schema.get_field_index("item")
    return table.set_column(column, table.schema.field("item"), pa.array(drawn))
