"""Build and open the bank: every picture decoded once and squashed to one size, in one memory-mapped uint8 array.

Rows are only appended, so a `bank_row` always means the same picture. On disk there are `pixels-<size>-<filter>.npy`
(an ordinary NumPy file, readable without this module), an index, and `bank.json`, which is renamed into place last and
says how many rows are valid. Bytes after those rows come from an interrupted build; the next build overwrites them.
Another size or filter makes a new bank in the same folder.
"""

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core import digests, schemas
from pipeline.core import parquet as pq
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.images.ledger import PictureStore, read_pictures
from pipeline.core.images.pictures import PictureError, decode, resize
from pipeline.core.shards import HERE, Runner, shard_size

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,  # Pillow's default today
    "nearest": Image.Resampling.NEAREST,  # Pillow's default in 2017, when Kang et al. ran their code
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_MOST_PIXELS = 178_000_000  # Pillow itself refuses larger pictures
_CHUNK = 128  # pictures decoded per task


@dataclass(frozen=True)
class Bank:
    """An opened bank. `pixels`: np.memmap uint8 [rows, size, size, 3]; `index`: schemas.BANK_INDEX, by row."""

    folder: Path
    pixels: np.ndarray
    index: pa.Table
    size: int
    resample: str
    digest: str  # of size, filter and the sha256 of every row, in order

    @property
    def pixels_path(self) -> Path:
        """Return the path of the NumPy file of `pixels`."""
        return self.folder / _Meta(self.size, self.resample, len(self.pixels), self.digest).pixels_name

    def digest_of(self, rows: np.ndarray) -> str:
        """Compute `digest` of these rows [n] only, so that it does not change when other pictures are added."""
        return _digest(self.size, self.resample, self.index["sha256"].take(pa.array(rows)).to_pylist())


@dataclass(frozen=True)
class BankProgress:
    """How many new pictures are decoded, of the total."""

    done: int
    total: int


@dataclass(frozen=True)
class _Meta:
    size: int
    resample: str
    rows: int
    digest: str

    @property
    def pixels_name(self) -> str:
        return f"pixels-{self.size}-{self.resample}.npy"

    @property
    def index_name(self) -> str:
        return f"index-{self.size}-{self.resample}.parquet"


def build_bank(
    store: PictureStore,
    sha256s: Iterable[str],
    out: Path,
    size: int = 224,
    *,
    resample: str = "bicubic",
    workers: int | None = None,
    on_progress: Callable[[BankProgress], None] | None = None,
    runner: Runner = HERE,
) -> Bank:
    """Add the missing pictures of `sha256s` to the bank in `out`.

    New rows are in the order of `sha256s`, so appending gives the same array as building from scratch. Memory holds a
    few hundred compressed pictures.

    Args:
        store: where the pictures are.
        sha256s: all pictures that the bank must have.
        out: folder of the bank.
        size: side of the squashed pictures in pixels.
        resample: one of FILTERS.
        workers: decoding threads in this process (None: one per core).
        on_progress: called with the number of decoded pictures.
        runner: if it has several workers, each decodes shards of the pictures into the array, in one thread.

    Raises:
        KeyError: the store does not have a picture.
        ValueError: a picture does not decode, or the size or filter is invalid.
        BlockingIOError: another process is building in `out`.
    """
    if resample not in FILTERS:
        raise ValueError(f"resample is {resample!r}; it must be one of {', '.join(FILTERS)}")
    if size < 1:
        raise ValueError(f"size is {size}; it must be at least 1 pixel")
    with sole_writer(out):
        meta = _read_meta(out)
        if meta is None or (meta.size, meta.resample) != (size, resample):
            meta = _Meta(size, resample, 0, "")
        known = _read_index(out, meta)
        held = set(known)
        new = [sha for sha in dict.fromkeys(sha256s) if sha not in held]
        if new or meta.rows == 0:
            shas = known + new
            with _grown(out / meta.pixels_name, meta, len(shas)) as path:
                row_of = {sha: meta.rows + position for position, sha in enumerate(new)}
                files = [(file, {sha: row_of[sha] for sha in held}) for file, held in store.whereabouts(new)]
                whole = Decoding(path, size, resample, files)
                if runner.workers() == 1:
                    decode_into(whole, _cores() if workers is None else workers, on_progress)
                else:
                    _decode_with(runner, whole, on_progress)
            known = meta.rows
            meta = _Meta(size, resample, len(shas), _digest(size, resample, shas))
            if meta.rows:
                digests.write_sums(out / meta.pixels_name, _mapped(out, meta), known)
            _commit(out, meta, shas)
    return open_bank(out)


