"""Assemble assets, checks, jobs, automation and resources. No other module imports `pipeline.assets`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline.assets import (
    champion,
    dataset,
    designs,
    evaluation,
    generator,
    images,
    ingest,
    item_facts,
    recommender,
    report,
)
from pipeline.checks import dataset as dataset_checks
from pipeline.checks import freshness, pictures, tables, trained
from pipeline.checks import input as input_checks
from pipeline.core import schemas
from pipeline.home import command_lock, environment
from pipeline.home.io_managers import SCHEMAS
from pipeline.runtime.resources import default_resources
from pipeline.study.tuning_job import tune
from pipeline.upkeep import automation, drop_check, observation
from pipeline.upkeep.jobs import jobs
from pipeline.upkeep.recovery import close_tracked_runs
from pipeline.upkeep.training_gate import TrainingGate
from pipeline.views.metadata import COLUMNS, column_schema

OWNERS = {
    "ingest": "team:data", "images": "team:data", "dataset": "team:data",
    "recommender": "team:models", "generator": "team:models", "report": "team:report",
}  # fmt: skip


def build_definitions(*, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Build all definitions of Atelier.

    Args:
        resources: replacements by name; the others come from the environment.
    """
    modules = [ingest, images, dataset, item_facts, recommender, evaluation, generator, designs, champion, report]
    present: dict[str, Any] = {**default_resources(), **(resources or {})}
    storage = present["storage"]
    condition = automation.refresh(
        TrainingGate(storage, present["method"]),
        busy=lambda: command_lock.is_held(storage.home),
        unused=present["method"].leaves_out,
    )
    return dg.Definitions(
        assets=dg.map_asset_specs(
            _with_metadata, automation.automated(dg.load_assets_from_modules(modules), condition)
        ),
        asset_checks=dg.load_asset_checks_from_modules(
            [dataset_checks, drop_check, freshness, input_checks, pictures, tables, trained]
        ),
        jobs=[*jobs, tune, freshness.job],
        schedules=observation.schedules,
        sensors=[*observation.sensors, freshness.sensor, close_tracked_runs],
        resources=present,
    )


def _with_metadata(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Add an asset's owner and a table's columns, so that Dagster shows them before the table exists."""
    schema = {**SCHEMAS, "triplets": schemas.triplets()}.get(spec.key.to_user_string())
    return spec.replace_attributes(
        owners=list(environment.owners()) or [OWNERS[spec.group_name or ""]],
        metadata=spec.metadata if schema is None else {**spec.metadata, COLUMNS: column_schema(schema)},
    )
