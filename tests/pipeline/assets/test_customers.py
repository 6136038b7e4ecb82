"""The asset of customers is made where they are named, without their data in Dagster's records, and only there."""

from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
from upath import UPath

from pipeline.assets.ingest import customers, raw_customers
from pipeline.build import build_definitions
from pipeline.checks.tables import checks
from pipeline.cli.run import _planned
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home.io_managers import ParquetTables
from pipeline.home.storage import Storage
from pipeline.runtime.resources import RawSources
from pipeline.settings.method import Method

PEOPLE = """\
customer_id,FN,Active,club_member_status,fashion_news_frequency,age,postal_code
u1,,1,ACTIVE,NONE,25,x9
,,,,,,
"""


def made(folder: Path, named: str) -> tuple[dg.ExecuteInProcessResult, list]:
    products = folder / "products.csv"
    products.write_text("sku,title\n1,Hat\n")
    resources = {
        "raw": RawSources(products=str(products), customers=named, home=str(folder)),
        "storage": Storage(root=str(folder)),
        "io_manager": ParquetTables(base_path=UPath(folder / "tables")),
    }
    [check] = [check for check in checks if {key.asset_key for key in check.check_keys} == {customers.key}]
    result = dg.materialize([raw_customers, customers, check], resources=resources)
    return result, result.asset_materializations_for_node("customers")


def test_customers_are_kept_and_nothing_of_them_is_in_the_record(tmp_path: Path):
    (tmp_path / "customers.csv").write_text(PEOPLE)
    result, [record] = made(tmp_path, str(tmp_path / "customers.csv"))
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
    table = pq.read_table(tmp_path / "tables" / "customers.parquet")
    assert table.to_pylist()[0]["reviewer_id"] == "u1" and table.num_rows == 1
    assert record.metadata["rejected"].value == {"reviewer_missing": 1}
    assert record.metadata["vintages"].value == {str(tmp_path / "customers.csv"): "H&M (Kaggle)"}
    assert "u1" not in str(record.metadata) and "ACTIVE" not in str(record.metadata)


def test_without_files_of_customers_nothing_is_made(tmp_path: Path):
    result, records = made(tmp_path, "")
    assert result.success and records == [] and result.get_asset_check_evaluations() == []
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(("with_customers", "expected"), [(True, {"customers"}), (False, set())])
def test_a_run_plans_customers_only_where_they_are_named(with_customers: bool, expected: set[str]):
    segments, _ = _planned(build_definitions(), "group:ingest", True, Method(), IMAGE_MODES, with_customers)
    planned = {key.to_user_string() for segment in segments for key in segment.assets}
    assert planned & {"customers"} == expected and "products" in planned


def test_the_version_of_customers_follows_their_files_and_without_any_they_are_not_watched(tmp_path: Path):
    (tmp_path / "products.csv").write_text("sku,title\n1,Hat\n")
    path = tmp_path / "customers.csv"
    path.write_text(PEOPLE)
    raw = RawSources(products=str(tmp_path / "products.csv"), customers=str(path))
    first, marks = raw.customer_version(), raw.marks()["raw_customers"]
    path.write_text(PEOPLE + "u2,,,,,,\n")
    assert raw.customer_version() != first and raw.marks()["raw_customers"] != marks
    assert "raw_customers" not in RawSources(products=raw.products).marks()
