"""The jobs a person can launch: everything, one part of the page, or a search for better settings."""

import dagster as dg

from pipeline.study.tuning_job import tune

everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all(),
    description="From the raw reviews to the lookbook. `python -m pipeline.run` runs it in order, mode by mode.",
    executor_def=dg.in_process_executor,
)

observe_sources = dg.define_asset_job(
    "observe_sources",
    selection=dg.AssetSelection.assets("raw_reviews", "raw_products", "garment_rules"),
    description="Look at the raw files and the garment classes: their content is their data version.",
    executor_def=dg.in_process_executor,
)

read_again = dg.define_asset_job(
    "read_again",
    selection=dg.AssetSelection.assets("reviews", "products", "rejects"),
    description="Read the raw files once more, after a try that failed; asked for by the sensor new_files.",
    executor_def=dg.in_process_executor,
)

jobs = [everything, observe_sources, read_again, tune]
