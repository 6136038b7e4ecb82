"""Say which columns of a shop's tables mean what, and read and write that as shop.toml.

`layouts.py` recognises known layouts; `pipeline/core/raw/` reads the tables.
"""

import dataclasses
import hashlib
import json
import re
import tomllib
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_type_hints

from typing_extensions import Doc

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.stored_address import stored_path

TIME_UNITS = ("auto", "s", "ms", "us", "ns", "excel", "iso")  # or a strptime format, which has a %
WIDTH_AT_MOST = 256  # digits; ids have at most 256 bytes
COLUMN_AT_MOST = 1_000  # columns named in one list of a shop.toml
ROLES = ("time", "rating", "pictures", "kind", "variant", "title", "categories", "price")  # that may be switched off
Attributes = tuple[tuple[str, str], ...]  # (name, column) pairs, in the order in which the values are kept
ATTRIBUTES_DOC = "Further columns to keep, as name = column; take out the lines that you do not want."


@dataclass(frozen=True)
class TableForm:
    """How a table's text is written; what is None is detected."""

    delimiter: Annotated[str | None, Doc("The character between two values of a CSV file.")] = None
    quote: Annotated[str, Doc('The character around a value that holds the delimiter; "" for none.')] = '"'
    header: Annotated[bool | None, Doc('Whether the first row has names; without names the columns are "1", "2".')] = (
        None
    )
    encoding: Annotated[str | None, Doc("How the text is encoded, for example cp1252 or utf-16.")] = None
    off: tuple[str, ...] = field(default=(), kw_only=True)  # keys set to "" or []: no column has the role


@dataclass(frozen=True)
class InteractionColumns(TableForm):
    """The columns of a table of interactions: orders, ratings, reviews, clicks."""

    user: Annotated[str, Doc("The column that says who.")] = ""
    item: Annotated[str, Doc("The column that says what: a product's id, or its variant's id.")] = ""
    time: Annotated[str | None, Doc("When it happened.")] = None
    rating: Annotated[str | None, Doc("Stars or points.")] = None
    pictures: Annotated[str | None, Doc("Addresses of the customer's own photos.")] = None
    kind: Annotated[str | None, Doc("What happened: a purchase, a view, a return.")] = None
    positive: Annotated[tuple[str, ...], Doc("Values of `kind` that count; all, where none is named.")] = ()
    negative: Annotated[tuple[str, ...], Doc("Values of `kind` that speak against the item; left out.")] = ()
    ignored: Annotated[tuple[str, ...], Doc("Values of `kind` that say nothing; left out.")] = ()
    time_unit: Annotated[str, Doc("How times read: auto, s, ms, us, ns, excel, iso, or a format as %d.%m.%Y.")] = "auto"
    zone: Annotated[str, Doc("The time zone of times that name none.")] = "UTC"
    width: Annotated[int | None, Doc("Digits of an item's id; a shorter number has lost zeros and gets them.")] = None
    user_width: Annotated[int | None, Doc("The same for users.")] = None


@dataclass(frozen=True)
class ProductColumns(TableForm):
    """The columns of a table of products."""

    id: Annotated[str, Doc("The column with the id of the item that is recommended.")] = ""
    variant: Annotated[str | None, Doc("The id that is bought, if it is another: one row per colour or size.")] = None
    title: Annotated[str | None, Doc("The product's name.")] = None
    categories: Annotated[tuple[str, ...], Doc("From the widest to the narrowest.")] = ()
    pictures: Annotated[tuple[str, ...], Doc("Columns with addresses or paths of pictures.")] = ()
    price: Annotated[str | None, Doc("The column with the price; it is kept, and nothing uses it yet.")] = None
    width: Annotated[int | None, Doc("Digits of an id; a shorter number has lost zeros and gets them.")] = None
    variant_width: Annotated[int | None, Doc("The same for variants.")] = None
    attributes: Attributes | None = None  # in a table of their own, [attributes]; None: those that are recognised


@dataclass(frozen=True)
class CustomerColumns(TableForm):
    """The columns of a table of customers."""

    id: Annotated[str, Doc("The column with the customer's id, the user of the interactions.")] = ""
    width: Annotated[int | None, Doc("Digits of an id; a shorter number has lost zeros and gets them.")] = None
    attributes: Attributes | None = None  # in a table of their own, [customers.attributes]


@dataclass(frozen=True)
class PictureFiles:
    """Where the picture files of a product are."""

    pattern: Annotated[
        str,
        Doc(
            "Path of a product's pictures; {column:.3} is the first three characters of a value, * matches any. It may"
            " lead into a zip or tar: pics.zip/{id}_*.jpg. Without a *, it may also be s3://bucket/{id}.jpg or"
            " https://host/{id}.jpg."
        ),
    ] = ""
    folders: Annotated[tuple[str, ...], Doc("Folders that pictures may be read from, also s3://bucket/prefix.")] = ()


