"""Synchronise a home with its store: `push` what is new here, `pull` what is new there.

A home records in `store.json` the snapshot it was last synchronised with, and each file's digest, size and time, so
that a push reads only what changed. If another machine pushed first, a push fails and both sides keep their files.
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
from pipeline.mirror.store import GRACE, ChangedFileError, FileStat, OutrunError, Snapshot, Store, StoredFile, sha256_of

INDEX = "store.json"
# Not copied: databases, which ATELIER_DATABASE, MLFLOW_TRACKING_URI and ATELIER_ARTIFACTS put elsewhere; what a run
# makes again in minutes (decoded pictures, the sample's catalogue, copies of remote inputs, raw files' parts); scratch.
LEFT_OUT = frozenset(
    {"dagster", "mlflow", "bank", "catalogue", "inputs", "parts", "staged", "cache", INDEX}
    | {place.RECORD, place.LOCK, command_lock.LOCK}  # where this home lies, which command runs in it
)
TABLES_WITH_URLS = frozenset({"reviews", "products", "rejects", "image_urls", "image_ledger"})
_CONCURRENT_COPIES = 8  # files at once: a lookbook is hundreds of small ones
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class SyncResult:
    """What a push or a pull copied and removed."""

    snapshot: int
    files: int  # copied
    bytes: int  # copied
    removed: int  # files of the home (pull) or objects of the store (push)

    def __str__(self) -> str:
        return f"{self.files} files, {self.bytes / 1e6:.1f} MB, snapshot {self.snapshot}"


@dataclass
class Index:
    """The snapshot a home was last synchronised with, and the digest of each file with the file's identity."""

    address: str
    snapshot: int = 0
    files: dict[str, tuple[FileStat, StoredFile]] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Path, address: str) -> "Index":
        """Read the home's index; return an empty one if it is missing or belongs to another store."""
        try:
            content = json.loads((home / INDEX).read_text())
        except FileNotFoundError:
            return cls(address)
        if redacted(content["address"]) != address:  # an earlier version kept the whole
            return cls(address)
        files = {name: (FileStat(**stat), StoredFile(**stored)) for name, (stat, stored) in content["files"].items()}
        return cls(address, content["snapshot"], files)

    def write(self, home: Path) -> None:
        """Write the index to the home."""
        files = {name: [asdict(stat), asdict(stored)] for name, (stat, stored) in sorted(self.files.items())}
        content = json.dumps({"address": self.address, "snapshot": self.snapshot, "files": files})
        write_whole(home / INDEX, lambda path: path.write_text(content))


def push(home: Path, store: Store, grace: float = GRACE) -> SyncResult | None:
    """Copy what is new in the home to the store; return None if nothing changed.

    `grace`: seconds that an unreferenced object stays in the store; 0 after an erasure.

    Raises:
        OutrunError: another machine pushed since this home was last synchronised.
        ChangedFileError: a file was replaced while it was copied. The store has no new snapshot; push again.
        BlockingIOError: another push or pull of this home is running.
    """
    with sole_writer(home / "staged" / "store"):
        index, latest = Index.of(home, store.address), store.latest()
        if latest.number > index.snapshot and latest.files:
            raise OutrunError(latest.number, store.address)
        with tempfile.TemporaryDirectory(dir=home / "staged" / "store") as scratch:
            sources, files = dict[str, Path](), dict[str, tuple[FileStat, StoredFile]]()
            for name, path in _sources(home, Path(scratch)):
                sources[name], files[name] = _without_secrets(index, name, path, Path(scratch))
            fresh = {name: stored for name, (_, stored) in files.items() if latest.files.get(name) != stored}
            if not fresh and files.keys() == latest.files.keys():
                if not grace:
                    store.prune(latest, grace)
                return None

            sizes = {digest: size for digest, (size, _) in store.objects().items()}
            # Equal files are one object, and objects of an earlier interrupted push are not copied again.
            missing = {stored.sha256: name for name, stored in fresh.items() if sizes.get(stored.sha256) != stored.size}

            def copy(name: str) -> int:
                source = sources[name]
                is_scratch = source != home / name  # a copy of a database or of a table without secrets
                store.put(source, files[name][1], FileStat.of(source) if is_scratch else files[name][0])
                return files[name][1].size

            with ThreadPoolExecutor(_CONCURRENT_COPIES) as pool:
                copied = list(pool.map(copy, missing.values()))
        made = store.write(latest, {name: stored for name, (_, stored) in files.items()})
        Index(store.address, made.number, files).write(home)
        return SyncResult(made.number, len(copied), sum(copied), store.prune(made, grace))


