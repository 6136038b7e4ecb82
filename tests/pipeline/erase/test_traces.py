"""A name is found in every encoding and kind of file, and a number only as the value of an id field."""

import gzip
import html
import json
import sqlite3
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipeline.erase import traces
from pipeline.erase.redact import REDACTED, redact, redact_logs

NAME, URL = "A2é/ANN", "http://h/a b?x=1&y=2"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize("name", [NAME, URL])
@pytest.mark.parametrize(
    "write",
    [
        str.encode,
        lambda name: json.dumps({"id": name}).encode(),
        lambda name: json.dumps(json.dumps({"id": name})).encode(),
        lambda name: json.dumps(name).replace("/", "\\/").encode(),
        lambda name: json.dumps(f"line\n{name}\n").encode(),
        lambda name: f'"{escaped(name)}"'.encode(),
        lambda name: html.escape(f"<td>{name}</td>").encode(),
        lambda name: "".join(f"&#{ord(character)};" for character in name).encode(),
        lambda name: quote(name, safe="").encode(),
        lambda name: f"?id={name}".encode("utf-16"),
        lambda name: f"?id={name}".encode("utf-16-be"),
        lambda name: gzip.compress(name.encode()) + gzip.compress(b"\nmore"),
        lambda name: pa.compress(name.encode(), "zstd", asbytes=True),
    ],
)
def test_a_name_is_found_in_any_encoding_and_a_longer_name_is_not(tmp_path: Path, write, name: str):
    (tmp_path / "there").write_bytes(write(name))
    (tmp_path / "longer").write_bytes(write(name + "1"))
    assert traces.find(tmp_path, [name]) == [Path("there")]


def test_a_name_is_found_inside_databases_tables_arrays_and_archives(tmp_path: Path):
    database = sqlite3.connect(tmp_path / "a.db")
    database.execute("CREATE TABLE t (x TEXT)")
    for before in range(3900, 4200, 3):  # SQLite splits a long text over pages, and the name lies across two
        database.execute("INSERT INTO t VALUES (?)", ["." * before + NAME + "." * 100])
    database.commit()
    database.close()
    np.savez_compressed(tmp_path / "b.npz", names=np.array([NAME, "other"]))
    np.save(tmp_path / "c.npy", np.array([NAME.encode(), b"other"]))
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", json.dumps(NAME))
    nested = pa.array([[{"x": [NAME]}]])
    pq.write_table(pa.table({"a": nested, "b": pa.array([NAME]).dictionary_encode()}), tmp_path / "e.parquet")
    pq.write_table(pa.table({"a": pa.array([NAME.encode(), b"\xff"])}), tmp_path / "f.parquet", compression="zstd")
    pq.write_table(pa.table({"a": pa.array([NAME + "1"])}), tmp_path / "other.parquet")
    found = traces.find(tmp_path, [NAME])
    assert [path.name for path in found] == ["a.db", "b.npz", "c.npy", "d.zip", "e.parquet", "f.parquet"]


def test_a_number_is_found_only_in_an_id_field(tmp_path: Path):
    texts = {
        "a.json": '{"reviewerID": 12}', "b.json": '{"user_id": "12", "x": 1}', "c.txt": "| user | 12 |\n",
        "x.json": '{"step": 12, "overall": 12}', "y.json": '{"reviewerID": 1234}', "z.txt": "12 users",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    pq.write_table(pa.table({"reviewer_id": ["12"], "size": ["1"]}), tmp_path / "d.parquet")
    pq.write_table(pa.table({"reviewer_id": ["1234"], "size": ["12"]}), tmp_path / "w.parquet")
    assert [path.name for path in traces.find(tmp_path, ["12"])] == ["a.json", "b.json", "c.txt", "d.parquet"]


def test_a_number_is_redacted_in_the_uis_texts_without_breaking_their_json(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/a.db"
    event = json.dumps({"step": 12, "head": "| reviewer_id |\n| 12 |\n| 1234 |"})
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x TEXT)")
        connection.execute(sa.text("INSERT INTO t VALUES (:x)"), [{"x": event}, {"x": "12"}])
    assert redact(address, ["12"], pictures=False) == 1
    with engine.begin() as connection:
        texts = connection.exec_driver_sql("SELECT x FROM t").scalars().all()
    engine.dispose()
    assert (
        json.loads(texts[0]) == {"step": 12, "head": f"| reviewer_id |\n| {REDACTED} |\n| 1234 |"} and texts[1] == "12"
    )


def test_a_name_with_escapes_is_redacted_in_logs(tmp_path: Path):
    log = tmp_path / "dagster" / "a.log"
    log.parent.mkdir()
    log.write_text(f"{NAME} and {json.dumps(NAME)} and {NAME}1")
    assert redact_logs(tmp_path, [NAME]) == 1
    assert log.read_text() == f'{REDACTED} and "{REDACTED}" and {NAME}1'
