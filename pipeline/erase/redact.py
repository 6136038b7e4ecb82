"""Replace names in the databases and logs behind the two UIs: event metadata, run parameters and tags, step logs.

It works on any database that SQLAlchemy opens, SQLite and PostgreSQL alike. Rows stay; only their texts change.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline.core.durable import write_whole
from pipeline.erase.spelling import forms, pattern

REDACTED = "(erased)"
# A thumbnail in an event. Its bytes do not tell which picture it shows, so erasing one picture removes all thumbnails.
PICTURE = re.compile(r"!\[[^\]]*\]\(data:image/[a-z]+;base64,[A-Za-z0-9+/=]+\)")
LOGS = (".out", ".err", ".log")
REDACTED_PICTURE = "(a picture was here until something was erased)"


def databases(home: Path, *addresses: str) -> Iterator[str]:
    """Yield the address of every database of a home: its SQLite files, and the given databases elsewhere."""
    for folder in ("dagster", "mlflow"):
        for path in sorted((home / folder).rglob("*.db")):
            yield f"sqlite:///{path}"
    yield from (address for address in addresses if "://" in address and not address.startswith(("sqlite:", "http")))


def redact(address: str, names: Iterable[str], pictures: bool) -> int:
    """Replace the names, and with `pictures` all thumbnails, in every text of a database; return the changed values."""
    wanted = list(names)
    exact = re.compile(pattern(wanted))
    engine = sa.create_engine(address)
    changed = 0
    try:
        metadata = sa.MetaData()
        with engine.begin() as connection:
            metadata.reflect(connection)
            for table in metadata.sorted_tables:
                for column in table.columns:
                    if isinstance(column.type, sa.String):  # also Text, a subclass
                        changed += _redact(connection, table, column, wanted, exact, pictures)
        if changed and engine.dialect.name == "sqlite":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.exec_driver_sql("VACUUM")  # until then, freed pages keep their old text
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
    return changed


def redact_logs(home: Path, names: Iterable[str]) -> int:
    """Replace the names in the logs of Dagster's steps; return the number of changed files."""
    exact = re.compile(pattern(names).encode())
    changed = 0
    for path in sorted((home / "dagster").rglob("*")):
        if path.suffix in LOGS and path.is_file():
            text = path.read_bytes()
            new = _replace(exact, text, REDACTED.encode())
            if new != text:
                write_whole(path, lambda temporary, new=new: temporary.write_bytes(new))
                changed += 1
    return changed


def _replace(names: re.Pattern, text: Any, replacement: Any) -> Any:
    """Replace the names in a text or in bytes; the field name before an ambiguous name stays."""
    if not names.groups:
        return names.sub(lambda _: replacement, text)
    return names.sub(lambda found: (found["before"] or replacement[:0]) + replacement, text)


def _redact(
    connection: sa.Connection,
    table: sa.Table,
    column: sa.Column,
    names: list[str],
    exact: re.Pattern[str],
    pictures: bool,
) -> int:
    texts = [*(form for name in names for form in forms(name)), *(["data:image/"] if pictures else [])]
    hit = sa.or_(*(column.contains(text, autoescape=True) for text in texts))
    values = connection.execute(sa.select(column).where(hit).distinct()).scalars().all()
    changed = 0
    for value in values:
        new = _replace(exact, PICTURE.sub(REDACTED_PICTURE, value) if pictures else value, REDACTED)
        if new != value:
            changed += connection.execute(sa.update(table).where(column == value).values({column.name: new})).rowcount
    return changed
