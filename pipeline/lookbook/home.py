"""What a home holds, read with patience: tables, models and the newest metadata, each None where it is not there.

The page is made of what there is, so nothing here fails because a part was not materialised. What is shown of it
belongs to the section builders.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from pipeline.core import parquet as pq
from pipeline.core.images.ledger import PictureStore
from pipeline.core.raw.sources import BadInput, shown_spec
from pipeline.core.schemas import IMAGE_MODES
from pipeline.lookbook.page import Source
from pipeline.resources import RawSources
from pipeline.storage import ModelFolder, Storage


@dataclass(frozen=True)
class Record:
    """The newest materialisation of an asset: its metadata as plain values, and where it comes from."""

    metadata: dict[str, Any]
    source: Source


class Home:
    """One home, its Dagster instance, and the files it was made from."""

    def __init__(self, storage: Storage, instance: dg.DagsterInstance, raw: RawSources):
        self.storage = storage
        self.instance = instance
        self.raw = raw
        self.record = cache(self._record)
        self.table = cache(self._table)

    @property
    def embedded(self) -> bool:
        """Whether the data is the catalogue that Atelier draws itself: its true tastes lie beside the reviews."""
        return self.raw.truth() is not None

    @property
    def label(self) -> str:
        """Which data this is, in a few words."""
        if self.embedded:
            return "embedded catalogue"
        return next(iter(self.files()), "unnamed files")

    def files(self) -> list[str]:
        """The files it was made from, each with its folder's name."""
        named = [shown_spec(name) for name in (self.raw.reviews, self.raw.products) if name]
        return ["/".join(Path(name).parts[-2:]) for name in named]

    def metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """The newest metadata; empty where there is none."""
        record = self.record(asset, partition)
        return record.metadata if record else {}

    def sources(self, wanted: Iterable[tuple[str, str | None]]) -> tuple[Source, ...]:
        """The materialisations behind these (asset, partition), those that there are."""
        return tuple(record.source for asset, partition in wanted if (record := self.record(asset, partition)))

    def model(self, kind: str, mode: str | None = None) -> ModelFolder | None:
        """The current model of its kind, if it is finished."""
        try:
            folder = self.storage.current(kind, mode)
        except BadInput:
            return None
        return folder if folder.finished else None

    def picker(self, mode: str) -> ModelFolder | None:
        """The model that made a mode's picks, if it is still there."""
        run = self.metadata("recommendations", mode).get("model")
        if not run or not (self.storage.parent("recommender", mode) / run).is_dir():
            return None
        folder = self.storage.model("recommender", run, mode)
        return folder if folder.finished else None

    def modes(self, table: str) -> list[str]:
        """The image modes that a partitioned table has."""
        return [mode for mode in IMAGE_MODES if self._path(table, mode).is_file()]

    def store(self) -> PictureStore:
        """The original pictures."""
        return PictureStore(self.storage.pictures)

    def _path(self, name: str, partition: str | None) -> Path:
        folder = self.storage.tables
        return folder / name / f"{partition}.parquet" if partition else folder / f"{name}.parquet"

    def _table(self, name: str, partition: str | None = None) -> pa.Table | None:
        path = self._path(name, partition)
        return pq.read_table(path) if path.is_file() else None

    def _record(self, asset: str, partition: str | None = None) -> Record | None:
        selection = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
        )
        records = self.instance.fetch_materializations(selection, limit=1).records
        if not records or records[0].asset_materialization is None:
            return None
        entries = records[0].asset_materialization.metadata
        metadata = {key: getattr(entry, "value", entry) for key, entry in entries.items()}
        when = datetime.fromtimestamp(records[0].timestamp, UTC)
        mlflow_run = str(metadata["mlflow_run_id"]) if "mlflow_run_id" in metadata else None
        place = str(metadata["mlflow_run"]) if "mlflow_run" in metadata else None
        return Record(metadata, Source(asset, partition, records[0].run_id, mlflow_run, when, place))
