"""An erased person leaves the table of customers at once, with its copies, and every file that held them."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.core import schemas
from pipeline.core.erasure import Erasures
from pipeline.core.raw.copies import CopyFolder, ServerVersion
from pipeline.core.shop.mapping import Shop
from pipeline.erase import erase, traces
from pipeline.erase.rewrite import is_rewritable
from pipeline.home.storage import Storage
from tests.pipeline.conftest import isolate

WHO = "4711"  # a number, which in a text may mean anything
CSV = f"customer_id,age\n{WHO},25\n4712,30\n"
JSON = f'{{"customer_id": {WHO}, "age": 25}}\n{{"customer_id": 4712, "age": 30}}\n'
AMAZON = f'{{"reviewerID": "{WHO}", "asin": "B1"}}\n{{"reviewerID": "A2", "asin": "B1"}}\n'


def kept_copy(home: Path, url: str, ending: str, content: bytes) -> Path:
    place = CopyFolder(home / "inputs", url, ending)
    place.path.mkdir(parents=True)
    place.part.write_bytes(content)
    return place.finish_download(ServerVersion(etag='"1"')).path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    (folder / "tables").mkdir(parents=True)
    people = write(folder / "people.csv", CSV)
    isolate(monkeypatch, folder, ATELIER_CUSTOMERS=str(people), ATELIER_STORE=str(tmp_path / "store"))
    return folder


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def table(home: Path) -> pa.Table:
    return pq.read_table(home / "tables" / "customers.parquet")


def test_an_erased_person_is_gone_from_the_table_the_copies_and_the_homes_copy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"reviewer_id": name, "attributes": [("age", "25")]} for name in (WHO, "4712", "47110")]
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.CUSTOMERS), home / "tables" / "customers.parquet")
    assert Path("tables/customers.parquet") in traces.find(home, [WHO])
    parquet = io.BytesIO()
    pq.write_table(pa.table({"customer_id": [WHO, "4712"], "age": [25, 30]}), parquet)
    copies = [
        kept_copy(home, "https://shop.example/c.csv", "c.csv", CSV.encode()),
        kept_copy(home, "https://shop.example/c.jsonl", "c.jsonl", JSON.encode()),
        kept_copy(home, "https://shop.example/c.parquet", "c.parquet", parquet.getvalue()),
    ]
    reviews = kept_copy(home, "https://shop.example/r.jsonl", "r.jsonl", AMAZON.encode())
    sink = io.StringIO()
    monkeypatch.setattr(erase, "Console", lambda: Console(file=sink, width=400))
    erase.main(["--reviewer", WHO])
    said = sink.getvalue()
    assert "customers: 1 rows removed" in said
    assert table(home)["reviewer_id"].to_pylist() == ["4712", "47110"]
    assert table(home).schema.equals(schemas.CUSTOMERS)
    assert not any(path.exists() for path in copies)
    [left] = [path for path in reviews.parent.iterdir() if path.suffix == ".jsonl"]
    assert WHO not in left.read_text() and "A2" in left.read_text()
    assert Erasures.of(home).holds("reviewer", WHO)
    assert "people.csv: not changed; take this name's rows out of it" in said
    (home / "people.csv").unlink()
    assert traces.find(home, [WHO]) == []
    assert (tmp_path / "store").is_dir() and traces.find(tmp_path / "store", [WHO]) == []


def test_without_a_table_of_customers_nothing_is_removed(tmp_path: Path):
    erased = Erasures.none().with_more("reviewer", WHO, [])
    assert erase._erase_customers(Storage(root=str(tmp_path)).tables, erased) == 0


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("c.csv", CSV, False), ("c.jsonl", JSON, False), ("r.jsonl", AMAZON, True),
        ("literals.json", "{'asin': 'B1', 'title': 'a'}\n", True), ("damaged.json", '{"asin": \n{"a\n', True),
    ],
)  # fmt: skip
def test_only_json_with_known_keys_is_rewritten(tmp_path: Path, name: str, content: str, expected: bool):
    assert is_rewritable(write(tmp_path / name, content)) == expected


def test_json_whose_keys_are_recognised_or_named_by_a_shop_toml_is_not_rewritten(tmp_path: Path):
    assert not is_rewritable(write(tmp_path / "own.jsonl", '{"kunde": "x", "asin": "B1"}\n'))
    path = write(tmp_path / "orders.jsonl", '{"wer": "x", "asin": "B1"}\n')
    assert is_rewritable(path)
    toml = write(tmp_path / "shop.toml", '[interactions]\nuser = "wer"\nitem = "asin"\n')
    assert not is_rewritable(path, Shop.of(toml))
