"""A small home with one image mode of the planted shop, complete enough to register models: tables, bank, a model.

Users of even rows like blue and users of odd rows like red; `taste` makes a model that knows this.
"""

import hashlib
import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.dvbpr.train import DvbprSettings, train
from pipeline.core import parquet as pq
from pipeline.core import schemas
from pipeline.core.arrays import ModeArrays, mode_arrays
from pipeline.core.images.bank import build_bank
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.tables import table_digest
from pipeline.home.storage import ModelFolder, Storage
from tests.models.planted import planted

MODE = "vendor_all"
CPU = torch.device("cpu")
SETTINGS = DvbprSettings(
    k=4, input_size=16, padding="same", width=1 / 16, hidden=1 / 64, epochs=1, batch_size=64, learning_rate=2e-3
)
CLASSES = ("men_tops", "women_tops", None)


@dataclass
class LittleShop:
    """The home and its tables."""

    storage: Storage
    data: Dataset
    catalogue: pa.Table
    splits: pa.Table
    users: pa.Table
    items: pa.Table
    products: pa.Table
    png: list[bytes]  # the file behind every picture of the mode

    @property
    def arrays(self) -> ModeArrays:
        return mode_arrays(self.catalogue, self.splits)

    @property
    def names(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        return self.users, self.items, self.products

    def finish(
        self,
        run: str,
        splits: pa.Table | None = None,
        factors: Factors | None = None,
        settings: dict[str, Any] | None = None,
    ) -> ModelFolder:
        """Finish a model with this folder name: trained, or with the given factors.

        splits: to store with it, instead of the shop's. settings: overrides for its manifest.
        """
        splits = self.splits if splits is None else splits
        folder = self.storage.model("recommender", run, MODE)
        trained = train(self.data, SETTINGS, folder.path, CPU)
        (factors or trained.factors).save(folder.path / "factors.npz")
        for name, table in (("splits", splits), ("catalogue", self.catalogue)):
            pq.write_table(table, folder.path / f"{name}.parquet")
        inputs = {"splits": table_digest(splits), "catalogue": table_digest(self.catalogue), "image_bank": "b"}
        folder.finish(
            {
                "asset": "dvbpr", "inputs": inputs, "settings": {**SETTINGS.plain(), **(settings or {})},
                "code_version": "1", "dagster_run": f"dagster-{run}", "mlflow_run": f"mlflow-{run}",
            }
        )  # fmt: skip
        return folder

    def taste(self, strength: float = 1.0, seed: int = 0) -> Factors:
        """Make a model that scores items of the user's colour `strength` higher, and is random otherwise."""
        rng = np.random.default_rng(seed)
        colour = np.arange(len(self.data.items)) % 2 * 2 - 1
        likes = np.arange(len(self.data.users)) % 2 * 2 - 1
        item = np.stack([colour * strength, *rng.standard_normal((3, len(colour)))], axis=1)
        theta = np.stack([likes, *rng.standard_normal((3, len(likes)))], axis=1)
        return Factors(
            users=self.data.users,
            items=self.data.items,
            theta=theta,
            item=item,
            item_bias=np.zeros(len(colour)),
            phi=item[self.data.image_item],
            image_item=self.data.image_item,
        )


def little_shop(folder: Path) -> LittleShop:
    """Make the shop, without a model."""
    raw = planted(users=60, epochs=1)
    storage = Storage(root=str(folder))
    png = [_png(pixels) for pixels in raw.bank[raw.bank_row]]
    shas = [hashlib.sha256(data).hexdigest() for data in png]
    store = PictureStore(storage.pictures)
    for number, (sha, data) in enumerate(zip(shas, png, strict=True)):
        store.add(LedgerRow(f"u{number}", "ok", 1, datetime.now(UTC), 200, sha, "PNG", 16, 16, len(data)), data)
    store.flush()
    bank = build_bank(store, shas, storage.bank, size=16)
    data = replace(raw, bank=np.asarray(bank.pixels), bank_row=np.arange(len(png)))
    catalogue = [
        {"image": n, "bank_row": n, "item": int(data.items[item]), "source": "vendor", "position": 0, "sha256": sha}
        for n, (item, sha) in enumerate(zip(data.image_item, shas, strict=True))
    ]
    splits = [
        {"user": int(data.users[user]), "item": int(data.items[item]), "split": split, "paired": True}
        for split in schemas.SPLIT_NAMES
        for user, item in getattr(data, split)
    ]
    asins = [f"B{item:04}" for item in data.items]
    return LittleShop(
        storage=storage,
        data=data,
        catalogue=pa.Table.from_pylist(catalogue, schema=schemas.CATALOGUE),
        splits=pa.Table.from_pylist(splits, schema=schemas.SPLITS),
        users=pa.table({"user": data.users, "reviewer_id": [f"R{user}" for user in data.users]}, schema=schemas.USERS),
        items=pa.table({"item": data.items, "asin": asins}, schema=schemas.ITEMS),
        products=pa.Table.from_pylist(
            [
                {"asin": asin, "title": "", "categories": [], "vendor_urls": [], "vendor_urls_high": [],
                 "garment_class": CLASSES[n % 3]}
                for n, asin in enumerate(asins)
            ],
            schema=schemas.PRODUCTS,
        ),
        png=png,
    )  # fmt: skip


def moved_hold_out(splits: pa.Table) -> pa.Table:
    """Swap the first user's test item with one of the train items."""
    frame = splits.to_pandas()
    own = frame[frame["user"] == frame["user"].iloc[0]]
    test, train = (own.index[own["split"] == name][0] for name in ("test", "train"))
    frame.loc[[test, train], "split"] = ["train", "test"]
    return pa.Table.from_pandas(frame, schema=splits.schema, preserve_index=False)


def _png(pixels: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()
