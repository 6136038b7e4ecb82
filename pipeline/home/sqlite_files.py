"""SQLite files of a home: created atomically, repaired after an interrupted creation, rewritten when the home moves.

Of what Dagster and MLflow store in them, this module knows only a few table names (`DatabaseKind`).
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.durable import temporary_name
from pipeline.core.errors import InputError

LOCK_TIMEOUT = 30.0  # seconds to wait for a file's lock; transactions take milliseconds
_VERSIONS = "alembic_version"
_COMPANIONS = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class DatabaseKind:
    """One of the databases in a home."""

    path: str  # relative to the folder of its owner, Dagster or MLflow
    main: str  # the table that is empty if nothing would be lost
    tables: frozenset[str]  # if one of these is missing, creation was interrupted
    lost: str  # what is lost with the file, in words


def is_database(path: Path) -> bool:
    """Return whether SQLite can read a file."""
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as opened:
        try:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False
    return True


def is_complete(path: Path, kind: DatabaseKind) -> bool:
    """Return whether a database has all tables and exactly one schema version."""
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as opened:
        try:
            if not kind.tables <= _tables(opened).keys():
                return False
            return opened.execute(f"SELECT count(*) FROM {_VERSIONS}").fetchone()[0] == 1
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # not a SQLite file
            return False


def is_empty(path: Path, kind: DatabaseKind) -> bool:
    """Return whether a database holds no rows worth keeping."""
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as opened:
        try:
            return (
                kind.main not in _tables(opened)
                or not opened.execute(f"SELECT EXISTS (SELECT 1 FROM {kind.main})").fetchone()[0]
            )
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False


def repair(path: Path, fresh: Path) -> bool:
    """Add the tables and the version of a fresh database to an incomplete one; False if its tables have other columns.

    Two simultaneous first starts leave such databases: some or all of the tables, and two versions.
    """
    with closing(sqlite3.connect(fresh)) as new, closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT)) as old:
        wanted, found = _tables(new), _tables(old)
        if any(found[name] != columns for name, columns in wanted.items() if name in found):
            return False
        objects = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        present = {name for _, name, _ in old.execute(objects)}
        old.execute("BEGIN IMMEDIATE")
        for _, name, sql in sorted(
            new.execute(objects), key=lambda row: row[0] != "table"
        ):  # tables before their indexes
            if name not in present:
                old.execute(sql)
        old.execute(f"DELETE FROM {_VERSIONS}")
        old.executemany(f"INSERT INTO {_VERSIONS} VALUES (?)", new.execute(f"SELECT * FROM {_VERSIONS}").fetchall())
        old.commit()
        return is_sound(old)


def repair_or_refuse(path: Path, fresh: Path, kind: DatabaseKind) -> None:
    """Repair an incomplete database. If that is impossible and it is empty, rename it.

    Raises:
        InputError: it cannot be repaired and is not empty; the message says which file to move and what is lost.
    """
    try:
        repaired = repair(path, fresh)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        repaired = False
    except sqlite3.DatabaseError:
        repaired = False
    if repaired:
        return
    if is_empty(path, kind):
        set_aside(path)
        return
    raise InputError(
        f"{path} is incomplete or damaged and cannot be repaired. Nothing else is affected: move it away (mv '{path}' "
        f"'{path}.damaged') and run this again. That loses {kind.lost}; tables, pictures and models stay."
    )


def is_sound(opened: sqlite3.Connection) -> bool:
    """Return whether SQLite's quick check finds no error."""
    return opened.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"


def move_into_place(fresh: Path, path: Path) -> None:
    """Move a new database, which no process has open, to `path`."""
    with closing(sqlite3.connect(fresh)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for ending in _COMPANIONS:  # left by a file that was removed by hand; they belong to another database
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(path)


def set_aside(path: Path) -> Path:
    """Rename a useless database to `*.unfinished`, and return the new path."""
    aside = path.with_name(f"{path.name}.unfinished")
    for ending in ("", *_COMPANIONS):
        if path.with_name(path.name + ending).is_file():
            path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
    return aside


def break_hard_links(path: Path) -> None:
    """Replace a file that has other hard links (from `cp -l`) with a copy, so that changes stay in this home."""
    if path.stat().st_nlink == 1:
        return
    temporary = temporary_name(path)
    try:
        shutil.copy2(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def rewrite(path: Path, change: Callable[[str], str]) -> int:
    """Apply `change` to every text in a database, in one transaction, and return the number of changed values."""
    changed = 0
    with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None)) as opened:
        opened.create_function("changed", 1, change, deterministic=True)
        opened.execute("BEGIN IMMEDIATE")
        for table, columns in _tables(opened).items():
            for column, kind in columns.items():
                if not any(word in kind for word in ("CHAR", "TEXT", "CLOB", "JSON")):
                    continue
                name, of = _quoted(column), _quoted(table)
                texts = f"typeof({name}) = 'text' AND {name} != changed({name})"
                changed += opened.execute(f"UPDATE {of} SET {name} = changed({name}) WHERE {texts}").rowcount
        opened.execute("COMMIT")
    return changed


def _tables(opened: sqlite3.Connection) -> dict[str, dict[str, str]]:
    """Read the columns of every table, with their types."""
    names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: {row[1]: str(row[2]).upper() for row in opened.execute(f"PRAGMA table_info({_quoted(name)})")}
        for name in names
        if not name.startswith("sqlite_")
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
