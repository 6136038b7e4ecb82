"""Read a shop's tables by their layout, given or recognised: reviews, products, customers, the items of variants."""

import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.arrow import to_numpy
from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw.copies import origin_folder, origin_kind, origin_name
from pipeline.core.raw.dialects import NAMING, Dialect
from pipeline.core.raw.forms import JSON, TABLES, Form, form_of
from pipeline.core.raw.framing import Meter
from pipeline.core.raw.json_table import JsonTable
from pipeline.core.raw.mixed_kinds import refuse_mixed
from pipeline.core.raw.parsing import Parsed, parsers_database
from pipeline.core.raw.table_rows import TableRows
from pipeline.core.raw.table_values import of_values
from pipeline.core.raw.tables import RowBlock, TableFile
from pipeline.core.shop import layouts
from pipeline.core.shop.mapping import CustomerColumns, InteractionColumns, ProductColumns, Shop, TableForm
from pipeline.core.shop.picture_files import PicturePattern

VERSION = "2"  # of what is made of a table; part of the name of kept parts


def shop_form(path: Path, kind: str, shop: Shop | None) -> Form:
    """Recognise the form of a file, whose text has the encoding that shop.toml names, if it names one.

    Raises:
        InputError: as `form_of`.
    """
    return form_of(path, _given(shop, kind).encoding if shop else None)


def is_table(path: Path, kind: str, shop: Shop | None, form: Form) -> bool:
    """Return whether a file is read as a table: also JSON with the keys that shop.toml names, or that are recognised.

    JSON with Amazon's keys is one only if shop.toml names its ids.
    """
    if kind == "customers" or form.kind in TABLES:
        return True
    if form.kind != JSON:
        return False
    given = _given(shop if shop is not None and shop.file is not None else Shop(), kind)
    named = layouts.named(given)
    try:
        names = JsonTable(path, form, named).names
    except InputError:  # damage, which reading the file reports
        return False
    if layouts.has_amazon_keys(kind, names):
        ids = given.user and given.item if isinstance(given, InteractionColumns) else getattr(given, "id", "")
        return bool(ids) and layouts.fits(given, names)
    return bool(names) and (bool(named) or layouts.are_recognised(kind, names))


