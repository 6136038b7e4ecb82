"""`python -m pipeline.erase`: remove a reviewer, a product or a picture's URL from the home, and keep it out.

It erases at once from the picture store, the bank, the lookbook, copies of remote inputs, the texts of Dagster's and
MLflow's databases, and MLflow's artifacts of models trained on it; it marks those models. The next run makes the tables
again without it, trains the marked models again and then removes them. Raw files outside the home are not changed, but
later runs skip the erased rows in them. The list of erasures holds only digests (`core/erasure.py`).
"""

import argparse
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
from pipeline.core.durable import make_private, sole_writer, write_whole
from pipeline.core.erasure import Erasures
from pipeline.core.errors import InputError
from pipeline.core.images.forget import forget
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.store_shards import absorb
from pipeline.core.local_address import is_local, local_place
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import is_copy, rewrite_copies
from pipeline.core.raw.framing import codec_of
from pipeline.erase import raw_files, traces
from pipeline.erase.redact import databases, redact, redact_logs
from pipeline.erase.rewrite import Removal, UnreadableFileError, is_rewritable, rewrite
from pipeline.home import command_lock, environment, instance
from pipeline.home.io_managers import SCHEMAS
from pipeline.home.storage import ModelFolder, Storage
from pipeline.mirror.store import Store
from pipeline.mirror.sync import push
from pipeline.recommenders.warm_start import TRAINED_ON
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, FAILED, ended, leave
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep import mlflow_records
from pipeline.upkeep.recovery import UNFINISHED

# Assets whose MLflow runs show pictures of products; their files do not tell which products.
SHOW_PICTURES = ("generated_garments", "restyled_products")
MODELS = ("recommender", "baselines", "generator")


@dataclass(frozen=True)
class ErasureScope:
    """Everything that is erased with a name. `pictures` is filled in once the picture store has removed them."""

    kind: str
    name: str
    urls: frozenset[str]  # that no other row refers to
    users: frozenset[int] = frozenset()
    items: frozenset[int] = frozenset()
    shown: frozenset[int] = frozenset()  # items that the pictures at the URLs show
    pictures: frozenset[str] = field(default=frozenset(), compare=False)  # sha256

    @property
    def names(self) -> list[str]:
        """All texts to search for: pictures in files also by their paths."""
        places = [local_place(address) for address in (self.name, *sorted(self.urls)) if is_local(address)]
        paths = ["/".join(filter(None, place)) for place in places if place]
        return [self.name, *sorted(self.urls), *paths]


