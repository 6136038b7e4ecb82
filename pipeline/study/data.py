"""Data for studies and searches: read a home's tables once, then split any image mode with any seed.

Nothing here writes to the home. A study makes its own hold-outs and does not read the home's `splits`, `catalogue` or
`triplets`; only `materialised` reads the first two.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.data.dataset import Dataset
from models.data.item_facts import ItemFacts
from pipeline.core import arrays, schemas, text_features
from pipeline.core import parquet as pq
from pipeline.core.arrays import ModeArrays
from pipeline.core.dataset import catalogue, splits, survivors, triplets
from pipeline.core.dataset.extent import extent_of
from pipeline.core.dataset.survivors import Surviving
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.errors import InputError
from pipeline.core.images.bank import Bank, open_bank
from pipeline.core.item_facts import ShopFacts, described, shop_facts
from pipeline.core.tables import table_digest
from pipeline.core.text_features import FactSettings
from pipeline.home.io_managers import conform, read_table
from pipeline.home.storage import Storage, digest
from pipeline.settings.assets import FiveCoreSettings, SplitSettings
from pipeline.settings.method import Method

TABLES = ("interactions", "users", "items", "image_urls", "image_ledger")


@dataclass(frozen=True)
class HomeData:
    """The tables and pictures of a home that all cells of a study share. `features`: [bank rows, F], a memory map."""

    home: Path
    users: pa.Table
    items: pa.Table
    by_mode: dict[str, Surviving]
    bank: Bank
    features: np.ndarray
    types: dict[int, int]  # item -> number of its product type; items without a known type are missing
    facts: ShopFacts
    inputs: dict[str, str] = field(default_factory=dict)  # name of a table or store -> its digest

    def surviving(self, mode: str) -> Surviving:
        """Return one mode's pairs and pictures.

        Raises:
            InputError: the home does not list the mode's pictures.
        """
        if mode not in self.by_mode:
            raise InputError(
                f"image mode {mode}: the home lists only the pictures of {', '.join(self.by_mode)}: materialise"
                " image_urls with this mode among its setting `modes`, then image_ledger, image_bank and image_features"
            )
        return self.by_mode[mode]

    def of(self, mode: str) -> dict[str, str]:
        """Return digests of one mode's inputs: its pairs and pictures, the numbering, pixels and features."""
        surviving = self.surviving(mode)
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
    types: np.ndarray  # [I] product type of each item, -1 if unknown
    facts: ItemFacts
    inputs: dict[str, str]

    def dataset(self, settings: TripletSettings | None = None) -> Dataset:
        """Return the training data of the recommenders; with `settings`, also sample triplets."""
        table = None if settings is None else triplets.sample(self.splits, self.catalogue, settings)
        return arrays.dataset(self.arrays, table, self.bank)


def open_home(storage: Storage, method: Method) -> HomeData:
    """Read a home's tables, image bank and frozen features.

    Raises:
        InputError: inputs are missing or inconsistent; the message lists all of them and the assets to materialise.
    """
    missing = [name for name in TABLES if not (storage.tables / f"{name}.parquet").is_file()]
    missing += [] if (storage.bank / "bank.json").is_file() else ["image_bank"]
    pointer = storage.home / "features" / "current.json"
    missing += [] if pointer.is_file() and storage.current_features().is_file() else ["image_features"]
    if missing:
        raise InputError(
            f"the home {storage.home} lacks {', '.join(missing)}: materialise them first, in the UI or with "
            f"python -m pipeline.run --select '{' or '.join(f'+key:{name}' for name in missing)}' "
            "(and the --profile that you want to study), or set ATELIER_HOME to another home."
        )
    read = {name: _table(storage, name) for name in TABLES}
    bank, path = open_bank(storage.bank), storage.current_features()
    features = storage.frozen_features(len(bank.pixels), bank.digest)
    extent = extent_of(read["interactions"], method.settings(FiveCoreSettings, "five_core").k)
    by_mode = {
        mode: survivors.surviving(
            read["interactions"], read["image_urls"], read["image_ledger"], mode, extent.k, candidates=extent.candidates
        )
        for mode in extent_of(read["image_urls"]).modes
    }
    inputs = {name: table_digest(read[name]) for name in ("users", "items")}
    inputs |= {"image_bank": bank.digest, "image_features": path.stem}
    types = _types(storage, read["items"])
    products = described(read["items"], _products(storage, read["items"]))
    settings = method.settings(FactSettings, "item_facts")
    inputs["item_facts"] = digest(table_digest(products), settings, text_features.version(settings))
    facts = shop_facts(products, settings)
    return HomeData(storage.home, read["users"], read["items"], by_mode, bank, features, types, facts, inputs)


