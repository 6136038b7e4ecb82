"""Parse the URLs of tables in databases, and hide their passwords.

    sqlite:////data/shop.db?table=orders                    four slashes for an absolute path, three for a relative one
    postgresql://user:password@host:5432/shop?table=orders  also ?table=schema.orders; other parameters are libpq's

A database with one table needs no `?table=`. Nothing is opened here: `databases.py` reads the tables.
"""

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable

SQLITE, POSTGRES = "sqlite", "postgresql"
SCHEMES = {"sqlite://": SQLITE, "postgresql://": POSTGRES, "postgres://": POSTGRES}
MAGIC = b"SQLite format 3\x00"
ENDINGS = (".db", ".db3", ".sqlite", ".sqlite3")
HIDDEN = "..."  # replaces what may be secret
SHAPES = "sqlite:////path/shop.db?table=NAME or postgresql://user:password@host/database?table=NAME"
_TABLE = "table"


def kind_of(url: str) -> str | None:
    """Return SQLITE or POSTGRES; None for what is no URL of a database."""
    return next((kind for scheme, kind in SCHEMES.items() if url.lower().startswith(scheme)), None)


def is_sqlite_file(path: Path) -> bool:
    """Return whether a file is a SQLite database by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, without a table."""
    return f"sqlite:///{quote(str(path.absolute()))}"


def sqlite_path(url: str) -> Path:
    """Return the file of a SQLite URL. Raises InputError if it names none."""
    path = re.split(r"[?#]", url[len("sqlite://") :], maxsplit=1)[0]
    if not path.startswith("/") or path == "/":
        raise InputError(f"{shown(url)}: names no file; write {SHAPES}")
    return Path(unquote(path[1:])).expanduser()


def local_file(entry: Path | str) -> Path | None:
    """Return the local file that an entry of a specification names; None for what is on a server."""
    if isinstance(entry, Path):
        return entry
    return sqlite_path(entry) if kind_of(entry) == SQLITE else None


def table_of(url: str) -> str:
    """Return the table that a URL names; empty if it names none.

    Raises:
        InputError: it names several, or none where it should, or has a parameter that SQLite does not have.
    """
    pairs = parse_qsl(_query(url), keep_blank_values=True)
    tables = [value for name, value in pairs if name == _TABLE]
    others = [name for name, _ in pairs if name != _TABLE] if kind_of(url) == SQLITE else []
    if len(tables) > 1 or "" in tables or others or "#" in url:
        extra = f" {printable(others[0], 40)}= is no parameter here;" if others else ""
        raise InputError(
            f"{shown(url)}:{extra} name one table, with ?table=NAME (for a query, create a view and name it)"
        )
    return tables[0] if tables else ""


def without_table(url: str) -> str:
    """Return the URL without its table, as a database's own library takes it."""
    pairs = [pair for pair in _query(url).split("&") if pair and pair.partition("=")[0] != _TABLE]
    return url.partition("?")[0] + ("?" + "&".join(pairs) if pairs else "")


def shown(url: str) -> str:
    """Remove user name, password and every parameter but the table; what was removed shows as `...`."""
    place, _, query = url.partition("#")[0].partition("?")
    scheme, _, rest = place.partition("://")
    pairs = [pair for pair in query.split("&") if pair]
    tables = [pair for pair in pairs if pair.partition("=")[0] == _TABLE]
    hidden = [HIDDEN] if len(tables) < len(pairs) or "#" in url else []
    kept = "&".join([*tables, *hidden])
    tail = f"?{kept}" if kept else ""
    if kind_of(url) == SQLITE:
        return place + tail
    authority, slash, database = rest.partition("/")
    login, at, host = authority.rpartition("@")
    # An unescaped `/`, `?`, `#` or `@` in a password may have put a part of it anywhere.
    if "@" in login or "@" in database or "@" in query or "@" in url.partition("#")[2]:
        return f"{scheme}://{HIDDEN}"
    if not re.fullmatch(r"(\[[^]]*\]|[^:]*)(:\d*)?", host):
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{HIDDEN if at else ''}{at}{host}{slash}{database}{tail}"


def lacks_secret(url: str) -> bool:
    """Return whether `shown` removed something from this URL, so that a server cannot be asked with it."""
    return kind_of(url) == POSTGRES and HIDDEN in url


def with_table(url: str, table: str) -> str:
    """Add the table that was chosen to a shown URL that names none."""
    if not table or re.search(r"[?&]table=", url):
        return url
    return f"{url}{'&' if '?' in url else '?'}{_TABLE}={quote(table)}"


def _query(url: str) -> str:
    return url.partition("#")[0].partition("?")[2]
