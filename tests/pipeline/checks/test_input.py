"""The check of the input stops before pictures are fetched, with the text that the command has."""

from pathlib import Path

import dagster as dg
from upath import UPath

from pipeline.assets.ingest import garment_rules, ingest_files, raw_products, raw_reviews
from pipeline.checks.input import ANYWAY_TAG, INSPECTED, something_can_come_of_the_input
from pipeline.home.io_managers import ParquetTables
from pipeline.home.storage import Storage
from pipeline.inspection.causes import pointless
from pipeline.runtime.resources import RawSources
from pipeline.settings.method import Method
from tests.pipeline.inspection.shops import PRODUCTS, REVIEWS, measured, product

OTHERS = [product(row["asin"].lower()) for row in PRODUCTS]


@dg.asset(deps=["reviews", "products"])
def image_urls() -> None:
    """Stand for the asset that the check watches."""


@dg.asset(deps=["image_urls"])
def image_ledger() -> None:
    """Stand for what must not begin."""


@dg.asset(deps=["image_urls"])
def garments() -> None:
    """Stand for the generator's half."""


def checked(folder: Path, reviews: list | None = REVIEWS, products: list = PRODUCTS, alone=False, **tags: str):
    """Ingest the rows, then run the check; return the evaluation, whether `image_ledger` was made, and the facts."""
    facts = measured(folder, reviews, products)
    after = garments if alone else image_ledger
    files = {
        "reviews": "" if reviews is None else str(folder / "reviews.jsonl"),
        "products": str(folder / "products.jsonl"),
    }
    resources = {
        "raw": RawSources(**files),
        "io_manager": ParquetTables(base_path=UPath(folder / "tables")),
        "storage": Storage(root=str(folder)),
        "method": Method(),
    }
    definitions = dg.Definitions(
        assets=[raw_reviews, raw_products, garment_rules, ingest_files, image_urls, image_ledger, garments],
        asset_checks=[something_can_come_of_the_input],
        jobs=[dg.define_asset_job("all", executor_def=dg.in_process_executor)],
        resources=resources,
    )
    selected = [*ingest_files.keys, image_urls.key, after.key]
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("all")
        result = job.execute_in_process(instance=instance, asset_selection=selected, tags=tags, raise_on_error=False)
        [found] = result.get_asset_check_evaluations()
        made = bool(result.asset_materializations_for_node(after.op.name))
    return found, made, facts


def test_a_shop_that_is_whole_goes_on(tmp_path: Path):
    found, made, _ = checked(tmp_path)
    assert found.passed and found.blocking and made


def test_ids_that_do_not_meet_block_the_fetch_with_the_commands_text(tmp_path: Path):
    found, made, facts = checked(tmp_path, products=OTHERS)
    assert not found.passed and not made
    assert found.description == pointless(facts)[0].text


def test_no_review_is_named_with_the_same_reason_and_line(tmp_path: Path):
    found, made, facts = checked(tmp_path, [{"reviewerID": "A"}, "text", "more"])
    assert not found.passed and not made
    assert found.description == pointless(facts)[0].text and "2 not_an_object, 1 asin_missing" in found.description


def test_products_alone_without_pictures_block_and_with_them_go_on(tmp_path: Path):
    found, made, _ = checked(tmp_path, None, [product("B", imageURL=[])])
    assert not found.passed and not made and "none gives an address" in found.description
    assert checked(tmp_path, None)[0].passed


def test_the_generators_half_goes_on_although_ids_do_not_meet(tmp_path: Path):
    found, made, _ = checked(tmp_path, products=OTHERS, alone=True)
    assert found.passed and made


def test_a_tag_lets_the_run_go_on_with_a_warning(tmp_path: Path):
    found, made, _ = checked(tmp_path, products=OTHERS, **{ANYWAY_TAG: "yes"})
    assert not found.passed and found.severity == dg.AssetCheckSeverity.WARN and made


def test_what_the_command_has_inspected_is_not_measured_again(tmp_path: Path):
    found, made, _ = checked(tmp_path, products=OTHERS, **{INSPECTED: "yes"})
    assert found.passed and made and "skipped" in found.metadata