def find_scope(tables: Path, kind: str, name: str) -> ErasureScope:
    """Find in the home's tables what must be erased with a name."""
    if kind == "url":
        urls = _table(tables, "image_urls", ["item", "url"])
        hit = urls.filter(pc.equal(signatures.keys(urls["url"]), signatures.key(name)))
        # One picture may have URLs with different signatures.
        return ErasureScope(
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
    elsewhere = {signatures.key(url) for url in others}  # without signatures
    urls = frozenset(url for url in theirs if signatures.key(url) not in elsewhere)
    image_urls = _table(tables, "image_urls", ["item", "url"])
    keys = signatures.keys(pa.array(sorted(urls), pa.string()))
    shown = image_urls.filter(pc.is_in(signatures.keys(image_urls["url"]), value_set=keys))
    items = frozenset(shown["item"].drop_null().to_pylist())
    users_and_items = (found, frozenset()) if kind == "reviewer" else (frozenset(), found)
    return ErasureScope(kind, name, urls, *users_and_items, shown=items)


def is_known(home: Path, kind: str, name: str) -> bool:
    """Return whether a table of the home has the name, or it was erased before."""
    places = {
        "reviewer": {"reviews": "reviewer_id", "users": "reviewer_id", "customers": "reviewer_id"},
        "asin": {"reviews": "asin", "products": "asin", "items": "asin"},
        "url": {"image_urls": "url", "image_ledger": "url"},
    }[kind]
    if Erasures.of(home).holds(kind, name):
        return True
    wanted = signatures.key(name) if kind == "url" else name
    for table, column in places.items():
        found = _table(home / "tables", table, [column])[column]
        if pc.any(pc.equal(signatures.keys(found) if kind == "url" else found, wanted)).as_py():
            return True
    return False


def _table(tables: Path, name: str, columns: list[str]) -> pa.Table:
    path = tables / f"{name}.parquet"
    if not path.is_file():
        schema = pa.schema([SCHEMAS[name].field(column) for column in columns])
        return schema.empty_table()
    return pq.read_table(path, columns=columns)


def erase(home: Path, kind: str, name: str, tracker: Tracker) -> Iterator[str]:
    """Erase a name and yield a message for each step. Repeat the call after an interruption. The caller locks the home.

    Raises:
        InputError: a run is in progress in the home.
    """
    storage = Storage(root=str(home))
    with instance.open_instance(home) as opened:
        unfinished = opened.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
        if unfinished:
            raise InputError(
                f"{len(unfinished)} run(s) are in progress in {home}: wait for them or stop them, then erase again "
                "(the next `make ui` or run closes those whose process is gone)."
            )
    scope = find_scope(storage.tables, kind, name)
    erased = Erasures.of(home).with_more(kind, name, scope.urls)
    erased.write(home)  # first, so that no ingest reads it in again
    yield f"recorded, with {len(scope.urls)} URLs"
    # Pictures are found by the list, not by the tables, so that a repeated call still finds its URLs after a run.
    if storage.pictures.is_dir():
        absorb(PictureStore(storage.pictures))  # an earlier version's killed fetch may have left some there
    pictures = forget(storage.pictures, lambda urls: erased.mask("url", urls))
    yield f"picture store: {len(pictures)} pictures removed"
    scope = dataclasses.replace(scope, pictures=frozenset(pictures))
    if pictures:
        for folder in (storage.bank, home / "features", storage.garments):
            shutil.rmtree(folder, ignore_errors=True)
        yield "bank, features and the generator's pictures: removed, the next run decodes the remaining pictures"
    shutil.rmtree(storage.reports, ignore_errors=True)
    yield "lookbook: removed, the next run makes it again"
    for path in storage.staged.glob("*.parquet"):  # of the last ingest; the caller holds the folder's lock
        path.unlink()
    shutil.rmtree(storage.five_core_scratch, ignore_errors=True)
    shutil.rmtree(storage.parts, ignore_errors=True)
    yield "parsed raw files: removed, the next ingest parses them again"
    yield f"customers: {_erase_customers(storage.tables, erased)} rows removed"
    yield from _rewrite_inputs(home, Removal(kind, name, scope.urls))
    marked = list(_mark(storage, scope, erased.digest_of(kind, name)))
    yield f"models trained on it: {len(marked)} marked until they are trained again"
    withdrawn = mlflow_records.withdraw(
        tracker, {str(folder) for folder in marked}, home, SHOW_PICTURES if pictures else ()
    )
    yield f"MLflow: {withdrawn} of their runs and versions withdrawn, with their files"
    studies = drop_studies(home, scope)
    yield f"studies: {studies} that trained on it removed"
    changed = sum(
        redact(address, scope.names, pictures=bool(pictures))
        for address in databases(home, environment.database(), tracker.uri)
    )
    logs = redact_logs(home, scope.names)
    yield f"Dagster's and MLflow's databases: {changed} texts changed; logs: {logs} changed"


def _erase_customers(tables: Path, erased: Erasures) -> int:
    """Remove erased persons from the table of customers; return their number.

    It is done at once, because a later run makes the table again only if customers are still named.
    """
    path = tables / "customers.parquet"
    if not path.is_file():
        return 0
    table = pq.read_table(path)
    kept = erased.from_customers(table)
    if len(kept) < len(table):
        write_whole(path, lambda temporary: pq.write_table(kept, str(make_private(temporary)), compression="zstd"))
    return len(table) - len(kept)


def _rewrite_inputs(home: Path, removal: Removal) -> Iterator[str]:
    """Remove what is erased from the copies of remote inputs, and from raw files in the home.

    Only JSON with Amazon's keys can be rewritten. Other copies are removed, and the next run fetches them again.
    """
    shop = raw_files.given_shop()

    def write(path: Path, out: Path) -> int | None:
        if is_copy(path) and not is_rewritable(path, shop):
            return None
        try:
            return rewrite(path, out, removal)
        except UnreadableFileError:
            # A damaged compressed file cannot be searched, so it is removed; a text is removed only if it has the name.
            head = path.read_bytes()[:4]
            return None if codec_of(head) or traces.holds(path, [removal.name, *removal.urls]) else 0

    done = rewrite_copies(home / "inputs", write)
    yield f"copies of remote inputs: {done.gone} objects removed or changed"
    for path in done.again:
        yield f"{path.relative_to(home)}: cannot be rewritten; removed, the next run fetches it again"
    for path, why in done.failed:
        yield f"{path.relative_to(home)}: cannot be rewritten ({why})"
    for path in (path.resolve() for paths in raw_files.local_inputs().values() for path in paths):
        if path.is_relative_to(home):
            if not is_rewritable(path, shop):
                yield f"{path.relative_to(home)}: not changed; take this name's rows out of it, later runs skip them"
                continue
            try:
                if gone := write(path, Path(os.devnull)):
                    write_whole(path, lambda temporary, path=path: write(path, temporary))
                    yield f"{path.relative_to(home)}: {gone} objects removed or changed"
            except OSError as error:
                yield f"{path.relative_to(home)}: cannot be rewritten ({error.strerror or error})"


def _mark(storage: Storage, scope: ErasureScope, digest: str) -> Iterator[Path]:
    """Mark every model that was trained on erased data, and yield its folder."""
    garments = _table(storage.tables, "garments", ["asin", "sha256"])
    has_picture = pc.any(pc.is_in(garments["sha256"], value_set=pa.array(sorted(scope.pictures), pa.string()))).as_py()
    has_product = scope.kind == "asin" and pc.any(pc.equal(garments["asin"], scope.name)).as_py()
    for kind in MODELS:
        for folder in sorted((storage.home / kind).glob("*/*" if kind != "generator" else "*")):
            if not folder.is_dir():
                continue
            trained = (has_picture or has_product) if kind == "generator" else _trained_on(folder, scope)
            if trained:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                ModelFolder(folder.parent, folder.name).mark(erased=digest, at=now)
                yield folder


def _trained_on(folder: Path, scope: ErasureScope) -> bool:
    """Return whether the tables in a recommender's folder have the user, the item or one of the pictures."""
    for path in (*folder.rglob("splits.parquet"), *folder.rglob(TRAINED_ON)):
        table = pq.read_table(path, columns=["user", "item"])
        if _has_any(table["user"], scope.users) or _has_any(table["item"], scope.items):
            return True
    for path in folder.rglob("catalogue.parquet"):
        table = pq.read_table(path, columns=["sha256", "user"])
        if pc.any(pc.is_in(table["sha256"], value_set=pa.array(sorted(scope.pictures), pa.string()))).as_py():
            return True
    return False


def _has_any(column: pa.ChunkedArray, numbers: frozenset[int]) -> bool:
    return bool(pc.any(pc.is_in(column, value_set=pa.array(sorted(numbers), pa.int32()))).as_py())


def drop_studies(home: Path, scope: ErasureScope) -> int:
    """Remove the studies with a model of the user or the item; return their number. A study must be run again whole."""
    dropped = 0
    for study in sorted(path for path in (home / "studies").glob("*") if path.is_dir()):
        for ids in (*study.rglob("factors.npz"), *study.rglob("ids.npz")):
            with np.load(ids) as arrays:
                users, items = set(arrays["users"].tolist()), set(arrays["items"].tolist())
            if users & scope.users or items & (scope.items | scope.shown):
                shutil.rmtree(study)
                dropped += 1
                break
    return dropped


def remaining(home: Path, names: list[str]) -> tuple[list[Path], list[Path]]:
    """List the files under the home that still hold a name: those that the next run makes again, and the others."""
    found = traces.find(home, names)
    again = [path for path in found if path.parts[0] in ("tables", *MODELS)]
    return again, [path for path in found if path not in again]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.erase",
        "Erase a reviewer, a product or a picture's URL from the home (ATELIER_HOME), and keep it out of every later\n"
        "run. Then run the pipeline once, and repeat this command: it lists the files with any remaining trace.",
        f"{EXIT_CODES}  here 0: nothing remains, or only what the next run makes again; 1: something else remains",
    )
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--reviewer", metavar="ID", help="a reviewer, with all their reviews and photos")
    kinds.add_argument("--asin", metavar="ASIN", help="a product, with its pictures, its reviews and their photos")
    kinds.add_argument("--url", metavar="URL", help="one picture")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    options, console = arguments(argv), Console()
    kind, name = next((kind, name) for kind, name in vars(options).items() if name)

    def work() -> int:
        home = environment.writable_home()
        tracker = Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))
        names = find_scope(home / "tables", kind, name).names
        console.print(f"home: {home}", highlight=False, markup=False)
        if not is_known(home, kind, name):
            console.print(
                f"not known here: {printable(name)} is in no table of this home, and was not erased before. Check the"
                f" spelling and ATELIER_HOME. It is recorded all the same, so that no run reads it in.",
                highlight=False, markup=False,
            )  # fmt: skip
        with command_lock.hold(home), sole_writer(home / "staged"):  # locks out runs and ingests
            for message in erase(home, kind, name, tracker):
                console.print(message, highlight=False, markup=False)
        if environment.store():
            push(home, store := Store(environment.store()), grace=0)
            console.print(f"{store.address}: synchronised, earlier snapshots and objects removed", highlight=False)
        again, others = remaining(home, names)
        for path in raw_files.outside(home, kind, name):
            console.print(f"outside the home, not changed; later runs skip it: {path}", highlight=False, markup=False)
        for database in raw_files.databases():
            console.print(
                f"not looked into, not changed; later runs skip its rows: {database}", highlight=False, markup=False
            )
        for path in again:
            console.print(f"until the next run: {path}", highlight=False, markup=False)
        for path in others:
            console.print(f"left: {path}", highlight=False, markup=False)
        if not again and not others:
            console.print("no trace is left under the home", highlight=False)
        elif not others:
            console.print("Run the pipeline now (python -m pipeline.run, or in the UI), then repeat this to check.")
        return FAILED if others else DONE

    return ended(work, console)


if __name__ == "__main__":
    leave(main())
