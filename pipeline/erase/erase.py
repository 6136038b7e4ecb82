"""`python -m pipeline.erase`: a reviewer, a product or a picture's URL leaves the home, and stays out.

At once: the picture store, the bank, the page, copies of remote inputs, the texts of Dagster's and MLflow's databases,
and what MLflow keeps of models that learnt from it; those models are marked. With the next run: the tables, which are
made again without it, and the marked models, which are trained again and then removed. Raw files outside the home are
their owner's; what they still hold is not read. The list of what was erased holds digests alone (`core/erasure.py`).
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipeline.core import parquet as pq
from pipeline.core import signatures
from pipeline.core.durable import sole_writer, write_whole
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.images.forget import forget
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.store_shards import absorb
from pipeline.core.raw.copies import rewrite_copies
from pipeline.core.raw.framing import codec_of
from pipeline.core.raw.sources import named
from pipeline.erase import traces
from pipeline.erase.rewrite import UnreadableFileError, Wanted, rewrite
from pipeline.erase.scrub import databases, scrub, scrub_logs
from pipeline.home import at_work, environment, instance
from pipeline.home.io_managers import SCHEMAS
from pipeline.home.storage import ModelFolder, Storage
from pipeline.mirror.store import Store
from pipeline.mirror.sync import push
from pipeline.recommenders.warm_start import TRAINED_ON
from pipeline.runtime.exits import DONE, EXIT_CODES, FAILED, ended, leave
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep import tracked_ends
from pipeline.upkeep.recovery import UNFINISHED

# Their MLflow runs show pictures of products, and which ones cannot be told from the files.
SHOW_PICTURES = ("generated_garments", "restyled_products")
MODELS = ("recommender", "baselines", "generator")


@dataclass(frozen=True)
class Reach:
    """What goes with a name: its URLs, its numbers and, once the store has said so, its pictures."""

    kind: str
    name: str
    urls: frozenset[str]  # that nothing else refers to
    users: frozenset[int] = frozenset()
    items: frozenset[int] = frozenset()
    shown: frozenset[int] = frozenset()  # items that one of the URLs is a picture of
    pictures: frozenset[str] = field(default=frozenset(), compare=False)  # sha256

    @property
    def names(self) -> list[str]:
        """All texts to look for."""
        return [self.name, *sorted(self.urls)]


def reach(tables: Path, kind: str, name: str) -> Reach:
    """What the home's tables say goes with a name."""
    if kind == "url":
        urls = _table(tables, "image_urls", ["item", "url"])
        hit = urls.filter(pc.equal(signatures.keys(urls["url"]), signatures.key(name)))
        # However the picture's address was signed, it is one picture's.
        return Reach(
            kind, name, frozenset(hit["url"].to_pylist()) - {name}, shown=frozenset(hit["item"].drop_null().to_pylist())
        )
    column = {"reviewer": "reviewer_id", "asin": "asin"}[kind]
    theirs, others = set(), set()
    for table, columns in (("reviews", ["image_urls"]), ("products", ["vendor_urls", "vendor_urls_high"])):
        rows = _table(tables, table, ["asin", *(["reviewer_id"] if table == "reviews" else []), *columns])
        if column not in rows.column_names:
            hit = pa.array(np.zeros(rows.num_rows, bool))
        else:
            hit = pc.equal(rows[column], name)
        for part, into in ((rows.filter(hit), theirs), (rows.filter(pc.invert(hit)), others)):
            for each in columns:
                into.update(pc.unique(pc.list_flatten(part[each])).to_pylist())
    numbers = {"reviewer": ("users", "user"), "asin": ("items", "item")}[kind]
    named = _table(tables, numbers[0], [numbers[1], column])
    found = frozenset(named.filter(pc.equal(named[column], name))[numbers[1]].to_pylist())
    elsewhere = {signatures.key(url) for url in others}  # however it is signed there
    urls = frozenset(url for url in theirs if signatures.key(url) not in elsewhere)
    wanted = _table(tables, "image_urls", ["item", "url"])
    of_theirs = signatures.keys(pa.array(sorted(urls), pa.string()))
    shown = wanted.filter(pc.is_in(signatures.keys(wanted["url"]), value_set=of_theirs))
    items = frozenset(shown["item"].drop_null().to_pylist())
    return Reach(kind, name, urls, *((found, frozenset()) if kind == "reviewer" else (frozenset(), found)), shown=items)


