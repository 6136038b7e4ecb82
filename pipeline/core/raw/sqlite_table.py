"""Read a table of a SQLite database as texts, in the order of its rows, without writing anything beside the file."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from pipeline.core.errors import InputError, UnreachableError
from pipeline.core.quoting import printable
from pipeline.core.raw import database_urls
from pipeline.core.raw.database_rows import ROWS_AT_ONCE, VALUE_BYTES, Rows, chosen

WAIT = 10.0  # seconds for a lock of another program
_WAL = b"\x02\x02"  # the file format's versions, bytes 18 and 19, of a database with a write-ahead log
# SQLite writes a whole REAL as 12.0, which would be another id than 12.
_TEXT = (
    "CASE WHEN typeof({0}) = 'real' AND {0} = CAST({0} AS INTEGER) AND abs({0}) < 9007199254740992"
    " THEN CAST(CAST({0} AS INTEGER) AS TEXT) ELSE CAST({0} AS TEXT) END"
)


class SqliteTable:
    """The table that a URL names, of a file on this machine.

    Raises:
        InputError: in every method: the file is no database, is damaged, or lacks the table.
        UnreachableError: another program holds a lock, or wrote while the table was read.
    """

    def __init__(self, url: str) -> None:
        self.path, self._wanted = database_urls.sqlite_path(url).absolute(), database_urls.table_of(url)
        self.name = database_urls.with_table(database_urls.sqlite_url(self.path), self._wanted)
        self.identity = self.name

    def mark(self) -> str:
        """Return sizes and dates of the database's files."""
        with self._readable():
            found = [path.stat() for path in self._files()]
        return " ".join(f"{one.st_size} {one.st_mtime_ns}" for one in found)

    def check(self) -> None:
        """Look whether the table is there, without reading it."""
        with self._explained(), contextlib.closing(self._connected(self._is_alone())) as database:
            self._table(database)

    @contextlib.contextmanager
    def rows(self) -> Generator[Rows]:
        """Open the table at one moment; its version is a digest of the database's files from before that moment."""
        with self._explained():
            before, alone = self._digest(), self._is_alone()
            with contextlib.closing(self._connected(alone)) as database:
                table, is_view = self._table(database)
                names = tuple(c[0] for c in database.execute(f"SELECT * FROM {_quoted(table)} LIMIT 0").description)
                order = "" if is_view else _order(database, table)
                yield Rows(table, names, pa.binary(), before, lambda: _batches(database, table, names, order))
            if alone and self._digest() != before:
                raise UnreachableError(f"{self.name}: was written while it was read; run again")

    def _files(self) -> list[Path]:
        """List the database and, if it holds anything, its write-ahead log."""
        log = self.path.with_name(self.path.name + "-wal")
        return [self.path, *([log] if log.is_file() and log.stat().st_size else [])]

    def _digest(self) -> str:
        known = hashlib.sha256()
        with self._readable():
            for path in self._files():
                with path.open("rb") as file:
                    known.update(hashlib.file_digest(file, "sha256").digest())
        return f"sqlite {known.hexdigest()}"

    def _is_alone(self) -> bool:
        """Return whether this is a database with a write-ahead log that nobody has open."""
        with self._readable(), self.path.open("rb") as file:
            return file.read(20)[18:] == _WAL and len(self._files()) == 1

    def _connected(self, alone: bool) -> sqlite3.Connection:
        # One that is alone is opened as a file that does not change, since SQLite would create two files beside it.
        how = "immutable=1" if alone else "mode=ro"
        database = sqlite3.connect(f"file:{quote(str(self.path))}?{how}", timeout=WAIT, uri=True, isolation_level=None)
        database.text_factory = bytes
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_BYTES)
        for setting in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
            database.execute(f"PRAGMA {setting}")
        database.execute("BEGIN")
        return database

    def _table(self, database: sqlite3.Connection) -> tuple[str, bool]:
        """Choose the table; also return whether it is a view."""
        listed = database.execute(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%'"
            " ESCAPE '\\' ORDER BY name"
        ).fetchall()
        kinds = {name.decode("utf-8", "replace"): kind == b"view" for name, kind in listed}
        name = chosen(self.name, self._wanted, [n for n, view in kinds.items() if not view], list(kinds))
        return name, kinds[name]

    @contextlib.contextmanager
    def _readable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read ({error.strerror}); check its permissions") from error

    @contextlib.contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except sqlite3.DataError as error:
            raise InputError(
                f"{self.name}: holds a value longer than {VALUE_BYTES >> 20} MB; create a view without that column, and"
                " name the view"
            ) from error
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise UnreachableError(f"{self.name}: another program is writing to it; run again later") from error
            raise InputError(
                f"{self.name}: SQLite cannot read it ({printable(error)}); open it once with the program that writes"
                " it, or give a copy of it"
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.name}: the database is damaged ({printable(error)}); restore it, or recover what is left with"
                " `sqlite3 FILE .recover`"
            ) from error


def _order(database: sqlite3.Connection, table: str) -> str:
    """Return the ORDER BY of a table: by rowid, or by the primary key of a table without one."""
    columns = database.execute(f"PRAGMA table_info({_quoted(table)})").fetchall()
    taken = {bytes(column[1]).decode("utf-8", "replace").lower() for column in columns}
    for name in ("rowid", "oid", "_rowid_"):
        if name not in taken:
            with contextlib.suppress(sqlite3.OperationalError):
                database.execute(f"SELECT {name} FROM {_quoted(table)} LIMIT 0")
                return f" ORDER BY {name}"
    keys = sorted((column[5], bytes(column[1]).decode("utf-8", "replace")) for column in columns if column[5])
    return " ORDER BY " + ", ".join(_quoted(name) for _, name in keys) if keys else ""


def _batches(
    database: sqlite3.Connection, table: str, names: tuple[str, ...], order: str
) -> Iterator[list[list[bytes | None]]]:
    columns = ", ".join(_TEXT.format(_quoted(name)) for name in names)
    cursor = database.execute(f"SELECT {columns} FROM {_quoted(table)}{order}")
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        yield [list(column) for column in zip(*rows, strict=True)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
