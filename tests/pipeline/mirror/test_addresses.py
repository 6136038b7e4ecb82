"""Tables reach the store without the signatures and logins in their URLs."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.mirror import sync
from pipeline.mirror.store import Store

SECRET = "5f2a9c0d1e7b4438"
PICTURE = "https://cdn.example/a%2Fb.jpg?w=300"
SIGNED = f"{PICTURE}&X-Amz-Date=20260101T000000Z&X-Amz-Signature={SECRET}"
LOGIN = f"https://me:{SECRET}@cdn.example/b.jpg"


def a_home(home: Path) -> Path:
    for name, table in {
        "tables/products": pa.table({"asin": ["A", "B"], "vendor_urls": [[SIGNED, "https://h/c.jpg"], [LOGIN]]}),
        "tables/rejects": pa.table({"text": [f'{{"imageURL": ["{SIGNED}"], "x": 1', None]}),
        "tables/image_urls": pa.table({"asin": ["A"], "url": [SIGNED]}),
        "pictures/ledger-000001": pa.table({"url": [SIGNED, LOGIN], "sha256": ["x", None]}),
        "tables/users": pa.table({"user": [1]}),
    }.items():
        path = home / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="none")
    return home


def test_urls_reach_the_store_without_secrets_and_stay_whole_in_the_home(tmp_path: Path) -> None:
    home, store = a_home(tmp_path / "home"), Store(str(tmp_path / "store"))
    assert sync.push(home, store)
    objects = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert objects and not any(SECRET.encode() in content for content in objects)
    assert pq.read_table(home / "tables/image_urls.parquet")["url"].to_pylist() == [SIGNED]
    assert sync.push(home, store) is None
    assert sync.pull(home, store) is None

    there = tmp_path / "there"
    there.mkdir()
    sync.pull(there, store)
    assert pq.read_table(there / "tables/image_urls.parquet")["url"].to_pylist() == [PICTURE]
    products = pq.read_table(there / "tables/products.parquet")["vendor_urls"].to_pylist()
    assert products == [[PICTURE, "https://h/c.jpg"], ["https://cdn.example/b.jpg"]]
    assert sync.push(there, store) is None


def test_the_password_of_a_store_is_neither_printed_nor_recorded(tmp_path: Path) -> None:
    home, store = a_home(tmp_path / "home"), Store("memory://me:geheim@host/prefix?key=geheim")
    assert store.address == "memory://me:...@host/prefix?..."
    sync.push(home, Store(str(tmp_path / "store")))
    assert "geheim" not in (home / sync.INDEX).read_text()
