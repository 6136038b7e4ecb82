"""Synchronise a home with its store: `push` what is new here, `pull` what is new there.

A home records in `store.json` the snapshot it was last synchronised with, and every file's digest by size and time, so
that a push reads only what changed. Of two machines one writes; the other is told, and nothing of either is lost.
"""

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.core.durable import TEMPORARY_SUFFIX, sole_writer, write_whole
from pipeline.core.errors import InputError
from pipeline.home import command_lock, place
from pipeline.home.environment import redacted
from pipeline.mirror.addresses import without_signatures
from pipeline.mirror.store import GRACE, ChangedFileError, OutrunError, Seen, Snapshot, Store, Stored, sha256_of

INDEX = "store.json"
# Databases, which move by ATELIER_DATABASE, MLFLOW_TRACKING_URI and ATELIER_ARTIFACTS; what a run makes again in
# minutes from the rest (decoded pictures, the sample's catalogue, copies of remote inputs, raw files' parts); scratch.
LEFT_OUT = frozenset(
    {"dagster", "mlflow", "bank", "catalogue", "inputs", "parts", "staged", "cache", INDEX}
    | {place.RECORD, place.LOCK, command_lock.LOCK}  # where this home lies, which command runs in it
)
ADDRESSES = frozenset({"reviews", "products", "rejects", "image_urls", "image_ledger"})  # tables that hold some
_COPIES = 8  # files on their way at once: a lookbook is hundreds of small ones
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Moved:
    """What a push or a pull did."""

    snapshot: int
    files: int  # that were copied
    bytes: int
    removed: int  # files of the home (pull), objects of the store (push)

    def __str__(self) -> str:
        return f"{self.files} files, {self.bytes / 1e6:.1f} MB, snapshot {self.snapshot}"


@dataclass
class Index:
    """The snapshot a home is in step with, and each of its files as it was when its digest was taken."""

    address: str
    snapshot: int = 0
    files: dict[str, tuple[Seen, Stored]] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Path, address: str) -> "Index":
        """The home's index; an empty one where there is none, or it was in step with another store."""
        try:
            content = json.loads((home / INDEX).read_text())
        except FileNotFoundError:
            return cls(address)
        if redacted(content["address"]) != address:  # an earlier version kept the whole
            return cls(address)
        files = {name: (Seen(**seen), Stored(**stored)) for name, (seen, stored) in content["files"].items()}
        return cls(address, content["snapshot"], files)

    def write(self, home: Path) -> None:
        """Keep it."""
        files = {name: [asdict(seen), asdict(stored)] for name, (seen, stored) in sorted(self.files.items())}
        content = json.dumps({"address": self.address, "snapshot": self.snapshot, "files": files})
        write_whole(home / INDEX, lambda path: path.write_text(content))


def push(home: Path, store: Store, grace: float = GRACE) -> Moved | None:
    """Bring the store in step with the home; None where nothing changed.

    `grace`: seconds that what no snapshot names any more stays in the store; 0 after an erasure.

    Raises:
        OutrunError: another machine wrote since this home was last in step.
        ChangedFileError: a file was replaced while it was copied; the store is as before, and the next push will do.
        BlockingIOError: another push or pull of this home is at work.
    """
    with sole_writer(home / "staged" / "store"):
        index, latest = Index.of(home, store.address), store.latest()
        if latest.number > index.snapshot and latest.files:
            raise OutrunError(latest.number, store.address)
        with tempfile.TemporaryDirectory(dir=home / "staged" / "store") as scratch:
            sources, files = dict[str, Path](), dict[str, tuple[Seen, Stored]]()
            for name, path in _sources(home, Path(scratch)):
                sources[name], files[name] = _unsigned(index, name, path, Path(scratch))
            fresh = {name: stored for name, (_, stored) in files.items() if latest.files.get(name) != stored}
            if not fresh and files.keys() == latest.files.keys():
                if not grace:
                    store.prune(latest, grace)
                return None

            there = {digest: size for digest, (size, _) in store.objects().items()}
            # Equal files are one object, and what an earlier push that was cut off brought is not brought again.
            missing = {stored.sha256: name for name, stored in fresh.items() if there.get(stored.sha256) != stored.size}

            def copy(name: str) -> int:
                source = sources[name]
                own = source != home / name  # a copy made here, of a database or a table
                store.put(source, files[name][1], Seen.of(source) if own else files[name][0])
                return files[name][1].size

            with ThreadPoolExecutor(_COPIES) as pool:
                copied = list(pool.map(copy, missing.values()))
        made = store.write(latest, {name: stored for name, (_, stored) in files.items()})
        Index(store.address, made.number, files).write(home)
        return Moved(made.number, len(copied), sum(copied), store.prune(made, grace))


