"""Pictures in an object store are read inside the folders that shop.toml names, and settled by their ETags."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.images.fetch import fetch
from pipeline.core.images.fetch_plan import plan_fetch
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.stored_files import StoredFiles
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.raw.addresses import clean_addresses
from pipeline.core.raw.ingest import read_products
from pipeline.core.shop.mapping import Shop
from pipeline.core.stored_address import stored_path
from tests.pipeline.core.images.test_local_files import jpeg
from tests.pipeline.mirror.object_store import bucket


class Bucket:
    """A bucket of pictures, of which those under `pictures/` may be read, and a store of ours."""

    def __init__(self, name: str, folder: Path) -> None:
        import boto3

        self.name, self.store, self._client = name, PictureStore(folder), boto3.client("s3")
        self.settings = FetchSettings(picture_folders=(f"s3://{name}/pictures",), max_bytes=1_000_000)

    def put(self, key: str, data: bytes) -> str:
        self._client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"s3://{self.name}/{key}"

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.name, Key=key)

    def reasons(self, *addresses: str) -> list[str]:
        fetch(addresses, self.store, self.settings)
        rows = {row["url"]: row["reason"] for row in self.store.ledger().to_pylist()}
        return [rows[address] for address in addresses]

    def asked(self, *addresses: str) -> int:
        return plan_fetch(addresses, self.store, self.settings).requests


@pytest.fixture(scope="module")
def served():
    with pytest.MonkeyPatch.context() as patch, bucket(patch) as made:
        yield made.address.removeprefix("s3://").partition("/")[0]


@pytest.fixture
def shop(served: str, tmp_path: Path) -> Bucket:
    return Bucket(served, tmp_path)


def test_pictures_are_kept_and_what_is_not_read_says_why(shop: Bucket):
    found = {
        shop.put("pictures/1.jpg", jpeg()): "ok",
        shop.put("pictures/caf\u00e9 #1?.jpg", jpeg(1)): "ok",
        shop.put("pictures/deep/er/2.jpg", jpeg(2, (1200, 900))): "ok",
        shop.put("pictures/page.jpg", b"<!doctype html>"): "not_a_picture",
        shop.put("pictures/nothing.jpg", b""): "not_a_picture",
        shop.put("pictures/huge.jpg", bytes(1_000_001)): "too_large",
        shop.put("pictures-2/1.jpg", jpeg()): "outside_folders",
        shop.put("1.jpg", jpeg()): "outside_folders",
        f"s3://{shop.name}/pictures/none.jpg": "file_missing",
        f"s3://{shop.name}/pictures/../1.jpg": "bad_url",
        f"s3://{shop.name}-other/pictures/1.jpg": "outside_folders",
    }
    assert shop.reasons(*found) == list(found.values())
    row = next(row for row in shop.store.ledger().to_pylist() if row["url"].endswith("/1.jpg") and row["sha256"])
    assert (row["format"], row["width"], row["height"], bool(row["etag"])) == ("JPEG", 40, 60, True)
    assert dict(shop.store.read([row["sha256"]])) == {row["sha256"]: jpeg()}


@pytest.mark.parametrize("others", [0, 5])  # few addresses of a folder are asked for one by one, more by its list
def test_a_changed_object_is_read_again_and_an_unchanged_or_removed_one_is_not(shop: Bucket, others: int):
    keys = [f"pictures/changes/{others}/{n}.jpg" for n in range(others + 2)]
    addresses = [shop.put(key, jpeg(n)) for n, key in enumerate(keys)]
    late = f"s3://{shop.name}/pictures/changes/{others}/late.jpg"
    assert set(shop.reasons(*addresses, late)) == {"ok", "file_missing"}
    assert shop.asked(*addresses, late) == 0
    shop.put(keys[0], b"no picture")
    shop.put(f"pictures/changes/{others}/late.jpg", jpeg(9))
    shop.remove(keys[1])
    assert shop.asked(*addresses, late) == 2
    assert shop.reasons(addresses[0], addresses[1], late) == ["not_a_picture", "ok", "ok"]


def test_a_store_that_does_not_answer_is_asked_at_the_next_run_and_unsettles_nothing(shop: Bucket, monkeypatch):
    kept, late = shop.put("pictures/kept.jpg", jpeg()), shop.put("pictures/away.jpg", jpeg(1))
    assert shop.reasons(kept) == ["ok"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("pipeline.core.images.stored_files._TRIES", 1)
    assert shop.reasons(kept, late) == ["ok", "connection"]
    monkeypatch.undo()
    assert shop.reasons(kept, late) == ["ok", "ok"]


def test_nothing_is_asked_where_no_folder_is_named(monkeypatch):
    monkeypatch.setattr(StoredFiles, "_client", property(lambda self: pytest.fail("it asked")))
    files = StoredFiles(("/shop/pictures",), 1_000_000)
    assert files.read_one("s3://shop/1.jpg").reason == "outside_folders"
    assert files.look(["s3://shop/1.jpg"])["s3://shop/1.jpg"] == (None, "outside_folders")


def test_addresses_of_a_table_are_kept_and_those_of_a_fetched_feed_are_refused(tmp_path: Path):
    address, counts = "s3://shop/pictures/a b.jpg", Counter[str]()
    assert clean_addresses([f"{address}|s3://shop/b.jpg"], counts, tmp_path) == [address, "s3://shop/b.jpg"]
    assert clean_addresses(["s3://shop", "s3://shop/a/../b", "s3://UP/a"], counts, tmp_path) == []
    path = tmp_path / "products.jsonl"
    path.write_text(json.dumps({"asin": "B1", "imageURL": [address]}) + "\n")
    assert read_products([path]).products["vendor_urls"].to_pylist() == [[address]]
    (tmp_path / "origin.meta").write_text("{}")  # as beside every fetched file
    row = read_products([path]).products.to_pylist()[0]
    assert (row["vendor_urls"], row["pictures_refused"]) == ([], "local_refused")
    assert stored_path(address) == "shop/pictures/a b.jpg" and stored_path("https://shop/1.jpg") is None


def test_shop_toml_names_folders_in_object_stores_beside_those_on_this_machine(tmp_path: Path):
    (tmp_path / "images").mkdir()
    toml = tmp_path / "shop.toml"
    toml.write_text('[pictures]\nfolders = ["images", "s3://shop/pictures/"]\n')
    assert Shop.of(toml).pictures.folders == (str(tmp_path / "images"), "s3://shop/pictures")
    for wrong in ("http://shop/pictures", "s3://", "s3://S/x", "s3://shop/../x"):
        toml.write_text(f'[pictures]\nfolders = ["{wrong}"]\n')
        with pytest.raises(InputError, match=r"shop.toml:2: \[pictures\] folders: .*s3://bucket/prefix"):
            Shop.of(toml)