class ShopTable:
    """A table of reviews, products or customers of a shop.

    Raises:
        InputError: when it is made: it is no table, or it is unclear what its columns mean.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        shop: Shop | None,
        form: Form | None = None,
        threads: int = 1,
        others: Iterable[Path] = (),
    ) -> None:
        """Take the meaning of the columns from `shop`, or recognise it; `others` are files of the same columns."""
        self.path, self.kind, self._threads = path, kind, threads
        self.name, folder = origin_name(path), origin_folder(path) or path.parent
        self.meter = Meter()
        shop = shop or Shop()
        given = _given(shop, kind)
        self._file = table_file(path, given, form, shop.file is not None)
        names, dialect = self._file.names, self._file.dialect
        if shop.understood and shop.file is None and not layouts.fits(given, names):
            shop = Shop()  # another file's columns were recognised, and this one has its own
        self.pictures = shop.pictures
        self.columns: layouts.AnyColumns
        self.notes: tuple[str, ...] = ()  # what was understood from the values of columns
        try:
            if kind == "reviews":
                sample = dialect.sample if dialect else ()
                self.vintage, of_names = layouts.interactions_of(names, sample, self.name, shop.interactions)
                files = (table_file(other, shop.interactions, None, shop.file is not None) for other in others)
                self.columns, self.notes = of_values(of_names, self._file, files)
            elif kind == "customers":
                user = shop.interactions.user or None
                self.vintage, self.columns = layouts.customers_of(names, self.name, shop.customers, user)
            else:
                item = shop.interactions.item or None
                self.vintage, self.columns, beside = layouts.products_of(
                    names, self.name, shop.products, item, folder, self.pictures.folders
                )
                self.pictures = self.pictures if self.pictures.pattern else beside
        except layouts.NoColumnError as error:
            raise InputError(f"{error}{_how_read(dialect, given)}") from error
        self._check_once(given if shop.file else type(given)())
        if self.vintage == layouts.GIVEN:
            self.vintage = shop.layout
        self.pattern: PicturePattern | None = None
        if kind == "products" and self.pictures.pattern:
            self.pattern = PicturePattern(self.pictures, folder, names)

    def _check_once(self, given: layouts.AnyColumns) -> None:
        """Refuse a column that is used, of whose name there are several, unless shop.toml names it."""
        table = {"reviews": "interactions"}.get(self.kind, self.kind)
        for role in NAMING:
            named = getattr(self.columns, role, None)
            for name in named if isinstance(named, tuple) else [named]:
                if f"{name}#2" not in self._file.names or getattr(given, role) or role == "price":
                    continue
                mend = f'["{name}", "{name}#2"]' if isinstance(named, tuple) else f'"{name}" or "{name}#2"'
                raise InputError(
                    f"{self.name}: several columns have the name {printable(name, 60)}, which is the {role}; say which"
                    f" in shop.toml: [{table}] {role} = {printable(mend, 150)}"
                )

    def described(self) -> str:
        """Describe in one line the kind of the file and the roles of its columns."""
        form = self._file.form
        kind = origin_kind(self.path) or form.kind
        packed = f", {form.codec}" if form.codec else ""
        file = self.name.rpartition("/")[2]
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{file}: {kind} table{packed}; {self.vintage}: {layouts.said(self.columns)}{notes}"

    def state(self) -> str:
        """Return a text that changes when the same file yields other rows."""
        columns = sorted(dataclasses.asdict(self.columns).items())
        return f"{VERSION} {columns} {self.pictures} {self.pattern.state() if self.pattern else ''}"

    def parsed(self) -> Iterator[Parsed]:
        """Yield the rows and rejects of every block; the next blocks are made while the caller takes one."""
        database, of_thread = parsers_database(), threading.local()

        def made(block: RowBlock) -> Parsed:
            if not hasattr(of_thread, "rows"):
                of_thread.rows = TableRows(self.path, database)
            if isinstance(self.columns, InteractionColumns):
                return of_thread.rows.reviews(block, self.columns)
            if isinstance(self.columns, CustomerColumns):
                return of_thread.rows.customers(block, self.columns)
            return of_thread.rows.products(block, self.columns, self.pattern)

        waiting: deque[Future[Parsed]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for block in self._file.blocks(self.meter):
                waiting.append(pool.submit(made, block))
                if len(waiting) > self._threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def variants(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Yield (bought id, item's id) of every block of products."""
        assert isinstance(self.columns, ProductColumns)
        rows = TableRows(self.path, parsers_database())
        if self.columns.variant:
            for block in self._file.blocks():
                yield (
                    rows.variants(block, self.columns).combine_chunks(),
                    rows.product_ids(block, self.columns).combine_chunks(),
                )


def table_file(
    path: Path, given: layouts.AnyColumns, form: Form | None = None, is_given: bool = False
) -> TableFile | JsonTable:
    """Open a table of any form; `is_given` says that a shop.toml names the columns, which JSON may have late."""
    form = form or form_of(path, given.encoding)
    if form.kind == JSON:
        return JsonTable(path, form, layouts.named(given) if is_given else ())
    return TableFile(path, form, given, layouts.KNOWN)


def _how_read(dialect: Dialect | None, given: TableForm) -> str:
    """Say what was detected of a CSV file, which may be why a column is missing."""
    if dialect is None:
        return ""
    found = []
    if given.delimiter is None:
        found.append(f"its values were separated at {dialect.delimiter!r}; if that is wrong, say delimiter = ...")
    if given.encoding is None and any("\ufffd" in name or not name.isascii() for name in dialect.cells):
        found.append('if names read wrong, say how the text is encoded, for example encoding = "cp1251"')
    return "".join(f"; {text}" for text in found)


def _given(shop: Shop, kind: str) -> layouts.AnyColumns:
    """Return what a shop says of the columns of a kind of table."""
    return {"reviews": shop.interactions, "products": shop.products, "customers": shop.customers}[kind]