def pull(home: Path, store: Store, over: bool = False) -> Moved | None:
    """Bring the home in step with the store; None where it is, or the store is empty. Cut off, the next does the rest.

    `over`: also where files here have changed since, which are lost then.

    Raises:
        InputError: files here changed since the home was last in step, and the store's are others; nothing was changed.
        RuntimeError: an object of the store is damaged.
        BlockingIOError: another push or pull of this home is at work.
    """
    with sole_writer(home / "staged" / "store"):
        index, latest = Index.of(home, store.address), store.latest()
        if latest.number == index.snapshot and all((home / name).exists() for name in latest.files):
            return None
        with tempfile.TemporaryDirectory(dir=home / "staged" / "store") as scratch:
            here = {
                name: _unsigned(index, name, path, Path(scratch))[1] for name, path in _sources(home, Path(scratch))
            }
        wanted = {name: s for name, s in latest.files.items() if name not in here or here[name][1] != s}
        for name in wanted:
            _check(name)
        gone = [name for name in index.files if name in here and name not in latest.files]
        own = [n for n in (*wanted, *gone) if n in here and index.files.get(n, (None, None))[1] != here[n][1]]
        if own and not over:
            shown = ", ".join(sorted(own)[:5]) + (", ..." if len(own) > 5 else "")
            raise InputError(
                f"{len(own)} files in {home} are others than in {store.address} and were changed here: {shown}. Keep "
                "these: set ATELIER_STORE to another address. Take the store's: python -m pipeline.mirror pull --over."
            )

        def bring(names: list[str]) -> None:
            with ThreadPoolExecutor(_COPIES) as pool:
                list(pool.map(lambda name: store.get(wanted[name], home / name), names))

        for step in _in_order(wanted):
            bring(step)
        for name in gone:
            (home / name).unlink()
        files = {name: (Seen.of(home / name), stored) for name, stored in latest.files.items()}
        Index(store.address, latest.number, files).write(home)
        return Moved(latest.number, len(wanted), sum(s.size for s in wanted.values()), len(gone))


def _in_order(names: dict[str, Stored]) -> Iterator[list[str]]:
    """Data before what points to it: a pull that is cut off leaves no pointer to what is not there."""
    pointers = ("current.json", "champion.json", "summary.json", "manifest.json")
    points = {name for name in names if PurePosixPath(name).name in pointers}
    ledgers = {name for name in names if PurePosixPath(name).name.startswith("ledger-")}
    for step in (names.keys() - points - ledgers, ledgers, points):
        yield sorted(step)


def _check(name: str) -> None:
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or parts[0] in LEFT_OUT or "\\" in name:
        raise InputError(f"the store names a file {name!r}, which is none of a home's: it is not an Atelier store.")


def _sources(home: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """The home's files, pointers first, each by its name and by where its bytes are read.

    Writers put a pointer in place after what it points to; read in the other order, what a pointer names is there.
    """
    found = [path for top in sorted(home.iterdir()) if top.name not in LEFT_OUT for path in _files(top)]
    for path in sorted(found, key=lambda path: (path.suffix != ".json", not path.name.startswith("ledger-"), path)):
        name = path.relative_to(home).as_posix()
        with contextlib.suppress(FileNotFoundError):  # a file that was just replaced or removed
            with path.open("rb") as opened:
                database = opened.read(len(_SQLITE)) == _SQLITE
            yield name, _copy_of_database(path, scratch / name.replace("/", "-")) if database else path


def _files(top: Path) -> Generator[Path]:
    for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
        if path.is_file() and not path.is_symlink() and path.name != "lock" and path.suffix != TEMPORARY_SUFFIX:
            yield path


def _copy_of_database(path: Path, copy: Path) -> Path:
    """A consistent copy of a SQLite file that may be in use."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _known(index: Index, name: str, path: Path) -> tuple[Seen, Stored]:
    """A file's digest: from the index where the file is the one it was taken of, else read."""
    try:
        seen = Seen.of(path)
        known = index.files.get(name)
        if known and known[0] == seen:
            return known
        return seen, Stored(sha256_of(path), seen.size)
    except FileNotFoundError as error:
        raise ChangedFileError(f"{path} went while it was looked at") from error


def _unsigned(index: Index, name: str, path: Path, scratch: Path) -> tuple[Path, tuple[Seen, Stored]]:
    """Where a file's bytes are read, and its digest: of a table with signed addresses, a copy in which they have none.

    A store may be read by more people than the home, and a signature ends within days: what is not fetched by then is
    asked for with the address that the next ingest brings.
    """
    known = index.files.get(name)
    if not _may_hold_addresses(name) or (known and known[0] == Seen.of(path)):
        return path, _known(index, name, path)
    seen = Seen.of(path)
    copy = without_signatures(path, scratch / name.replace("/", "-"))
    if Seen.of(path) != seen:
        raise ChangedFileError(f"{path} changed while it was copied")
    if copy is None:
        return path, _known(index, name, path)
    return copy, (seen, Stored(sha256_of(copy), copy.stat().st_size))


def _may_hold_addresses(name: str) -> bool:
    top, _, rest = name.partition("/")
    return name.endswith(".parquet") and (
        (top == "tables" and rest.removesuffix(".parquet") in ADDRESSES)
        or (top == "pictures" and PurePosixPath(name).name.startswith("ledger-"))
    )


def state(home: Path, store: Store) -> tuple[Index, Snapshot]:
    """What the home and the store know of each other, for showing."""
    return Index.of(home, store.address), store.latest()