def open_bank(folder: Path) -> Bank:
    """Open the bank in `folder`, memory-mapped for reading, and verify a few of its rows.

    Raises FileNotFoundError where none was built, DamagedFileError where bytes are not those that were written.
    """
    meta = _read_meta(folder)
    if meta is None:
        raise FileNotFoundError(f"{folder}: no bank here (bank.json is missing); build the image_bank first")
    if meta.rows == 0:
        pixels = np.empty((0, meta.size, meta.size, 3), np.uint8)  # an empty file cannot be mapped
    else:
        pixels = _mapped(folder, meta)
        digests.expect_rows(folder / meta.pixels_name, pixels, f"delete {folder} and materialise image_bank again.")
    index = pa.table(
        [pa.array(range(meta.rows), pa.int32()), _read_index(folder, meta)],
        schema=schemas.BANK_INDEX,
    )
    return Bank(folder, pixels, index, meta.size, meta.resample, meta.digest)


def _mapped(folder: Path, meta: _Meta) -> np.ndarray:
    path, shape = folder / meta.pixels_name, (meta.rows, meta.size, meta.size, 3)
    return np.memmap(path, np.uint8, mode="r", offset=_data_offset(path), shape=shape)


def _digest(size: int, resample: str, shas: Sequence[str]) -> str:
    return hashlib.sha256("\n".join([f"{size} {resample}", *shas]).encode()).hexdigest()


def _read_meta(folder: Path) -> _Meta | None:
    try:
        return _Meta(**json.loads((folder / "bank.json").read_text()))
    except FileNotFoundError:
        return None


def _read_index(folder: Path, meta: _Meta) -> list[str]:
    """Read the sha256 of each valid row; an interrupted build may have left more rows."""
    if meta.rows == 0:
        return []
    return pq.read_table(folder / meta.index_name, columns=["sha256"])["sha256"].to_pylist()[: meta.rows]


def _commit(folder: Path, meta: _Meta, shas: Sequence[str]) -> None:
    """Write the index, then bank.json, which makes the new rows valid, then delete files of another size or filter."""
    index = pa.table([pa.array(range(len(shas)), pa.int32()), shas], schema=schemas.BANK_INDEX)
    write_whole(folder / meta.index_name, lambda path: pq.write_table(index, path, compression="zstd"))
    text = json.dumps(asdict(meta))
    write_whole(folder / "bank.json", lambda path: path.write_text(text))
    for stale in itertools.chain(folder.glob("pixels-*.npy*"), folder.glob("index-*.parquet")):
        if not stale.name.startswith((meta.pixels_name, meta.index_name)):
            stale.unlink()


@contextlib.contextmanager
def _grown(path: Path, meta: _Meta, rows: int) -> Generator[Path]:
    """Grow the array file to `rows` rows; its header is updated after the block, when the rows are on disk.

    The header is rewritten in place, because NumPy pads it so that the first axis can grow. After a crash the header
    has too few rows, which np.load reads as a shorter array, not a wrong one.
    """
    row_bytes = meta.size * meta.size * 3
    if meta.rows == 0:
        with path.open("wb") as file:
            _write_header(file, (0, meta.size, meta.size, 3))
    offset = _data_offset(path)
    with path.open("r+b") as file:
        file.truncate(offset + rows * row_bytes)  # also cuts off what an interrupted build left after the rows
        # Rows are written in the store's order, not the file's. Without reserved blocks each such write takes eight
        # times as long (ext4: 0.35 against 0.04 ms a row), and a full disk would show only after minutes of decoding.
        if hasattr(os, "posix_fallocate") and rows > 0:
            os.posix_fallocate(file.fileno(), 0, offset + rows * row_bytes)
    yield path
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        _write_header(file, (rows, meta.size, meta.size, 3))
        if file.tell() != offset:
            raise RuntimeError(f"{path}: NumPy's header grew from {offset} to {file.tell()} bytes; delete the bank")
        file.flush()
        os.fsync(file.fileno())


