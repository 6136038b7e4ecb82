"""SQLite files of a home as files: made whole or not at all, mended where a start was cut off, moved with their home.

Nothing here knows what Dagster or MLflow keeps in them, but by the names of a table or two (`Kind`).
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.durable import temporary_name
from pipeline.core.errors import InputError

PATIENCE = 30.0  # seconds that others may hold a file; their transactions take milliseconds
_VERSIONS = "alembic_version"
_BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Kind:
    """A database that a home holds."""

    place: str  # under the folder it belongs to
    main: str  # the table that is empty where nothing would be lost
    tables: frozenset[str]  # without any of these it was never finished
    lost: str  # what goes with it, in words


def is_database(path: Path) -> bool:
    """Whether SQLite can read a file at all."""
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as opened:
        try:
            opened.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False
    return True


def is_whole(path: Path, kind: Kind) -> bool:
    """Whether a database was finished: all tables, and one version of them."""
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as opened:
        try:
            if not kind.tables <= _tables(opened).keys():
                return False
            return opened.execute(f"SELECT count(*) FROM {_VERSIONS}").fetchone()[0] == 1
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # no SQLite file
            return False


def is_empty(path: Path, kind: Kind) -> bool:
    """Whether nothing was ever kept in a database."""
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as opened:
        try:
            return (
                kind.main not in _tables(opened)
                or not opened.execute(f"SELECT EXISTS (SELECT 1 FROM {kind.main})").fetchone()[0]
            )
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False


def mend(path: Path, fresh: Path) -> bool:
    """Give an unfinished database the tables and the version that a fresh one has; False where its tables are others.

    That is what two first starts at once leave: everything there, or some of it, and two versions.
    """
    with closing(sqlite3.connect(fresh)) as new, closing(sqlite3.connect(path, timeout=PATIENCE)) as old:
        wanted, found = _tables(new), _tables(old)
        if any(found[name] != columns for name, columns in wanted.items() if name in found):
            return False
        made = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        there = {name for _, name, _ in old.execute(made)}
        old.execute("BEGIN IMMEDIATE")
        for _, name, sql in sorted(new.execute(made), key=lambda row: row[0] != "table"):  # before their indexes
            if name not in there:
                old.execute(sql)
        old.execute(f"DELETE FROM {_VERSIONS}")
        old.executemany(f"INSERT INTO {_VERSIONS} VALUES (?)", new.execute(f"SELECT * FROM {_VERSIONS}").fetchall())
        old.commit()
        return is_sound(old)


def mend_or_refuse(path: Path, fresh: Path, kind: Kind) -> None:
    """Mend an unfinished database; where that is not possible and nothing was kept in it, set it aside.

    Raises:
        InputError: something was kept in it; says which file to move away, and what is lost then.
    """
    try:
        mended = mend(path, fresh)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
        mended = False
    except sqlite3.DatabaseError:
        mended = False
    if mended:
        return
    if is_empty(path, kind):
        set_aside(path)
        return
    raise InputError(
        f"{path} was left half made, or is damaged, and cannot be mended. Nothing else is: move it away (mv '{path}' "
        f"'{path}.damaged') and call this again. With it goes {kind.lost}; tables, pictures and models stay."
    )


def is_sound(opened: sqlite3.Connection) -> bool:
    """Whether SQLite finds nothing wrong in it."""
    return opened.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"


def take(made: Path, path: Path) -> None:
    """Put a database that nobody has open in its place."""
    with closing(sqlite3.connect(made)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for ending in _BESIDE:  # of a file that was removed by hand: another database's pages
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.replace(path)


def set_aside(path: Path) -> Path:
    """Rename a database that is of no use; the new name."""
    aside = path.with_name(f"{path.name}.unfinished")
    for ending in ("", *_BESIDE):
        if path.with_name(path.name + ending).is_file():
            path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
    return aside


def part_from_others(path: Path) -> None:
    """Give a file that has further names (hard links: a copy made with `cp -l`) content of its own."""
    if path.stat().st_nlink == 1:
        return
    temporary = temporary_name(path)
    try:
        shutil.copy2(path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def rewrite(path: Path, change: Callable[[str], str]) -> int:
    """Apply `change` to every text of a database, in one transaction; how many values changed."""
    changed = 0
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as opened:
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
    """Of every table its columns, with their types."""
    names = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: {row[1]: str(row[2]).upper() for row in opened.execute(f"PRAGMA table_info({_quoted(name)})")}
        for name in names
        if not name.startswith("sqlite_")
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