def _table(tables: Path, name: str, columns: list[str]) -> pa.Table:
    path = tables / f"{name}.parquet"
    if not path.is_file():
        schema = pa.schema([SCHEMAS[name].field(column) for column in columns])
        return schema.empty_table()
    return pq.read_table(path, columns=columns)


def erase(home: Path, kind: str, name: str, tracker: Tracker) -> Iterator[str]:
    """Erase, and say step by step what was done. Cut off, the same call does the rest. The caller keeps ingest out.

    Raises:
        InputError: a run is under way in the home.
    """
    storage = Storage(root=str(home))
    with instance.open_instance(home) as opened:
        under_way = opened.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
        if under_way:
            raise InputError(
                f"{len(under_way)} run(s) are under way in {home}: let them end, or stop them, and erase then "
                "(the next `make ui` or run closes those whose process is gone)."
            )
    found = reach(storage.tables, kind, name)
    erased = Erasures.of(home).with_more(kind, name, found.urls)
    erased.write(home)  # first: from here on nothing reads it in again
    yield f"recorded; {len(found.urls)} URLs go with it"
    # By the list, not by what the tables say: a call that was cut off before a run still finds its URLs.
    if storage.pictures.is_dir():
        absorb(PictureStore(storage.pictures))  # an earlier version's killed fetch may have left some there
    pictures = forget(storage.pictures, lambda urls: erased.mask("url", urls))
    yield f"picture store: {len(pictures)} pictures gone"
    found = dataclasses.replace(found, pictures=frozenset(pictures))
    if pictures:
        for folder in (storage.bank, home / "features", storage.garments):
            shutil.rmtree(folder, ignore_errors=True)
        yield "bank, features and the generator's pictures: removed, the next run decodes what is left"
    shutil.rmtree(storage.reports, ignore_errors=True)
    yield "lookbook: removed, the next run makes it again"
    for path in storage.staged.glob("*.parquet"):  # what the last ingest left; the caller holds the folder
        path.unlink()
    shutil.rmtree(storage.five_core_scratch, ignore_errors=True)
    shutil.rmtree(storage.parts, ignore_errors=True)
    yield "what raw files came to: removed, the next ingest reads them anew"
    yield from _rewrite_inputs(home, Wanted(kind, name, found.urls))
    marked = list(_mark(storage, found, erased.digest_of(kind, name)))
    yield f"models that learnt from it: {len(marked)} marked until they are trained again"
    withdrawn = tracked_ends.withdraw(
        tracker, {str(folder) for folder in marked}, home, SHOW_PICTURES if pictures else ()
    )
    yield f"MLflow: {withdrawn} of their runs and versions withdrawn, with their files"
    studies = _drop_studies(home, found)
    yield f"studies: {studies} that trained on it removed"
    changed = sum(
        scrub(address, found.names, pictures=bool(pictures))
        for address in databases(home, environment.database(), tracker.uri)
    )
    logs = scrub_logs(home, found.names)
    yield f"what the two UIs show: {changed} texts and {logs} logs changed"


def _rewrite_inputs(home: Path, wanted: Wanted) -> Iterator[str]:
    """Take what has to go out of the copies of remote inputs, and out of raw files that lie in the home."""

    def write(path: Path, out: Path) -> int | None:
        try:
            return rewrite(path, out, wanted)
        except UnreadableFileError:
            # Nobody can read a compressed file that is damaged; a text that is not JSON may name nobody.
            packed = path.read_bytes()[:4]
            return None if codec_of(packed) or traces.holds(path, [wanted.name, *wanted.urls]) else 0

    done = rewrite_copies(home / "inputs", write)
    yield f"copies of remote inputs: {done.gone} objects removed or changed"
    for path in done.again:
        yield f"{path.relative_to(home)}: cannot be parsed; removed, the next run fetches it again"
    for path, why in done.failed:
        yield f"{path.relative_to(home)}: cannot be rewritten ({why})"
    for path in (path.resolve() for path in _local_inputs()):
        if path.is_relative_to(home):
            try:
                if gone := write(path, Path(os.devnull)):
                    write_whole(path, lambda temporary, path=path: write(path, temporary))
                    yield f"{path.relative_to(home)}: {gone} objects removed or changed"
            except OSError as error:
                yield f"{path.relative_to(home)}: cannot be rewritten ({error.strerror or error})"


def _local_inputs() -> list[Path]:
    """The raw files that the environment names and that are no URLs; those that are gone are none."""
    found = []
    for spec in filter(None, (environment.reviews(), environment.products())):
        with contextlib.suppress(InputError):
            found += [entry for entry in named(spec) if isinstance(entry, Path)]
    return found


