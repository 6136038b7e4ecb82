"""A mode that nobody is left in stops before anything is trained, and says which mode and what emptied it."""

import pyarrow as pa
import pytest

from pipeline.assets.dataset import _surviving
from pipeline.core import schemas
from pipeline.core.dataset.extent import Extent, carrying
from pipeline.core.errors import InputError
from pipeline.settings.method import Method


def surviving(*working: int, modes: tuple[str, ...] = schemas.IMAGE_MODES, k: int = 5) -> None:
    """Two users of the same five items, of which `working` have a picture; the interactions are a k-core."""
    pairs = [{"user": user, "item": item, "time": None} for user in range(2) for item in range(5)]
    urls = [{"asin": f"B{i}", "item": i, "source": "vendor", "position": 0, "url": f"u{i}"} for i in range(5)]
    ledger = [{"url": f"u{i}", "status": "ok", "reason": "ok", "attempts": 1, "sha256": f"s{i}"} for i in working]
    tables = [
        pa.Table.from_pylist(rows, schema=schema)
        for rows, schema in (
            (pairs, schemas.INTERACTIONS),
            (urls, schemas.IMAGE_URLS),
            (ledger, schemas.IMAGE_LEDGER),
        )
    ]
    tables[0] = carrying(tables[0], Extent(k))
    tables[1] = carrying(tables[1], Extent(modes=modes))
    _surviving(Method(), *tables, mode="vendor_all")


def test_a_mode_with_no_users_is_refused_by_its_name_with_the_counts_and_where_to_look():
    said = (
        r"vendor_all: no user is left with 5 items .* \(1 of 5 items have none\); look at the reasons in image_ledger"
    )
    with pytest.raises(InputError, match=said):
        surviving(0, 1, 2, 3)
    surviving(0, 1, 2, 3, 4)


def test_a_mode_without_a_working_picture_says_where_the_reasons_are():
    with pytest.raises(
        InputError, match="vendor_all: no working picture of any of 5 items; look at the reasons in image_le"
    ):
        surviving()


def test_the_k_of_the_interactions_counts_and_not_that_of_the_profile():
    surviving(0, 1, 2, k=3)
    with pytest.raises(InputError, match="no user is left with 4 items"):
        surviving(0, 1, 2, k=4)


def test_a_mode_whose_pictures_are_not_listed_is_refused_with_the_modes_that_are():
    with pytest.raises(InputError, match="vendor_all: image_urls lists only the pictures of vendor_single: "):
        surviving(0, 1, 2, 3, 4, modes=("vendor_single",))
