"""A mode that nobody is left in stops before anything is trained, and says which mode and what emptied it."""

import pyarrow as pa
import pytest

from pipeline.assets.dataset import _surviving
from pipeline.core import schemas
from pipeline.core.sources import BadInput
from pipeline.method import Method


def test_a_mode_with_no_users_is_refused_by_its_name_with_the_counts_and_the_mend():
    rows = [{"user": user, "item": item, "time": None} for user in range(2) for item in range(5)]
    interactions = pa.Table.from_pylist(rows, schema=schemas.INTERACTIONS)
    urls, ledger = (schema.empty_table() for schema in (schemas.IMAGE_URLS, schemas.IMAGE_LEDGER))
    said = r"image mode vendor_all: no user keeps 5 items with a working picture \(\{.*\}\)\. See image_ledger"
    with pytest.raises(BadInput, match=said):
        _surviving(Method(), interactions, urls, ledger, "vendor_all")
