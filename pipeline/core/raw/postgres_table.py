"""Read a table of a PostgreSQL database as texts, by a read-only session and a cursor on the server.

The version of a table is made by the server from where every row lies and which transaction wrote it, so that no row
is transferred to see that nothing changed.
"""

import contextlib
import hashlib
import json
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

from pipeline.core.errors import InputError
from pipeline.core.quoting import printable
from pipeline.core.raw import database_urls
from pipeline.core.raw.database_rows import ROWS_AT_ONCE, Rows, chosen
from pipeline.core.raw.download import NoAnswerError

SECRETS = ("password", "sslpassword", "passfile")
# Unless the URL says otherwise; times in seconds.
DEFAULTS = {"connect_timeout": "10", "application_name": "atelier", "keepalives_idle": "30"}
_SESSION = (
    "SET TIME ZONE 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex';"
    " SET synchronize_seqscans = off; SET cursor_tuple_fraction = 1; SET client_encoding = 'UTF8'"
)
_TABLES = """
    SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relispartition, pg_table_is_visible(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND n.nspname !~ '^pg_(toast|temp)' AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY n.nspname, c.relname"""
_COLUMNS = """
    SELECT a.attnum, a.attname, t.typname, t.typcategory::text, a.attgenerated::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
      AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')
    ORDER BY a.attnum"""
_KEY = """
    SELECT a.attname FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = %s AND i.indisprimary ORDER BY k.place"""
# The table with its partitions and the tables that inherit from it.
_TREE = """
    WITH RECURSIVE tree(oid) AS (
        SELECT %s::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid)"""
_IS_HEAP = f"""{_TREE}
    SELECT bool_and(c.relkind = 'p' OR (c.relkind IN ('r', 'm') AND m.amname = 'heap'))
    FROM tree JOIN pg_class c USING (oid) LEFT JOIN pg_am m ON m.oid = c.relam"""
_MARK = f"""{_TREE}
    SELECT pg_postmaster_start_time()::text, count(*), sum(pg_relation_filenode(oid)::bigint), sum(
        pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))
    FROM tree"""
# An update or insert gives a row another place or another transaction. A server that restarted may have been restored,
# and number its transactions anew.
_VERSION = """
    SELECT pg_postmaster_start_time()::text, count(*)::text,
        sum(hashtextextended(t.tableoid::text || t.ctid::text || t.xmin::text, 0))::text FROM {} AS t"""


