"""The jobs over the asset graph: make everything, observe the sources, read the raw files again."""

import dagster as dg

everything = dg.define_asset_job(
    "everything",
    selection=dg.AssetSelection.all(),
    description="From the raw reviews to the lookbook. `python -m pipeline.run` runs it in order, mode by mode.",
    executor_def=dg.in_process_executor,
)

observe_sources = dg.define_asset_job(
    "observe_sources",
    selection=dg.AssetSelection.assets("raw_reviews", "raw_products", "raw_customers", "garment_rules"),
    description="Observe the raw files and the garment classes: their content is their data version.",
    executor_def=dg.in_process_executor,
)

read_again = dg.define_asset_job(
    "read_again",
    selection=dg.AssetSelection.assets("reviews", "products", "rejects"),
    description="Read the raw files again after a failure; requested by the sensor new_files.",
    executor_def=dg.in_process_executor,
)

jobs = [everything, observe_sources, read_again]