@dataclass(frozen=True)
class Shop:
    """The layout of a shop's files."""

    layout: str = "own"
    interactions: InteractionColumns = field(default_factory=InteractionColumns)
    products: ProductColumns = field(default_factory=ProductColumns)
    pictures: PictureFiles = field(default_factory=PictureFiles)
    customers: CustomerColumns = field(default_factory=CustomerColumns)
    file: Path | None = field(default=None, compare=False)  # the shop.toml
    understood: tuple[str, ...] = field(default=(), compare=False)  # how each file was understood, a line for each
    joined: tuple[Path, ...] = ()  # the product files by which bought variants become items; empty: no such step

    @classmethod
    def of(cls, path: Path) -> "Shop":
        """Read a shop.toml; folders in it are relative to it.

        Raises:
            InputError: it cannot be read, is not TOML, or has an unknown key or a value of a wrong type; the message
                names file, line, key and what is allowed.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
            content = tomllib.loads(text)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check ATELIER_SHOP") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{path}: is not TOML: {error}") from error
        return _Reader(path, text).shop(content)

    def with_products(self, paths: Sequence[Path]) -> "Shop":
        """Return this shop with the product files by which bought variants become items."""
        return dataclasses.replace(self, joined=tuple(paths) if self.products.variant else ())

    @property
    def digest(self) -> str:
        """Compute a digest of everything that the mapping says, but not of the files themselves."""
        tables = (self.interactions, self.products, self.pictures, self.customers)
        said = [self.layout, *map(dataclasses.asdict, tables)]
        return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()[:16]

    def toml(self) -> str:
        """Write this as the text of a shop.toml to edit, every key with its meaning."""
        lines = [
            "# How this shop's files read. Change what is wrong, and name this file with ATELIER_SHOP.",
            f"layout = {_written(self.layout)}",
        ]
        for table, of_table in (
            ("interactions", self.interactions),
            ("products", self.products),
            ("pictures", self.pictures),
            ("customers", self.customers),
        ):
            lines += ["", f"[{table}]"]
            for name, (kind, doc) in _fields(type(of_table)).items():
                value = getattr(of_table, name)
                unset = value is None or value in ("", ())
                line = f"{name} = {_written(_example(value, kind))}"
                meant = name == "quote" or name in getattr(of_table, "off", ())
                lines.append(f"{'# ' if unset and not meant else ''}{line}  # {doc}")
            if isinstance(of_table, ProductColumns):
                lines += _attribute_lines("attributes", of_table.attributes)
            if isinstance(of_table, CustomerColumns):
                lines += _attribute_lines("customers.attributes", of_table.attributes)
        return "\n".join(lines) + "\n"


def _attribute_lines(table: str, attributes: Attributes | None) -> list[str]:
    """Write a table of attributes; as a comment where those that are recognised are kept."""
    unset = "# " if attributes is None else ""
    named = attributes if attributes is not None else (("colour", ""),)
    return ["", f"{unset}[{table}]  # {ATTRIBUTES_DOC}", *(f"{unset}{_key(n)} = {_written(c)}" for n, c in named)]


def _fields(of: type) -> dict[str, tuple[Any, str]]:
    """Return type and explanation of every field, those of the class itself before the inherited ones."""
    hints = get_type_hints(of, include_extras=True)
    hints = {name: hint for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    own = [name for name in hints if name in vars(of).get("__annotations__", {})]
    found = {name: get_args(hints[name]) for name in [*own, *(n for n in hints if n not in own)]}
    return {name: (kind, doc.documentation) for name, (kind, doc) in found.items()}


def _example(value: object, kind: Any) -> object:
    """Return a value to show for a key that is not set, of the type that it would have."""
    wanted = {int | None: 10, bool | None: True}
    return wanted.get(kind, "") if value is None else value


def _written(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _written(name)


class _Reader:
    """Turns the content of a shop.toml into a Shop, strictly."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._lines = path, text.splitlines()

    def shop(self, content: dict[str, Any]) -> Shop:
        self._known("", content, ("layout", "interactions", "products", "attributes", "pictures", "customers"))
        products = self._table("products", content, ProductColumns)
        products |= {"attributes": self._attributes("attributes", content.get("attributes"))}
        interactions = self._table("interactions", content, InteractionColumns)
        pictures = self._table("pictures", content, PictureFiles)
        if "folders" in pictures:
            pictures["folders"] = tuple(map(self._folder, pictures["folders"]))
        self._check_values("interactions", interactions)
        self._check_values("products", products)
        named, of_customers = None, content.get("customers", {})
        if isinstance(of_customers, dict):
            named = self._attributes("customers.attributes", of_customers.get("attributes"))
            content = {**content, "customers": {k: v for k, v in of_customers.items() if k != "attributes"}}
        customers = self._table("customers", content, CustomerColumns)
        self._check_values("customers", customers)
        return Shop(
            self._value("", "layout", content.get("layout", "own"), str),
            InteractionColumns(**interactions),
            ProductColumns(**products),
            PictureFiles(**pictures),
            CustomerColumns(**customers, attributes=named),
            self._path,
        )

    def _folder(self, named: str) -> str:
        """Return a folder of pictures as an absolute path, or as it is in an object store."""
        if "://" in named:
            if stored_path(f"{named.rstrip('/')}/x") is None:
                self._fail("pictures", "folders", f"{printable(named, 200)}: give a folder, or s3://bucket/prefix")
            return named.rstrip("/")
        there = (self._path.parent / named).resolve()
        if not there.is_dir():
            self._fail("pictures", "folders", f"{there} is no folder; give one, relative to this file")
        return str(there)

    def _check_values(self, table: str, values: dict[str, Any]) -> None:
        """Refuse values of the right type that mean nothing."""
        for key in ("width", "user_width", "variant_width"):
            if not 1 <= values.get(key, 1) <= WIDTH_AT_MOST:
                self._fail(table, key, f"give a number of digits from 1 to {WIDTH_AT_MOST}")
        if not re.fullmatch(r'[^\r\n"]', values.get("delimiter", ","), re.ASCII):
            self._fail(table, "delimiter", 'give one character, for example ";" or "\\t"')
        if not re.fullmatch(r"[!-~]?", values.get("quote", "")):
            self._fail(table, "quote", 'give one character, or "" for none')
        try:
            "".encode(values.get("encoding", "utf-8"))
        except (LookupError, ValueError):
            self._fail(table, "encoding", "Python knows no such encoding; for example utf-8, cp1252, utf-16")
        unit = values.get("time_unit", "auto")
        if unit not in TIME_UNITS and "%" not in unit:
            self._fail(table, "time_unit", f"give one of {', '.join(TIME_UNITS)}, or a format such as %d.%m.%Y")
        try:
            zoneinfo.ZoneInfo(values.get("zone", "UTC"))
        except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
            self._fail(table, "zone", "there is no such time zone; for example UTC or Europe/Stockholm")

    def _table(self, table: str, content: dict[str, Any], of: type) -> dict[str, Any]:
        values = content.get(table, {})
        if not isinstance(values, dict):
            self._fail("", table, f"has to be a table: write [{table}] above its keys")
        fields = {name: kind for name, (kind, _) in _fields(of).items()}
        self._known(table, values, tuple(fields))
        found = {name: self._value(table, name, value, fields[name]) for name, value in values.items()}
        if issubclass(of, TableForm):
            found["off"] = tuple(name for name in ROLES if found.get(name) in ("", ()))
        return found

    def _attributes(self, table: str, values: Any) -> Attributes | None:
        """Read a table of attributes; None if there is none."""
        if values is None:
            return None
        if not isinstance(values, dict):
            self._fail("", table, f"has to be a table: write [{table}] above its keys")
        if len(values) > COLUMN_AT_MOST:
            self._fail("", table, f"has more than {COLUMN_AT_MOST:,} entries")
        for name, column in values.items():
            if not name.strip() or not isinstance(column, str) or not column:
                self._fail(table, name, 'give the name of a column, for example colour = "colour_group_name"')
        return tuple(values.items())

    def _known(self, table: str, values: Mapping[str, object], known: tuple[str, ...]) -> None:
        for key in values:
            if key not in known:
                self._fail(table, key, f"there is no such key; give one of {', '.join(known)}")

    def _value(self, table: str, key: str, value: Any, kind: Any) -> Any:
        """Return a value of the wanted type."""
        wanted = next(k for k in get_args(kind) if k is not type(None)) if isinstance(kind, UnionType) else kind
        if wanted == tuple[str, ...]:
            values = [value] if isinstance(value, str) else value
            if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
                self._fail(table, key, 'give a list of texts, for example ["a", "b"]')
            if len(values) > COLUMN_AT_MOST:
                self._fail(table, key, f"has more than {COLUMN_AT_MOST:,} entries")
            return tuple(values)
        if type(value) is not wanted:
            names = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
            self._fail(table, key, f"is {printable(value, 60)!r}; give {names[wanted]}")
        return value

    def _fail(self, table: str, key: str, problem: str) -> None:
        place = f"{self._path}:{self._line(table, key)}" if self._line(table, key) else str(self._path)
        raise InputError(f"{place}: {f'[{table}] ' if table else ''}{printable(key)}: {problem}")

    def _line(self, table: str, key: str) -> int | None:
        """Find the line of a key, 1-based."""
        inside = ""
        for number, line in enumerate(self._lines, 1):
            if opening := re.match(r"\s*\[+\s*\"?([^\]\"]*)", line):
                inside = opening[1].strip()
                if not table and inside == key:
                    return number
            elif inside == table and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[=.]", line):
                return number
        return None