class PostgresTable:
    """The table that a URL names.

    Raises:
        InputError: in every method: the server refuses, or lacks the table; no message holds the password.
        NoAnswerError: the server does not answer now.
    """

    def __init__(self, url: str) -> None:
        from psycopg2 import Error
        from psycopg2.extensions import parse_dsn

        self.name, self._wanted = database_urls.shown(url), database_urls.table_of(url)
        try:
            self._parameters = parse_dsn(database_urls.without_table(url))
        except Error:  # its text may hold a part of the password
            raise InputError(
                f"{self.name}: is no valid address; write {database_urls.SHAPES}, with special characters in user name"
                " and password as %40 for @, %2F for / and so on, or leave the password to PGPASSWORD or ~/.pgpass"
            ) from None
        open_ones = {name: value for name, value in self._parameters.items() if name not in SECRETS}
        self.identity = json.dumps(["postgresql", open_ones, self._wanted], sort_keys=True)

    def mark(self) -> str:
        """Return the server's own counts of what was written to the table, which may lag a second behind.

        Empty for a view, whose tables are not followed.
        """
        with self._session() as session, session.cursor() as cursor:
            oid, kind, _ = self._table(cursor)
            if kind not in ("r", "p", "m"):
                return ""
            cursor.execute(_MARK, (oid,))
            return " ".join(map(str, cursor.fetchone()))

    def check(self) -> None:
        """Look whether the table is there, without reading it."""
        self.mark()

    @contextlib.contextmanager
    def rows(self) -> Generator[Rows]:
        """Open the table at one moment, in the order of its primary key, or as the server keeps it if it has none."""
        from psycopg2 import sql

        with self._session() as session, session.cursor() as cursor:
            oid, kind, place = self._table(cursor)
            cursor.execute(_COLUMNS, (oid,))
            columns = cursor.fetchall()
            names = tuple(column[1] for column in columns)
            if not names:
                raise InputError(f"{self.name}: the table has no column that may be read; grant SELECT on it")
            cursor.execute(_KEY, (oid,))
            # With the table's name, since the text of a number in the result has the column's name too.
            keys = [sql.Identifier("t", name) for (name,) in cursor.fetchall() if name in names]
            table = sql.Identifier(*place)
            texts = sql.SQL(", ").join(_as_text(sql.Identifier(c[1]), c[2], c[3]) for c in columns)
            query = sql.SQL("SELECT {} FROM {} AS t").format(texts, table)
            if keys:
                query += sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(keys))
            version = self._version(cursor, oid, kind, columns, sql.SQL(_VERSION).format(table))
            yield Rows(".".join(place), names, pa.string(), version, lambda: self._batches(session, query))

    def _batches(self, session: Any, query: Any) -> Iterator[list[list[str | None]]]:
        with session.cursor(name="atelier") as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield [list(column) for column in zip(*rows, strict=True)]

    def _table(self, cursor: Any) -> tuple[int, str, tuple[str, str]]:
        """Find the table: its number, its kind (pg_class.relkind), and schema and name."""
        cursor.execute(_TABLES)
        found = {}
        for oid, schema, name, kind, is_partition, is_visible in cursor.fetchall():
            whole = f"{schema}.{name}"
            label = name if is_visible and self._wanted != whole else whole
            found[label] = (oid, kind, (schema, name), is_partition)
        listed = [name for name, (_, _, _, is_partition) in found.items() if not is_partition or name == self._wanted]
        tables = [name for name in listed if found[name][1] in ("r", "p")]
        oid, kind, place, _ = found[chosen(self.name, self._wanted, tables, listed)]
        return oid, kind, place

    def _version(self, cursor: Any, oid: int, kind: str, columns: list[tuple], query: Any) -> str:
        """Return the table's version; empty for a view, a foreign table or another storage than PostgreSQL's own."""
        cursor.execute(_IS_HEAP, (oid,))
        if kind not in ("r", "p", "m") or not cursor.fetchone()[0] or any(column[4] == "v" for column in columns):
            return ""
        cursor.execute(query)
        said = json.dumps([oid, columns, cursor.fetchone()])
        return f"postgresql {hashlib.sha256(said.encode()).hexdigest()}"

    @contextlib.contextmanager
    def _session(self) -> Generator[Any]:
        """Connect, and hold one moment of the database for the block."""
        import psycopg2

        session = None
        try:
            session = psycopg2.connect(**{**DEFAULTS, **self._parameters})
            session.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with session.cursor() as cursor:
                cursor.execute(_SESSION)
            yield session
        except psycopg2.Error as error:
            raise self._explained(error) from None  # a cause's text may hold what the URL holds
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.name}: holds text that is not UTF-8 ({error.reason}); mend it, or create a view without it"
            ) from None
        finally:
            if session is not None:
                session.close()

    def _explained(self, error: Any) -> Exception:
        import psycopg2
        from psycopg2 import errorcodes

        said = " ".join(str(error).split())
        for name in SECRETS:
            if secret := self._parameters.get(name):
                said = said.replace(secret, database_urls.HIDDEN)
        said = printable(said, 300)
        code = error.pgcode or ""
        if code == errorcodes.INSUFFICIENT_PRIVILEGE:
            return InputError(f"{self.name}: this user may not read it ({said}); grant SELECT on it")
        refused = any(
            word in said for word in ("authentication", "no pg_hba.conf entry", "does not exist", "no password")
        )
        if not refused and (isinstance(error, psycopg2.OperationalError) or code.startswith(("08", "40", "53", "57"))):
            return NoAnswerError(f"no answer from the database ({said})")
        return InputError(
            f"{self.name}: the server refuses ({said}); check host, database, user and password, which may also be in"
            " PGPASSWORD or ~/.pgpass"
        )


def _as_text(column: Any, kind: str, category: str) -> Any:
    """Write a column as text: lists and records as JSON, moments with their zone in full."""
    from psycopg2 import sql

    if category in ("A", "C"):
        return sql.SQL("to_json({})::text").format(column)
    return sql.SQL("{}::text || ':00'" if kind == "timestamptz" else "{}::text").format(column)
