"""Puts assets, checks, jobs and resources together: the only importer of `pipeline.assets`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline import checks
from pipeline.assets import dataset, designs, evaluation, generator, images, ingest, recommender, report
from pipeline.jobs import jobs
from pipeline.resources import default_resources


def build_definitions(*, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole of Atelier.

    Args:
        resources: replaces resources by name; the others come from the environment.
    """
    modules = [ingest, images, dataset, recommender, evaluation, generator, designs, report]
    return dg.Definitions(
        assets=dg.load_assets_from_modules(modules),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        jobs=jobs,
        resources={**default_resources(), **(resources or {})},
    )
