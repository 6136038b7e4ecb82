"""A second machine goes on from the copy that the first one left in an S3-compatible store."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.conftest import isolate, made, materialise
from tests.pipeline.mirror.object_store import bucket

SELECT = "+key:recommendations"


def tables(home: Path) -> dict[str, bytes]:
    return {
        path.relative_to(home).as_posix(): path.read_bytes() for path in sorted((home / "tables").rglob("*.parquet"))
    }


def models(home: Path) -> dict[str, str]:
    return {
        path.parent.name: json.loads(path.read_text())["run"]
        for path in sorted(home.glob("recommender/*/current.json"))
    }


def test_it_fetches_no_picture_trains_nothing_and_has_the_same_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ATELIER_STORE", raising=False)
    with bucket(monkeypatch) as store:
        here = made(monkeypatch, tmp_path / "first", SELECT, ATELIER_STORE=store.address)
        assert f"copied to {store.address}" in " ".join(here.said.split())
        checkpoints = {path: path.stat().st_mtime_ns for path in here.folder.glob("recommender/*/*/last.pt")}
        # The picture server is gone, and the second machine has a home with nothing in it.
        isolate(
            monkeypatch,
            tmp_path / "second",
            ATELIER_STORE=store.address,
            ATELIER_REVIEWS=str(here.catalogue / "reviews.json.gz"),
            ATELIER_PRODUCTS=str(here.catalogue / "products.json.gz"),
            ATELIER_ALLOW_HOSTS="",
        )
        said = " ".join(materialise(SELECT).split())
        assert f"copied from {store.address}" in said
        assert models(tmp_path / "second") == models(here.folder)
        assert tables(tmp_path / "second") == tables(here.folder)
        assert len(checkpoints) == 3
        for path, written in checkpoints.items():
            copy = tmp_path / "second" / path.relative_to(here.folder)
            assert copy.read_bytes() == path.read_bytes() and path.stat().st_mtime_ns == written
        ledger = pq.read_table(tmp_path / "second" / "tables" / "image_ledger.parquet")
        assert set(ledger["status"].to_pylist()) >= {"ok"}
