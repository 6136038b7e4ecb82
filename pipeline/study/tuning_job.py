"""The job `tune`: search for better settings of each model on each image mode, from the launchpad or the terminal.

It is a job rather than a command so that the launchpad checks what is searched, and the result is run metadata.
"""

from typing import TYPE_CHECKING

import dagster as dg

from models.training.deciding import TITLES
from pipeline.home.storage import Storage
from pipeline.runtime.resources import Compute
from pipeline.runtime.tracking import Tracker
from pipeline.settings.launchpad import config_of
from pipeline.settings.method import Method
from pipeline.study.tuning_settings import TuningSettings

if TYPE_CHECKING:
    from pipeline.study.tuning import SearchResult


class TuneConfig(config_of(TuningSettings)):
    """Settings of the search."""


@dg.op(out=dg.Out(dg.Nothing), pool="gpu")
def tuning(
    context: dg.OpExecutionContext,
    config: TuneConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
):
    """Search the settings of each model on each image mode, by its figure on validation; test is never used."""
    from pipeline.study.data import materialised, open_home
    from pipeline.study.tuning import Place, search

    settings = method.settings(TuningSettings, "tuning", config)
    home = open_home(storage, method)
    place = Place(storage.home, compute.resolve(), tracker, context.run_id, context.log.info)
    results: list[SearchResult] = []
    for mode in settings.modes:
        data = materialised(storage, home, mode)
        results += [search(model, data, method, settings, place) for model in settings.models]
    metadata: dict[str, dg.MetadataValue] = {"best": dg.MetadataValue.md(_table(results))}
    for one in results:
        name = f"{one.model}_{one.mode}"
        metadata |= {
            f"{name}_validation_{one.selected_by}": dg.MetadataValue.float(one.value),
            f"{name}_config": dg.MetadataValue.path(str(one.file)),
            f"{name}_mlflow_run": dg.MetadataValue.text(one.mlflow_run),
        }
    yield dg.Output(None, metadata=metadata)


def _table(results: list["SearchResult"]) -> str:
    lines = ["| model | mode | on validation | before | trials (pruned) | best |", "|---|---|---:|---:|---:|---|"]
    for one in results:
        before = "" if one.start_value is None else f"{one.start_value:.4f}"
        best = ", ".join(f"{field}={value}" for field, value in sorted(one.best.items()))
        lines.append(
            f"| {one.model} | {one.mode} | {TITLES[one.selected_by]} {one.value:.4f} | {before} | "
            f"{one.trials} ({one.pruned}) | {best} |"
        )
    return "\n".join(lines)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Search for better settings of the recommenders by NDCG@100 on validation, or by AUC "
    "if fewer than 1,000 pairs are held out. An interrupted search continues "
    "when it is started again. The best settings are written to tuning/<model>/<mode>.yaml in the home, as run config.",
)
def tune() -> None:
    """Run the search that the op's config describes."""
    tuning()
