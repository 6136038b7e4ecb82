"""Read the contents of a home: tables, models and the newest metadata.

The lookbook shows whatever exists, so everything here returns None or something empty for a part that was not
materialised, and nothing may fail because of it.
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
from pipeline.core.dataset.extent import Extent
from pipeline.core.errors import InputError
from pipeline.core.images.ledger import PictureStore
from pipeline.core.raw.sources import shown_spec
from pipeline.core.schemas import IMAGE_MODES
from pipeline.core.tables import table_digest
from pipeline.home.storage import ModelFolder, Storage
from pipeline.recommenders import registry
from pipeline.recommenders.registry import main
from pipeline.recommenders.trained import trained
from pipeline.runtime.resources import RawSources
from pipeline.views.sources import Source


@dataclass(frozen=True)
class Record:
    """The newest materialisation of an asset: its metadata as plain values, and its source."""

    metadata: dict[str, Any]
    source: Source


class Home:
    """A home, its Dagster instance, and its input files."""

    def __init__(self, storage: Storage, instance: dg.DagsterInstance, raw: RawSources):
        self.storage = storage
        self.instance = instance
        self.raw = raw
        self.record = cache(self._record)
        self.table = cache(self._table)

    @property
    def embedded(self) -> bool:
        """Return whether the data is Atelier's embedded catalogue, which has the true tastes beside the reviews."""
        return self.raw.truth() is not None

    @property
    def label(self) -> str:
        """Name the data in a few words, with the sample if one was drawn."""
        name = "embedded catalogue" if self.embedded else next(iter(self.files()), "unnamed files")
        return f"{name} ({self.extent})" if self.extent else name

    @property
    def extent(self) -> str:
        """Return how much of the data is used, if it is not all or k is not 5; else empty."""
        return self.metadata("interactions").get("extent", "")

    @property
    def k(self) -> int:
        """Return how many distinct items a user needs."""
        return self.metadata("interactions").get("k", Extent.k)

    def recommender_asset(self, mode: str) -> str:
        """Return the asset that made the mode's leading recommender."""
        folders = self.recommenders(mode)
        return self.training_asset(next(iter(folders.values())), mode) if folders else main()[-1].op

    def training_asset(self, folder: ModelFolder, mode: str) -> str:
        """Return the asset whose materialisation is known as a recommender's training, also in older homes."""
        own = registry.of_manifest(folder.manifest()).op
        return own if self.record(own, mode) is not None else folder.manifest().get("asset", own)

    def files(self) -> list[str]:
        """Name the input files, each with its folder."""
        names = [shown_spec(name) for name in (self.raw.reviews, self.raw.products) if name]
        return ["/".join(Path(name).parts[-2:]) for name in names]

    def metadata(self, asset: str, partition: str | None = None) -> dict[str, Any]:
        """Return the newest metadata of an asset; empty if there is none."""
        record = self.record(asset, partition)
        return record.metadata if record else {}

    def sources(self, wanted: Iterable[tuple[str, str | None]]) -> tuple[Source, ...]:
        """Return the newest materialisation of each (asset, partition) that has one."""
        return tuple(record.source for asset, partition in wanted if (record := self.record(asset, partition)))

    def recommenders(self, mode: str) -> dict[str, ModelFolder]:
        """Return the mode's newest finished model of each main recommender, the leading one first.

        Those that were trained on the mode's present splits come before those that were not.
        """
        every = {name: folder for name, folder in trained(self.storage, mode).items() if folder.finished}
        splits = self.table("splits", mode)
        present = "" if splits is None else table_digest(splits)
        stale = {name: folder.manifest()["inputs"].get("splits") != present for name, folder in every.items()}
        return {name: every[name] for name in sorted(every, key=stale.__getitem__)}

    def model(self, kind: str, mode: str | None = None) -> ModelFolder | None:
        """Return the current model of a kind, of recommenders the leading one; None if none is finished."""
        if kind == "recommender" and mode is not None:
            return next(iter(self.recommenders(mode).values()), None)
        try:
            folder = self.storage.current(kind, mode)
        except InputError:
            return None
        return folder if folder.finished else None

    def picker(self, mode: str) -> ModelFolder | None:
        """Return the model that made a mode's recommendations; None if it no longer exists."""
        run = self.metadata("recommendations", mode).get("model")
        folder = self.storage.recommender(mode, run or "")
        return folder if folder is not None and folder.finished else None

    def modes(self, table: str) -> list[str]:
        """List the image modes for which a partitioned table exists."""
        return [mode for mode in IMAGE_MODES if self._path(table, mode).is_file()]

    def store(self) -> PictureStore:
        """Open the store of original pictures."""
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
