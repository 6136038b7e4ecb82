"""Search a whole home for damaged files: `python -m pipeline.check`.

Read every file once and verify it: pages of Parquet files by their checksums, models and registered versions by their
digests, bank, features and garments by checksums of their rows. Report what each damaged file is and how to restore it.
Nothing is changed. Writing digests belongs in `core/digests.py`.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console

from pipeline.core import digests
from pipeline.core import parquet as pq
from pipeline.core.column_digests import KEY, expect_digests
from pipeline.core.errors import InputError
from pipeline.core.images.ledger import LEDGER_MEND
from pipeline.core.quoting import printable
from pipeline.home import environment
from pipeline.home.storage import MANIFEST, ModelFolder, Storage
from pipeline.runtime import exits as command
from pipeline.runtime.progress import terminal

WHOLE, DAMAGED, UNKNOWN = "whole", "damaged", "no digest recorded"
MODELS = ("recommender", "baselines", "generator")
Read = Callable[[int], None]  # called with the number of bytes read


@dataclass(frozen=True)
class Finding:
    """The result for one file."""

    path: str  # relative to the home; absolute for files of registered versions outside it
    what: str  # kind of file, in words
    state: str  # WHOLE, DAMAGED or UNKNOWN
    problem: str = ""
    mend: str = ""  # what to do


def verify(home: Path, artifacts: Path | None = None, read: Read = lambda _: None) -> Iterator[Finding]:
    """Read every verifiable file of a home, and yield one finding per file."""
    storage = Storage(root=str(home))
    yield from _parquet(home, read)
    for kind in MODELS:
        for manifest in sorted((home / kind).rglob(MANIFEST)):
            yield from _model(home, ModelFolder(manifest.parent.parent, manifest.parent.name), kind, read)
    arrays = {
        "bank of decoded pictures": (storage.bank, f"delete {storage.bank} and materialise image_bank"),
        "frozen features": (home / "features", "delete it and materialise image_features"),
        "pictures of garments": (storage.garments, "delete it and materialise garments"),
    }
    for what, (folder, mend) in arrays.items():
        for path in sorted(folder.glob("*.npy")):
            yield _array(home, path, what, mend, read)
    for listed in sorted(artifacts.rglob(digests.LIST)) if artifacts is not None and artifacts.is_dir() else ():
        yield from _version(home, listed, read)


def size_of(home: Path, artifacts: Path | None) -> int:
    """Estimate how many bytes `verify` will read."""
    found = [*home.rglob("*.parquet"), *home.rglob("*.npy"), *home.rglob("*.pt"), *home.rglob("*.npz")]
    if artifacts is not None and artifacts.is_dir() and home not in artifacts.parents:
        found += [path for listed in artifacts.rglob(digests.LIST) for path in listed.parent.rglob("*")]
    return sum(path.stat().st_size for path in found if path.is_file())


def _parquet(home: Path, read: Read) -> Iterator[Finding]:
    for path in sorted(home.rglob("*.parquet")):
        what, mend = _describe(path.relative_to(home))
        try:
            with pq.named(path), pq.ParquetFile(path) as file:
                digested = KEY in (file.schema_arrow.metadata or {})
                for batch in file.iter_batches(use_threads=False):
                    batch.validate(full=True)
                if digested:
                    expect_digests(path, file.read(), mend)
            yield Finding(_shown(home, path), what, WHOLE)
        except Exception as error:  # damaged bytes may raise anything in the reader
            yield Finding(_shown(home, path), what, DAMAGED, printable(error), mend)
        read(path.stat().st_size)


def _describe(path: Path) -> tuple[str, str]:
    """Return what a Parquet file is, from its path relative to the home, and what to do if it is damaged."""
    folder, name = path.parts[0], path.stem
    if folder == "tables":
        asset, mode = (path.parts[1], f" for {name}") if len(path.parts) > 2 else (name, "")
        return f"table {asset}{mode}", f"materialise {asset}{mode} again"
    if folder == "pictures" and name.startswith("pictures"):
        return "shard of pictures", "delete it and materialise image_ledger: its pictures are fetched again"
    return {
        "parts": ("rows read from a raw file", "delete it: the next ingest reads that file again"),
        "pictures": ("part of the ledger", LEDGER_MEND),
        "bank": ("index of the bank", "delete the folder bank and materialise image_bank"),
        **{kind: (f"table beside a {kind}", "delete its folder, and materialise its asset again") for kind in MODELS},
    }.get(folder, ("table", "delete it, and repeat the command that wrote it"))


def _model(home: Path, folder: ModelFolder, kind: str, read: Read) -> Iterator[Finding]:
    try:
        recorded, mend = folder.manifest().get("files"), folder.how_to_repair
    except (ValueError, KeyError, OSError) as error:
        place = folder.path / MANIFEST
        yield Finding(_shown(home, place), f"manifest of a {kind}", DAMAGED, printable(error), f"delete {folder.path}")
        return
    if recorded is None:
        yield Finding(_shown(home, folder.path), f"{kind} of an earlier version", UNKNOWN)
    for name, digest in (recorded or {}).items():
        yield _file(home, folder.path / name, digest, f"{kind}'s {Path(name).name}", mend, read)


def _version(home: Path, listed: Path, read: Read) -> Iterator[Finding]:
    mend = "bring it back from a copy, or give the alias champion to another version and materialise the model again"
    try:
        recorded = json.loads(listed.read_text())
    except ValueError as error:
        yield Finding(_shown(home, listed), "digests of a registered version", DAMAGED, printable(error), mend)
        return
    for name, digest in recorded.items():
        yield _file(home, listed.parent / name, digest, "file of a registered version", mend, read)


def _file(home: Path, path: Path, digest: str, what: str, mend: str, read: Read) -> Finding:
    if not path.is_file():
        return Finding(_shown(home, path), what, DAMAGED, "it is missing", mend)
    found = digests.sha256(path)
    read(path.stat().st_size)
    if found == digest:
        return Finding(_shown(home, path), what, WHOLE)
    return Finding(_shown(home, path), what, DAMAGED, f"sha256 {found[:12]}, {digest[:12]} was written", mend)


def _array(home: Path, path: Path, what: str, mend: str, read: Read) -> Finding:
    try:
        rows = np.load(path, mmap_mode="r")
        bad = digests.damaged_rows(path, rows, None, read)
    except (ValueError, EOFError, OSError) as error:
        return Finding(_shown(home, path), what, DAMAGED, printable(error), mend)
    if bad is None:
        return Finding(_shown(home, path), what, UNKNOWN)
    if bad:
        problem = f"{len(bad)} of {len(rows):,} rows: {', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''}"
        return Finding(_shown(home, path), what, DAMAGED, problem, mend)
    return Finding(_shown(home, path), what, WHOLE)


def _shown(home: Path, path: Path) -> str:
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.check",
        description="Read every file of the home (ATELIER_HOME), list the damaged ones and say how to restore them. "
        "Changes nothing.",
        epilog="exit codes: 0 nothing is damaged; 1 something is; 2 the call is wrong",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()
    return command.ended(lambda: _main(options, console), Console(stderr=True) if options.json else console)


def _main(options: argparse.Namespace, console: Console) -> int:
    home = environment.home()
    if not home.is_dir() or not any(home.iterdir()):
        raise InputError(f"{home} is no home: it is missing or empty. Name another in ATELIER_HOME.")
    root = environment.artifact_root(home)
    artifacts = Path(urlsplit(root).path) if urlsplit(root).scheme in ("", "file") else None
    total, done = size_of(home, artifacts), 0
    if not options.json:
        terminal.open(console)
    try:
        bar = terminal.reporter("reading (MB)")

        def read(count: int) -> None:
            nonlocal done
            done += count
            if bar is not None:
                bar(done >> 20, max(total, done) >> 20, "")

        findings = list(verify(home, artifacts, read))
    finally:
        terminal.close()
    states = {state: sum(found.state == state for found in findings) for state in (WHOLE, DAMAGED, UNKNOWN)}
    if options.json:
        bad = [asdict(found) for found in findings if found.state != WHOLE]
        print(json.dumps({"home": str(home), "files": states, "findings": bad}, indent=2))
    else:
        say = partial(console.print, highlight=False, markup=False, soft_wrap=True)
        for found in findings:
            if found.state == DAMAGED:
                say(f"damaged: {found.path} ({found.what}): {found.problem}. {found.mend}.")
            elif found.state == UNKNOWN:
                say(f"no digest recorded: {found.path} ({found.what})")
        if artifacts is None:
            say(f"not checked: registered versions in {urlsplit(root).scheme} storage")
        say(", ".join(f"{count:,} {state}" for state, count in states.items()))
    return command.FAILED if states[DAMAGED] else command.DONE