def _mark(storage: Storage, found: Reach, digest: str) -> Iterator[Path]:
    """Mark every model that learnt from it."""
    garments = _table(storage.tables, "garments", ["asin", "sha256"])
    drawn = pc.any(pc.is_in(garments["sha256"], value_set=pa.array(sorted(found.pictures), pa.string()))).as_py()
    of_product = found.kind == "asin" and pc.any(pc.equal(garments["asin"], found.name)).as_py()
    for kind in MODELS:
        for folder in sorted((storage.home / kind).glob("*/*" if kind != "generator" else "*")):
            if not folder.is_dir():
                continue
            learnt = (drawn or of_product) if kind == "generator" else _learnt(folder, found)
            if learnt:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                ModelFolder(folder.parent, folder.name).mark(erased=digest, at=now)
                yield folder


def _learnt(folder: Path, found: Reach) -> bool:
    """Whether a recommender's folder has the user, the item or one of the pictures in the tables beside it."""
    for path in (*folder.rglob("splits.parquet"), *folder.rglob(TRAINED_ON)):
        table = pq.read_table(path, columns=["user", "item"])
        if _among(table["user"], found.users) or _among(table["item"], found.items):
            return True
    for path in folder.rglob("catalogue.parquet"):
        table = pq.read_table(path, columns=["sha256", "user"])
        if pc.any(pc.is_in(table["sha256"], value_set=pa.array(sorted(found.pictures), pa.string()))).as_py():
            return True
    return False


def _among(column: pa.ChunkedArray, numbers: frozenset[int]) -> bool:
    return bool(pc.any(pc.is_in(column, value_set=pa.array(sorted(numbers), pa.int32()))).as_py())


def _drop_studies(home: Path, found: Reach) -> int:
    """Remove the studies of which a model has the user or the item; a study can be made again, not mended."""
    dropped = 0
    for study in sorted(path for path in (home / "studies").glob("*") if path.is_dir()):
        for factors in study.rglob("factors.npz"):
            with np.load(factors) as arrays:
                users, items = set(arrays["users"].tolist()), set(arrays["items"].tolist())
            if users & found.users or items & (found.items | found.shown):
                shutil.rmtree(study)
                dropped += 1
                break
    return dropped


def left(home: Path, names: list[str]) -> tuple[list[Path], list[Path]]:
    """Files under the home that still hold one of the names: those that the next run makes again, and the others."""
    found = traces.find(home, names)
    again = [path for path in found if path.parts[0] in ("tables", *MODELS)]
    return again, [path for path in found if path not in again]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.erase",
        description="Erase a reviewer, a product or a picture's URL from the home (ATELIER_HOME), and keep it out of "
        "every later run. Then run the pipeline once, and call this again: it says where any trace is left.",
        epilog=f"{EXIT_CODES}  here 0: nothing is left, or only what the next run makes again; 1: something else is",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--reviewer", metavar="ID", help="with all reviews and photos of theirs")
    which.add_argument("--asin", metavar="ASIN", help="with its pictures, its reviews and their photos")
    which.add_argument("--url", metavar="URL", help="one picture")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    options, console = arguments(argv), Console()
    kind, name = next((kind, name) for kind, name in vars(options).items() if name)

    def work() -> int:
        home = environment.writable_home()
        tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
        urls = reach(home / "tables", kind, name).urls
        with at_work.at_work(home), sole_writer(home / "staged"):  # no run, and no ingest meanwhile
            for told in erase(home, kind, name, tracker):
                console.print(told, highlight=False, markup=False)
        if environment.store():
            push(home, store := Store(environment.store()), grace=0)
            console.print(f"{store.address}: in step, and nothing before it is kept", highlight=False)
        again, others = left(home, [name, *urls])
        for path in (path.resolve() for path in _local_inputs()):
            if not path.is_relative_to(home) and traces.holds(path, [name]):
                console.print(f"yours, read without it and not changed: {path}", highlight=False, markup=False)
        for path in again:
            console.print(f"until the next run: {path}", highlight=False, markup=False)
        for path in others:
            console.print(f"left: {path}", highlight=False, markup=False)
        if not again and not others:
            console.print("no trace is left under the home", highlight=False)
        elif not others:
            console.print("Run the pipeline now (python -m pipeline.run, or in the UI), then call this again to see.")
        return FAILED if others else DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
