"""A shop whose pictures lie behind signed addresses: each is fetched once, whatever is signed anew."""

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
    """Two pictures behind signed addresses, and a store that fetches them."""

    def __init__(self, server: FileServer, folder: Path) -> None:
        self.server, self.store = server, PictureStore(folder)
        self.settings = FetchSettings(allow_hosts=frozenset({server.host}), retries=0)
        for number in (1, 2):
            server.files[f"{number}.jpg"] = Served(jpeg(number))

    def url(self, number: int, day: str) -> str:
        return signed(self.server.url(f"{number}.jpg"), day)

    def fetch(self, *urls: str) -> list[str]:
        """The paths that the server was asked for."""
        before = len(self.server.asked)
        fetch(urls, self.store, self.settings)
        return [asked.path for asked in self.server.asked[before:]]

    def rows(self) -> list[dict]:
        return self.store.ledger().to_pylist()


@pytest.fixture
def shop(tmp_path: Path):
    with FileServer() as server:
        yield Shop(server, tmp_path / "pictures")


def test_a_picture_that_was_signed_anew_is_not_fetched_again(shop: Shop) -> None:
    assert len(shop.fetch(shop.url(1, "01"), shop.url(2, "01"))) == 2
    assert shop.fetch(shop.url(1, "02"), shop.url(2, "02")) == []
    assert [row["url"] for row in shop.rows()] == [shop.url(1, "01"), shop.url(2, "01")]


def test_of_two_addresses_of_one_picture_the_newest_alone_is_asked(shop: Shop) -> None:
    [path] = shop.fetch(shop.url(1, "02"), shop.url(1, "03"), shop.url(1, "01"))
    assert shop.server.url(path) == shop.url(1, "03")
    assert len(shop.rows()) == 1


def test_a_picture_refused_under_an_old_signature_is_asked_under_a_new_one(shop: Shop) -> None:
    shop.server.files["1.jpg"].statuses = [403]
    assert len(shop.fetch(shop.url(1, "01"))) == 1
    assert shop.fetch(shop.url(1, "01")) == []
    assert len(shop.fetch(shop.url(1, "02"))) == 1
    [row] = shop.rows()
    assert (row["reason"], row["url"]) == ("ok", shop.url(1, "02"))


def test_what_another_day_asked_for_is_what_a_mode_keeps(shop: Shop) -> None:
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


def test_a_fresh_signature_makes_no_new_data_version(shop: Shop) -> None:
    one, two = (pa.table({"url": [shop.url(1, day)], "asin": ["A"]}) for day in ("01", "02"))
    assert table_digest(keyed(one)) == table_digest(keyed(two))
    other = pa.table({"url": [shop.url(2, "01")], "asin": ["A"]})
    assert table_digest(keyed(one)) != table_digest(keyed(other))


def test_the_ledger_is_for_its_owner_alone(shop: Shop) -> None:
    shop.fetch(shop.url(1, "01"))
    shop.fetch(shop.url(2, "01"))
    [part] = shop.store.folder.glob("ledger-*.parquet")
    assert part.stat().st_mode & 0o777 == 0o600