def mode_data(home: HomeData, mode: str, settings: SplitSettings, shuffled: bool = False) -> ModeData:
    """Split one image mode with the seed of the settings.

    Args:
        home: the tables.
        mode: the image mode.
        settings: the hold-out; its seed is the number of the split.
        shuffled: replace every user's items, held-out ones too, with as many random ones. Nothing can then be
            learned, so the AUC is 0.5 unless something leaks.

    Raises:
        InputError: `shuffled` is set, and single pictures are held out; or the mode's pictures are not listed.
    """
    surviving = home.surviving(mode)
    table = splits.assign(home.by_mode, mode, home.users, home.items, **asdict(settings))
    pictures = catalogue.build(surviving, table, home.bank.index, home.users).table
    if shuffled:
        table = _shuffled(table, pictures, settings.seed)
    return _mode_data(home, mode, table, pictures, home.of(mode))


def materialised(storage: Storage, home: HomeData, mode: str) -> ModeData:
    """Read one mode from the home's own assets `splits` and `catalogue`.

    Raises:
        InputError: they are not materialised.
    """
    missing = [name for name in ("splits", "catalogue") if not (storage.tables / name / f"{mode}.parquet").is_file()]
    if missing:
        raise InputError(f"the home {storage.home} lacks {' and '.join(missing)} of {mode}: materialise them first.")
    table, pictures = (_table(storage, name, mode) for name in ("splits", "catalogue"))
    return _mode_data(home, mode, table, pictures, home.inputs)


def _mode_data(home: HomeData, mode: str, table: pa.Table, pictures: pa.Table, inputs: dict[str, str]) -> ModeData:
    of_mode = arrays.mode_arrays(pictures, table)
    types = np.array([home.types.get(item, -1) for item in of_mode.items.tolist()])
    inputs = inputs | {"splits": table_digest(table), "catalogue": table_digest(pictures)}
    features = np.asarray(home.features[of_mode.bank_row])
    facts = home.facts.of(of_mode.items)
    return ModeData(mode, table, pictures, of_mode, home.bank, features, types, facts, inputs)


def _types(storage: Storage, items: pa.Table) -> dict[int, int]:
    """Number each item's last, narrowest category; empty for a home without the table `products`."""
    path = storage.tables / "products.parquet"
    if not path.is_file():
        return {}
    wanted = pc.field("asin").isin(items["asin"])
    products = pq.read_table(path, columns=["asin", "categories"], filters=wanted).to_pydict()
    words = {a: c[-1].strip().lower() for a, c in zip(products["asin"], products["categories"], strict=True) if c}
    numbers = {word: number for number, word in enumerate(sorted({*words.values()} - {"", "unknown"}))}
    types = {item: numbers.get(words.get(asin, ""), -1) for item, asin in zip(*items.to_pydict().values(), strict=True)}
    return {item: number for item, number in types.items() if number >= 0}


def _products(storage: Storage, items: pa.Table) -> pa.Table:
    """Read title and category path of the items' products; no rows for a home without the table `products`."""
    path = storage.tables / "products.parquet"
    columns = ["asin", "title", "categories"]
    if not path.is_file():
        return schemas.PRODUCTS.empty_table().select(columns)
    return pq.read_table(path, columns=columns, filters=pc.field("asin").isin(items["asin"]))


def _table(storage: Storage, name: str, mode: str = "") -> pa.Table:
    path = storage.tables / name / f"{mode}.parquet" if mode else storage.tables / f"{name}.parquet"
    try:
        return conform(name, read_table(path, name))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: {error}: it was written by another version; materialise {name} again.") from error


def _shuffled(table: pa.Table, pictures: pa.Table, seed: int) -> pa.Table:
    """Replace every user's items in SPLITS with uniform draws, without repeats, from the mode's items.

    Held-out items then differ from the others in nothing: not in popularity, looks or being unseen. A permutation of
    the item column would keep such differences.
    """
    if table["sha256"].null_count < table.num_rows:
        raise InputError("shuffled labels need held-out pairs, not held-out pictures: set split_unit to interaction.")
    items = np.unique(pictures["item"].to_numpy())
    rng = np.random.default_rng([seed, 0x5EED])
    counts = [count.as_py() for count in pc.value_counts(table["user"]).field("counts")]  # sorted by user
    drawn = np.concatenate([rng.choice(items, count, replace=False) for count in counts])
    column = table.schema.get_field_index("item")
    return table.set_column(column, table.schema.field("item"), pa.array(drawn))