def recognised(
    reviews: Sequence[Path], products: Sequence[Path], shop: Shop | None = None, customers: Sequence[Path] = ()
) -> Shop | None:
    """Recognise what shop.toml leaves open of a shop's files; None for JSON without a shop.toml.

    The first table of each kind counts; another file's columns are recognised when it is read.

    Raises:
        InputError: a file is of a kind that is not read, or it is unclear what its columns mean, or products and
            reviews are mixed.
    """
    refuse_mixed("reviews", reviews, shop)
    refuse_mixed("products", products, shop)
    found, given = shop or Shop(), shop is not None
    names, understood = [], list[str]()
    for kind, paths in (("reviews", reviews), ("products", products), ("customers", customers)):
        for path in paths:
            form = shop_form(path, kind, shop)
            if not is_table(path, kind, shop, form):
                if shop is not None and (said := layouts.named(_given(shop, kind))):
                    name = origin_name(path).rpartition("/")[2]
                    keys = printable(", ".join(said), 200)
                    understood.append(f"{name}: has Amazon's keys, and not all that shop.toml names ({keys}): not used")
                continue
            others = (other for other in paths if other != path and is_table(other, kind, shop, form_of(other)))
            table = ShopTable(path, kind, found, form, others=others)
            given, columns = True, table.columns
            names.append(table.vintage)
            understood.append(table.described())
            if isinstance(columns, InteractionColumns):
                found = dataclasses.replace(found, interactions=columns)
            elif isinstance(columns, CustomerColumns):
                found = dataclasses.replace(found, customers=columns)
            else:
                found = dataclasses.replace(found, products=columns, pictures=table.pictures)
            break
    if not given:
        return None
    layout = found.layout if shop is not None else next((name for name in names if "Kaggle" in name), names[0])
    found = dataclasses.replace(found, layout=layout, understood=tuple(understood))
    return found.with_products(products)


def listed_pictures(products: Sequence[Path], shop: Shop | None) -> str:
    """Return a text that changes when a pattern of pictures may match other files; empty without such a pattern.

    A file that cannot be read adds nothing: reading it says why.
    """
    states = []
    for path in products:
        with contextlib.suppress(InputError):
            form = form_of(path)
            if is_table(path, "products", shop, form):
                pattern = ShopTable(path, "products", shop, form).pattern
                states.append(pattern.state() if pattern else "")
    return " ".join(sorted(set(filter(None, states))))


@dataclass(frozen=True)
class Variants:
    """Which bought id belongs to which item."""

    bought: pa.Array  # [n] string, each once
    items: pa.Array  # [n] string

    @classmethod
    def of(cls, shop: Shop | None) -> "Variants | None":
        """Read the product tables by which bought ids become items; None if the shop has no such step."""
        pairs = []
        for path in shop.joined if shop else ():
            form = shop_form(path, "products", shop)
            if is_table(path, "products", shop, form):
                pairs += list(ShopTable(path, "products", shop, form).variants())
        if not pairs:
            return None
        table = pa.table([pa.chunked_array(column) for column in zip(*pairs, strict=True)], ["bought", "item"])
        table = table.filter(pc.and_(pc.is_valid(table["bought"]), pc.is_valid(table["item"])))
        first = np.unique(to_numpy(table["bought"].combine_chunks().dictionary_encode().indices), return_index=True)[1]
        table = table.take(pa.array(np.sort(first))).combine_chunks()
        return cls(table["bought"].combine_chunks(), table["item"].combine_chunks())

    def items_of(self, bought: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
        """Return the item of every bought id; an id that no product has stays, and is counted."""
        at = pc.index_in(bought, self.bought)
        # An id that is an item's already needs no step.
        found = pc.coalesce(self.items.take(at.combine_chunks()), bought.combine_chunks())
        unknown = bought.filter(pc.is_null(at))
        unmatched = len(unknown) - (pc.sum(pc.is_in(unknown, self.items)).as_py() or 0)
        return pa.chunked_array([found]), unmatched


def described(shop: Shop) -> str:
    """Describe in a few lines how the files were understood."""
    lines = list(shop.understood)
    if shop.joined:
        lines.append(f"what is bought ({shop.products.variant}) counts for its {shop.products.id}")
    if shop.pictures.pattern:
        lines.append(f"pictures: {shop.pictures.pattern}")
    return "\n".join(lines)
