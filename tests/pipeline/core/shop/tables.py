"""A small shop's tables, written in every form that is read."""

import gzip
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ORDERS = [
    ["customer_id", "article_id", "t_dat"],
    ["U1", "0108775015", "2018-09-20"],
    ["U2", "0110065001", "2018-09-21"],
]


def text(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(row) + "\n" for row in rows)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(**members: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def arrow(table: pa.Table, stream: bool = False) -> bytes:
    written = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(written, table.schema) as sink:
        sink.write_table(table)
    return written.getvalue()


def columns(rows: Sequence[Sequence[str]]) -> pa.Table:
    return pa.table(dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True)))


def every_form(rows: Sequence[Sequence[str]]) -> dict[str, bytes]:
    """The rows as files by name; some names lie."""
    plain = text(rows).encode()
    return {
        "plain.csv": plain,
        "named.json": plain,
        "marked.csv": b"\xef\xbb\xbf" + text(rows, ";").encode(),
        "tabs.tsv": text(rows, "\t").encode(),
        "pipes.txt": text(rows, "|").encode(),
        "windows.csv": plain.replace(b"\n", b"\r\n"),
        "wide.csv": text(rows).encode("utf-16"),
        "wide-unmarked.csv": text(rows).encode("utf-16-le"),
        "packed.csv.gz": gzip.compress(plain),
        "packed.csv.zst": pa.compress(plain, "zstd", asbytes=True),
        "packed.zip": zipped(**{"export/orders.csv": plain.decode(), "__MACOSX/export/._orders.csv": "x"}),
        "zip-named.csv": zipped(**{"orders.csv": plain.decode()}),
        "table.parquet": parquet(columns(rows)),
        "parquet-named.csv": parquet(columns(rows)),
        "table.feather": arrow(columns(rows)),
        "table.arrows": arrow(columns(rows), stream=True),
    }
