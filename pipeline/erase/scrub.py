"""Names taken out of what the two UIs show: events with heads of tables, runs with files, logs of steps.

Any database that SQLAlchemy opens, so that PostgreSQL is served as SQLite is. Rows stay; the text in them changes.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipeline.core.durable import write_whole
from pipeline.erase.spelling import forms, pattern

GONE = "(erased)"
# A picture inside an event: which one cannot be told from its bytes, so where a picture is erased all of them go.
PICTURE = re.compile(r"!\[[^\]]*\]\(data:image/[a-z]+;base64,[A-Za-z0-9+/=]+\)")
LOGS = (".out", ".err", ".log")
PICTURE_GONE = "(a picture was here until something was erased)"


def databases(home: Path, *addresses: str) -> Iterator[str]:
    """The addresses of every database of a home: its SQLite files, and those named that lie elsewhere."""
    for folder in ("dagster", "mlflow"):
        for path in sorted((home / folder).rglob("*.db")):
            yield f"sqlite:///{path}"
    yield from (address for address in addresses if "://" in address and not address.startswith(("sqlite:", "http")))


def scrub(address: str, names: Iterable[str], pictures: bool) -> int:
    """Replace the names in every text of a database, and with `pictures` the pictures too; how many values changed."""
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
                    if isinstance(column.type, sa.String):  # Text is one
                        changed += _scrub(connection, table, column, wanted, exact, pictures)
        if changed and engine.dialect.name == "sqlite":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.exec_driver_sql("VACUUM")  # deleted pages keep their text until then
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        engine.dispose()
    return changed


def scrub_logs(home: Path, names: Iterable[str]) -> int:
    """Replace the names in the logs of Dagster's steps; how many files changed."""
    exact = re.compile(pattern(names).encode())
    changed = 0
    for path in sorted((home / "dagster").rglob("*")):
        if path.suffix in LOGS and path.is_file():
            text = path.read_bytes()
            new = _without(exact, text, GONE.encode())
            if new != text:
                write_whole(path, lambda temporary, new=new: temporary.write_bytes(new))
                changed += 1
    return changed


def _without(names: re.Pattern, text: Any, gone: Any) -> Any:
    """A text, or bytes, without the names; what says that a number is a name stays."""
    if not names.groups:
        return names.sub(lambda _: gone, text)
    return names.sub(lambda found: (found["before"] or gone[:0]) + gone, text)


def _scrub(
    connection: sa.Connection,
    table: sa.Table,
    column: sa.Column,
    names: list[str],
    exact: re.Pattern[str],
    pictures: bool,
) -> int:
    looked_for = [*(form for name in names for form in forms(name)), *(["data:image/"] if pictures else [])]
    hit = sa.or_(*(column.contains(text, autoescape=True) for text in looked_for))
    values = connection.execute(sa.select(column).where(hit).distinct()).scalars().all()
    changed = 0
    for value in values:
        new = _without(exact, PICTURE.sub(PICTURE_GONE, value) if pictures else value, GONE)
        if new != value:
            changed += connection.execute(sa.update(table).where(column == value).values({column.name: new})).rowcount
    return changed