def pull(home: Path, store: Store, over: bool = False) -> SyncResult | None:
    """Copy what is new in the store to the home; return None if nothing is. The next pull completes an interrupted one.

    `over`: overwrite files that changed in the home since it was last synchronised.

    Raises:
        InputError: files changed both in the home and in the store since then; nothing was copied.
        RuntimeError: an object of the store is damaged.
        BlockingIOError: another push or pull of this home is running.
    """
    with sole_writer(home / "staged" / "store"):
        index, latest = Index.of(home, store.address), store.latest()
        if latest.number == index.snapshot and all((home / name).exists() for name in latest.files):
            return None
        with tempfile.TemporaryDirectory(dir=home / "staged" / "store") as scratch:
            local = {
                name: _without_secrets(index, name, path, Path(scratch))[1]
                for name, path in _sources(home, Path(scratch))
            }
        wanted = {name: s for name, s in latest.files.items() if name not in local or local[name][1] != s}
        for name in wanted:
            _check(name)
        gone = [name for name in index.files if name in local and name not in latest.files]
        conflicts = [n for n in (*wanted, *gone) if n in local and index.files.get(n, (None, None))[1] != local[n][1]]
        if conflicts and not over:
            shown = ", ".join(sorted(conflicts)[:5]) + (", ..." if len(conflicts) > 5 else "")
            raise InputError(
                f"{len(conflicts)} files in {home} differ from {store.address} and were changed here: {shown}. To keep "
                "them, set ATELIER_STORE to another address. To take the store's, run python -m pipeline.mirror pull "
                "--over."
            )
        for names in _data_before_pointers(wanted):
            with ThreadPoolExecutor(_CONCURRENT_COPIES) as pool:
                list(pool.map(lambda name: store.get(wanted[name], home / name), names))
        for name in gone:
            (home / name).unlink()
        files = {name: (FileStat.of(home / name), stored) for name, stored in latest.files.items()}
        Index(store.address, latest.number, files).write(home)
        return SyncResult(latest.number, len(wanted), sum(s.size for s in wanted.values()), len(gone))


def _data_before_pointers(names: dict[str, StoredFile]) -> Iterator[list[str]]:
    """Group the files in copying order, so that an interrupted pull leaves no pointer to a missing file."""
    pointer_names = ("current*.json", "champion*.json", "summary.json", "manifest.json")
    pointers = {name for name in names if any(PurePosixPath(name).match(pattern) for pattern in pointer_names)}
    ledgers = {name for name in names if PurePosixPath(name).name.startswith("ledger-")}
    for group in (names.keys() - pointers - ledgers, ledgers, pointers):
        yield sorted(group)


def _check(name: str) -> None:
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts or parts[0] in LEFT_OUT or "\\" in name:
        raise InputError(f"the store lists the file {name!r}, which no home has: it is not an Atelier store.")


def _sources(home: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Yield the home's files, pointers first: each file's name and the path to read it from.

    Writers write a pointer after the file that it names. Listing in the reverse order finds every file a pointer names.
    """
    found = [path for top in sorted(home.iterdir()) if top.name not in LEFT_OUT for path in _files(top)]
    for path in sorted(found, key=lambda path: (path.suffix != ".json", not path.name.startswith("ledger-"), path)):
        name = path.relative_to(home).as_posix()
        with contextlib.suppress(FileNotFoundError):  # the file was just replaced or removed
            with path.open("rb") as opened:
                is_database = opened.read(len(_SQLITE)) == _SQLITE
            yield name, _copy_database(path, scratch / name.replace("/", "-")) if is_database else path


def _files(top: Path) -> Generator[Path]:
    """Yield the files to copy below `top`, without those of another home (the demo's in `var/demo`)."""
    found = sorted(top.rglob("*")) if top.is_dir() else [top]
    homes = {path.parent for path in found if path.name == place.RECORD}
    for path in found:
        if not homes.isdisjoint(path.parents):
            continue
        if path.is_file() and not path.is_symlink() and path.name != "lock" and path.suffix != TEMPORARY_SUFFIX:
            yield path


def _copy_database(path: Path, copy: Path) -> Path:
    """Make a consistent copy of a SQLite file that may be in use."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def _digest_of(index: Index, name: str, path: Path) -> tuple[FileStat, StoredFile]:
    """Return a file's digest: from the index if the file has not changed since, else from its content."""
    try:
        stat = FileStat.of(path)
        known = index.files.get(name)
        if known and known[0] == stat:
            return known
        return stat, StoredFile(sha256_of(path), stat.size)
    except FileNotFoundError as error:
        raise ChangedFileError(f"{path} was removed while it was read") from error


def _without_secrets(index: Index, name: str, path: Path, scratch: Path) -> tuple[Path, tuple[FileStat, StoredFile]]:
    """Return the path to read a file from, and its digest; a table with signed URLs is read from a stripped copy.

    A store may have more readers than the home. Signatures expire within days, so a picture that is not fetched by then
    needs the URL of the next ingest anyway.
    """
    known = index.files.get(name)
    if not _may_hold_urls(name) or (known and known[0] == FileStat.of(path)):
        return path, _digest_of(index, name, path)
    stat = FileStat.of(path)
    copy = without_signatures(path, scratch / name.replace("/", "-"))
    if FileStat.of(path) != stat:
        raise ChangedFileError(f"{path} changed while it was copied")
    if copy is None:
        return path, _digest_of(index, name, path)
    return copy, (stat, StoredFile(sha256_of(copy), copy.stat().st_size))


def _may_hold_urls(name: str) -> bool:
    top, _, rest = name.partition("/")
    return name.endswith(".parquet") and (
        (top == "tables" and rest.removesuffix(".parquet") in TABLES_WITH_URLS)
        or (top == "pictures" and PurePosixPath(name).name.startswith("ledger-"))
    )


def state(home: Path, store: Store) -> tuple[Index, Snapshot]:
    """Read the home's index and the store's latest snapshot."""
    return Index.of(home, store.address), store.latest()
