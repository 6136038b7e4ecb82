"""A row of the bank always has the same picture, however often the bank was extended or interrupted."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core import schemas
from pipeline.core.images import bank as bank_module
from pipeline.core.images.bank import BankProgress, build_bank, open_bank
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.images.pictures import decode
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.in_turn import InTurn

COUNT = 12


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    store = PictureStore(tmp_path / "store")
    for number in range(COUNT):
        data = jpeg(number, 20 + number, 30)
        sha = hashlib.sha256(data).hexdigest()
        store.add(
            LedgerRow(f"u{number}", "ok", 1, datetime.now(UTC), 200, sha, "JPEG", 20 + number, 30, len(data)), data
        )
        if number % 5 == 4:
            store.flush()
    store.flush()
    return store


@pytest.fixture
def shas() -> list[str]:
    """List the pictures in another order than the store's."""
    found = [hashlib.sha256(jpeg(number, 20 + number, 30)).hexdigest() for number in range(COUNT)]
    return found[::-1]


def test_each_row_is_its_picture_squashed_with_the_named_filter(
    store: PictureStore, shas: list[str], tmp_path: Path
) -> None:
    for resample, filter_ in (("bicubic", Image.Resampling.BICUBIC), ("nearest", Image.Resampling.NEAREST)):
        bank = build_bank(store, shas, tmp_path / resample, size=16, resample=resample)
        assert (bank.pixels.shape, bank.pixels.dtype) == ((COUNT, 16, 16, 3), np.uint8)
        for row, (sha, data) in enumerate((sha, dict(store.read([sha]))[sha]) for sha in shas):
            expected = np.asarray(Image.fromarray(decode(data)).resize((16, 16), filter_))
            assert np.array_equal(bank.pixels[row], expected)
            assert bank.index.slice(row, 1).to_pylist() == [{"bank_row": row, "sha256": sha}]
    assert bank.index.schema.equals(schemas.BANK_INDEX)


def test_appending_gives_the_same_rows_as_building_from_scratch(
    store: PictureStore, shas: list[str], tmp_path: Path
) -> None:
    fresh = build_bank(store, shas, tmp_path / "fresh", size=16)
    build_bank(store, shas[:3], tmp_path / "grown", size=16)
    build_bank(store, shas[2:7], tmp_path / "grown", size=16)
    grown = build_bank(store, shas, tmp_path / "grown", size=16)
    assert np.array_equal(grown.pixels, fresh.pixels)
    assert grown.index.equals(fresh.index)
    assert grown.digest == fresh.digest


def test_only_new_pictures_are_decoded(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    seen: list[BankProgress] = []
    build_bank(store, shas[:8], tmp_path / "bank", size=16)
    build_bank(store, shas, tmp_path / "bank", size=16, on_progress=seen.append)
    assert seen == [BankProgress(4, 4)]
    seen.clear()
    build_bank(store, shas, tmp_path / "bank", size=16, on_progress=seen.append)
    assert seen == []


def test_a_picture_that_is_no_longer_needed_keeps_its_row(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    first = build_bank(store, shas[:6], tmp_path / "bank", size=16)
    second = build_bank(store, shas[3:], tmp_path / "bank", size=16)
    assert second.index.slice(0, 6).equals(first.index)
    assert len(second.index) == COUNT


def test_the_array_is_an_ordinary_numpy_file(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    build_bank(store, shas[:5], tmp_path / "bank", size=16)
    bank = build_bank(store, shas, tmp_path / "bank", size=16)
    assert isinstance(bank.pixels, np.memmap)
    assert np.array_equal(np.load(tmp_path / "bank" / "pixels-16-bicubic.npy"), bank.pixels)


@pytest.mark.parametrize("step", ["decode_into", "_commit", "write_whole"])
def test_an_interrupted_build_leaves_the_bank_as_it_was_and_the_next_one_completes_it(
    store: PictureStore, shas: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fresh = build_bank(store, shas, tmp_path / "fresh", size=16)
    before = build_bank(store, shas[:5], tmp_path / "bank", size=16)
    real = getattr(bank_module, step)

    def killed(*args: object, **named: object) -> None:
        if step == "write_whole" and Path(str(args[0])).suffix == ".parquet":
            real(*args, **named)  # killed between the index and bank.json
            return
        raise KeyboardInterrupt

    monkeypatch.setattr(bank_module, step, killed)
    with pytest.raises(KeyboardInterrupt):
        build_bank(store, shas, tmp_path / "bank", size=16)
    monkeypatch.undo()
    after = open_bank(tmp_path / "bank")
    assert after.digest == before.digest
    assert after.index.equals(before.index)
    assert np.array_equal(after.pixels, before.pixels)
    completed = build_bank(store, shas, tmp_path / "bank", size=16)
    assert np.array_equal(completed.pixels, fresh.pixels)
    assert completed.digest == fresh.digest


def test_another_size_or_filter_makes_a_new_bank(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    small = build_bank(store, shas, tmp_path / "bank", size=8)
    large = build_bank(store, shas[:2], tmp_path / "bank", size=16)
    assert large.pixels.shape == (2, 16, 16, 3)
    assert large.digest != small.digest
    assert not list((tmp_path / "bank").glob("*-8-*"))


def test_many_workers_build_the_same_bank(
    store: PictureStore, shas: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank_module, "_CHUNK", 1)  # shards of four pictures
    alone = build_bank(store, shas, tmp_path / "alone", size=16)
    together = build_bank(store, shas[:3], tmp_path / "together", size=16)
    reported: list[BankProgress] = []
    together = build_bank(store, shas, tmp_path / "together", size=16, runner=InTurn(2), on_progress=reported.append)
    assert reported == [BankProgress(4, 9), BankProgress(8, 9), BankProgress(9, 9)]
    assert together.pixels_path.read_bytes() == alone.pixels_path.read_bytes()
    assert (together.index, together.digest) == (alone.index, alone.digest)


def test_several_threads_build_the_same_bank(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    one = build_bank(store, shas, tmp_path / "one", size=16, workers=1)
    two = build_bank(store, shas, tmp_path / "two", size=16, workers=2)
    assert np.array_equal(one.pixels, two.pixels)


def test_an_empty_bank_opens(store: PictureStore, tmp_path: Path) -> None:
    assert build_bank(store, [], tmp_path / "bank", size=16).pixels.shape == (0, 16, 16, 3)
    assert len(open_bank(tmp_path / "bank").index) == 0


def test_errors_name_what_is_wrong(store: PictureStore, shas: list[str], tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="feed"):
        build_bank(store, ["feed"], tmp_path / "bank", size=16)
    with pytest.raises(ValueError, match="resample"):
        build_bank(store, shas, tmp_path / "bank", resample="sinc")
    with pytest.raises(ValueError, match="size"):
        build_bank(store, shas, tmp_path / "bank", size=0)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_bank(tmp_path / "nowhere")
    shutil.rmtree(tmp_path / "bank")
    data = b"not a picture"
    sha = hashlib.sha256(data).hexdigest()
    store.add(LedgerRow("bad", "ok", 1, datetime.now(UTC), 200, sha), data)
    store.flush()
    with pytest.raises(ValueError, match=sha):
        build_bank(store, [sha], tmp_path / "bank", size=16)