def _write_header(file, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _data_offset(path: Path) -> int:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return file.tell()


@dataclass(frozen=True)
class Decoding:
    """Pictures to decode into the array."""

    path: Path  # of the array
    size: int
    resample: str
    files: list[tuple[Path, dict[str, int]]]  # files of the store, and in each: sha256 -> row of the array

    @property
    def count(self) -> int:
        """Return the number of pictures."""
        return sum(len(rows) for _, rows in self.files)

    def cut(self, count: int) -> "list[Decoding]":
        """Divide the work into pieces of `count` pictures."""
        flat = [(path, sha, row) for path, rows in self.files for sha, row in rows.items()]
        pieces = []
        for start in range(0, len(flat), count):
            files: dict[Path, dict[str, int]] = {}
            for path, sha, row in flat[start : start + count]:
                files.setdefault(path, {})[sha] = row
            pieces.append(replace(self, files=list(files.items())))
        return pieces


def decode_into(work: Decoding, threads: int = 1, on_progress: Callable[[BankProgress], None] | None = None) -> int:
    """Decode these pictures into their rows, in the store's order, and sync them to disk; return their number.

    Other processes may fill other rows of the array at the same time.
    """
    chunks = _chunks((rows[sha], sha, data) for path, rows in work.files for sha, data in read_pictures(path, rows))
    write = partial(_write_rows, str(work.path), _data_offset(work.path), work.size, work.resample)
    done = 0
    for count in map(write, chunks) if threads <= 1 else _in_threads(write, chunks, threads):
        done += count
        if on_progress is not None:
            on_progress(BankProgress(done, work.count))
    with work.path.open("r+b") as file:
        os.fsync(file.fileno())
    return done


def _decode_with(runner: Runner, whole: Decoding, on_progress: Callable[[BankProgress], None] | None) -> None:
    done = 0
    for count in runner.map(decode_into, whole.cut(shard_size(whole.count, runner.workers(), least=4 * _CHUNK))):
        done += count
        if on_progress is not None:
            on_progress(BankProgress(done, whole.count))


def _cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(pictures: Iterator[tuple[int, str, bytes]]) -> Iterator[list[tuple[int, str, bytes]]]:
    while chunk := list(itertools.islice(pictures, _CHUNK)):
        yield chunk


def _in_threads(
    write: Callable[[list[tuple[int, str, bytes]]], int], work: Iterable[list[tuple[int, str, bytes]]], workers: int
) -> Iterator[int]:
    """Map over threads with at most two chunks per worker in flight, so that memory stays flat.

    These are threads because decoding, resizing and writing, six sevenths of the work, run without Python's lock. A
    process would first import the program that started it: 3 CPU seconds and 300 MB each under Dagster.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="bank") as pool:
        running: set[Future[int]] = set()
        for chunk in work:
            if len(running) >= 2 * workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
            running.add(pool.submit(write, chunk))
        yield from (future.result() for future in running)


def _write_rows(path: str, offset: int, size: int, resample: str, chunk: list[tuple[int, str, bytes]]) -> int:
    """Decode a chunk and write each picture at its row, with plain writes, so that no process maps the whole bank."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for row, sha, data in chunk:
            try:
                # The picture was validated when it was fetched, but perhaps by an older version or with other limits.
                # So its header is checked again, against Pillow's own limit of pixels.
                pixels = decode(data, max_pixels=_MOST_PIXELS, min_side=1)
            except PictureError as error:
                raise ValueError(f"picture {sha} of the store does not decode ({error}); fetch it again") from error
            squashed = np.ascontiguousarray(resize(pixels, size, FILTERS[resample]))
            os.pwrite(descriptor, squashed.data, offset + row * size * size * 3)
    finally:
        os.close(descriptor)
    return len(chunk)
