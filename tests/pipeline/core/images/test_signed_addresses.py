"""A shop with signed picture URLs: each picture is fetched once, under any signature."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core import schemas
from pipeline.core.dataset import survivors
from pipeline.core.images.fetch import FetchSettings, fetch
from pipeline.core.images.ledger import PictureStore, mark_placeholders
from pipeline.core.signatures import key, keyed
from pipeline.views.metadata import table_digest
from tests.pipeline.core.fault_server import jpeg
from tests.pipeline.core.file_server import FileServer, Served


def signed(url: str, day: str) -> str:
    return f"{url}?X-Amz-Date=202601{day}T000000Z&X-Amz-Expires=900&X-Amz-Signature=mac{day}"


class Shop:
    """Two pictures with signed URLs, and a store for them."""

    def __init__(self, server: FileServer, folder: Path) -> None:
        self.server, self.store = server, PictureStore(folder)
        self.settings = FetchSettings(allow_hosts=frozenset({server.host}), retries=0)
        for number in (1, 2):
            server.files[f"{number}.jpg"] = Served(jpeg(number))

    def url(self, number: int, day: str) -> str:
        return signed(self.server.url(f"{number}.jpg"), day)

    def fetch(self, *urls: str) -> list[str]:
        """List the paths of the requests."""
        before = len(self.server.asked)
        fetch(urls, self.store, self.settings)
        return [asked.path for asked in self.server.asked[before:]]

    def rows(self) -> list[dict]:
        return self.store.ledger().to_pylist()


@pytest.fixture
def shop(tmp_path: Path):
    with FileServer() as server:
        yield Shop(server, tmp_path / "pictures")


def test_a_newly_signed_picture_is_not_fetched_again(shop: Shop) -> None:
    assert len(shop.fetch(shop.url(1, "01"), shop.url(2, "01"))) == 2
    assert shop.fetch(shop.url(1, "02"), shop.url(2, "02")) == []
    assert [row["url"] for row in shop.rows()] == [shop.url(1, "01"), shop.url(2, "01")]


def test_only_the_newest_of_two_urls_of_a_picture_is_requested(shop: Shop) -> None:
    [path] = shop.fetch(shop.url(1, "02"), shop.url(1, "03"), shop.url(1, "01"))
    assert shop.server.url(path) == shop.url(1, "03")
    assert len(shop.rows()) == 1


def test_a_refused_picture_is_requested_again_with_a_new_signature(shop: Shop) -> None:
    shop.server.files["1.jpg"].statuses = [403]
    assert len(shop.fetch(shop.url(1, "01"))) == 1
    assert shop.fetch(shop.url(1, "01")) == []
    assert len(shop.fetch(shop.url(1, "02"))) == 1
    [row] = shop.rows()
    assert (row["reason"], row["url"]) == ("ok", shop.url(1, "02"))


def test_a_mode_keeps_a_picture_fetched_under_another_signature(shop: Shop) -> None:
    shop.fetch(shop.url(1, "01"), shop.url(2, "01"))
    products = pa.table(
        {
            "asin": ["A", "B"],
            "vendor_urls": [[shop.url(1, "01"), shop.url(1, "02")], [shop.url(2, "02")]],
            "garment_class": pa.array([None, None], pa.string()),
        }
    )
    items = pa.table({"item": pa.array([0, 1], pa.int32()), "asin": ["A", "B"]}, schema=schemas.ITEMS)
    wanted = survivors.image_urls(items, products, schemas.REVIEWS.empty_table())
    assert wanted["url"].to_pylist() == [shop.url(1, "02"), shop.url(2, "02")]
    pairs = pa.table({"user": [0] * 2, "item": [0, 1], "time": [1, 2]}, schema=schemas.INTERACTIONS)
    ledger = mark_placeholders(shop.store.ledger(), wanted)
    kept = survivors.surviving(pairs, wanted, ledger, "vendor_all", k=2).images
    assert kept["url"].to_pylist() == [key(shop.url(1, "02")), key(shop.url(2, "02"))]


def test_a_new_signature_makes_no_new_data_version(shop: Shop) -> None:
    one, two = (pa.table({"url": [shop.url(1, day)], "asin": ["A"]}) for day in ("01", "02"))
    assert table_digest(keyed(one)) == table_digest(keyed(two))
    other = pa.table({"url": [shop.url(2, "01")], "asin": ["A"]})
    assert table_digest(keyed(one)) != table_digest(keyed(other))


def test_only_the_owner_can_read_the_ledger(shop: Shop) -> None:
    shop.fetch(shop.url(1, "01"))
    shop.fetch(shop.url(2, "01"))
    [part] = shop.store.folder.glob("ledger-*.parquet")
    assert part.stat().st_mode & 0o777 == 0o600
