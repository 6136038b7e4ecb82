"""Puts assets, checks, jobs, automation and resources together: the only importer of `pipeline.assets`."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pipeline import automation, observation, terminal_run
from pipeline.assets import champion, dataset, designs, evaluation, generator, images, ingest, recommender, report
from pipeline.checks import dataset as dataset_checks
from pipeline.checks import freshness, pictures, tables, trained
from pipeline.jobs import jobs
from pipeline.recovery import close_tracked_runs
from pipeline.resources import default_resources
from pipeline.training_gate import TrainingGate


def build_definitions(*, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The whole of Atelier.

    Args:
        resources: replaces resources by name; the others come from the environment.
    """
    modules = [ingest, images, dataset, recommender, evaluation, generator, designs, champion, report]
    present: dict[str, Any] = {**default_resources(), **(resources or {})}
    storage = present["storage"]
    condition = automation.refresh(
        TrainingGate(storage, present["method"]), busy=lambda: terminal_run.is_at_work(storage.home)
    )
    return dg.Definitions(
        assets=automation.automated(dg.load_assets_from_modules(modules), condition),
        asset_checks=dg.load_asset_checks_from_modules([dataset_checks, freshness, pictures, tables, trained]),
        jobs=[*jobs, freshness.job],
        schedules=observation.schedules,
        sensors=[*observation.sensors, freshness.sensor, close_tracked_runs],
        resources=present,
    )
