"""Bank, features, designs and the pipeline's tables by a real Ray cluster: the bytes that one process makes."""

import gzip
import hashlib
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.design.from_noise import personal_designs
from models.design.settings import DesignSettings
from pipeline.core import engine
from pipeline.core.images.bank import Bank, build_bank
from pipeline.core.images.features import embed_bank
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.shards import Runner
from pipeline.designs.shards import search
from pipeline.sample import server
from pipeline.sample.catalogue import write_catalogue
from tests.models.design.test_design import networks, recommender
from tests.pipeline.conftest import isolate, materialise, small_catalogue
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.images.test_killed_fetch import table_bytes
from tests.scale.conftest import WORKERS

PICTURES = 1_700  # four shards of the bank, seven batches of the network


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PictureStore:
    store = PictureStore(tmp_path_factory.mktemp("store"))
    for number in range(PICTURES):
        data = jpeg(number)
        sha = hashlib.sha256(data).hexdigest()
        store.add(LedgerRow(f"u{number}", "ok", 1, datetime.now(UTC), 200, sha, "JPEG", 33, 50, len(data)), data)
        if number % 600 == 599:
            store.flush()
    store.flush()
    return store


@pytest.fixture(scope="module")
def bank(cluster: Runner, store: PictureStore, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return build_bank(store, shas_of(store), tmp_path_factory.mktemp("ray"), size=24, runner=cluster)


def shas_of(store: PictureStore) -> list[str]:
    return sorted(store.ledger(["sha256"])["sha256"].to_pylist())


def test_the_bank_is_the_one_that_one_process_builds(store: PictureStore, bank: Bank, tmp_path: Path):
    alone = build_bank(store, shas_of(store), tmp_path, size=24)
    assert len(alone.pixels) == PICTURES
    assert files(bank.folder) == files(alone.folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def test_the_features_are_the_ones_that_one_process_computes(cluster: Runner, bank: Bank):
    told: list[tuple[int, int]] = []
    found = embed_bank(bank, size=32, runner=cluster, on_progress=lambda *now: told.append(now))
    assert len(told) > WORKERS
    assert told[-1] == (PICTURES, PICTURES)
    np.testing.assert_array_equal(found, embed_bank(bank, size=32))


def test_the_designs_are_the_ones_that_one_process_makes(cluster: Runner):
    settings = DesignSettings(starts=3, best=2, steps=4, rows_at_once=4)
    generator, discriminator = networks()
    taste = recommender(19)
    alone = personal_designs(generator, discriminator, taste, range(3), settings=settings)
    together = search(generator, discriminator, taste, 3, settings, cluster)
    for field in fields(alone):
        one, other = getattr(alone, field.name), getattr(together, field.name)
        for a, b in zip(*((x if isinstance(x, tuple) else (x,)) for x in (one, other)), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_a_run_with_the_ray_engine_leaves_the_same_tables(tmp_path: Path, cluster: Runner):
    shop = small_catalogue()
    catalogue = write_catalogue(tmp_path / "catalogue", shop)
    halves = halved(catalogue.reviews)
    homes = {name: tmp_path / name for name in engine.ENGINES}
    sent: list[str] = []

    def recorded(runner, work, shards, *common, real=engine.OnRay.map, **named):
        sent.append(work.__name__)
        return real(runner, work, shards, *common, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.OnRay, "map", recorded)
        for fault in ("unavailable", "truncated", "hang"):
            patch.setitem(server.FAULTS, fault, 0.0)
        for name, home in homes.items():
            isolate(
                patch,
                home,
                ATELIER_ENGINE=name,
                ATELIER_REVIEWS=",".join(map(str, halves)),
                ATELIER_PRODUCTS=str(catalogue.products),
                ATELIER_ALLOW_HOSTS=f"{server.HOST}:{shop.port}",
            )
            with server.serve(catalogue.folder, shop.port):  # anew: it remembers how often it was busy
                materialise("+key:image_features")
    assert sent == ["decode_into", "embed_rows"]
    local, ray = homes["local"], homes["ray"]
    tables = sorted(path.relative_to(local) for path in (local / "tables").rglob("*.parquet"))
    assert len(tables) >= 8
    for table in tables:
        one, other = (pq.read_table(home / table) for home in (local, ray))
        if table.stem == "image_ledger":  # when it was fetched is in it
            assert table_bytes(one) == table_bytes(other)
        else:
            assert (local / table).read_bytes() == (ray / table).read_bytes(), table
    for folder in ("bank", "features"):
        assert files(local / folder) == files(ray / folder)


def halved(path: Path) -> list[Path]:
    """A gzipped file of lines as two, which share the line in the middle."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    middle = len(lines) // 2
    halves = [path.with_name(f"{half}-{path.name}") for half in ("first", "second")]
    for half, of_half in zip(halves, (lines[: middle + 1], lines[middle:]), strict=True):
        half.write_bytes(gzip.compress(b"".join(of_half)))
    return halves
