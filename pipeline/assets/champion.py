"""Register each new model in MLflow and decide whether it becomes the champion.

Picks and designs are made with the champion. The rule for the decision belongs in `pipeline/champions/`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from pipeline.champions.model_registry import CHAMPION
from pipeline.core.dataset.extent import Extent
from pipeline.core.tables import StoredTable
from pipeline.home.partitions import image_modes
from pipeline.home.storage import MANIFEST, ModelFolder, Storage
from pipeline.recommenders import registry
from pipeline.recommenders import trained as models
from pipeline.runtime.resources import Compute
from pipeline.runtime.tracking import TrackedRun, Tracker
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings
from pipeline.settings.launchpad import ChampionConfig, GeneratorChampionConfig
from pipeline.settings.method import Method

if TYPE_CHECKING:
    from pipeline.champions.succession import Succession


@dg.asset(
    group_name="recommender",
    partitions_def=image_modes,
    kinds={"mlflow"},
    code_version="2",
    deps=[one.op for one in registry.main()],
)
def recommender_champion(
    context: dg.AssetExecutionContext,
    config: ChampionConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    users: pa.Table,
    items: pa.Table,
    products: StoredTable,
) -> dg.MaterializeResult:
    """Register the mode's recommender; make it champion if it beats the current one, or if there is none."""
    from pipeline.champions import succession

    mode = context.partition_key
    settings = method.settings(ChampionSettings, "recommender_champion", config)
    trained = next(iter(models.trained(storage, mode).values()), None) or storage.current("recommender", mode)
    names = users, items, products.read(["asin", "garment_class"])
    tags = Extent.of(trained.manifest().get("extent")).tags()
    with tracker.run(context, image_mode=mode, model_folder=str(trained.path), **tags) as run:
        run.parameters(settings, recommender=trained.run)
        outcome = succession.recommender(run, storage, mode, trained, names, settings, compute.resolve())
        return _record_outcome(context, run, trained, outcome)


@dg.asset(group_name="generator", kinds={"mlflow"}, code_version="2", deps=["lsgan"])
def generator_champion(
    context: dg.AssetExecutionContext,
    config: GeneratorChampionConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Register the generator; make it champion if it beats the current one, or if there is none."""
    from pipeline.champions import succession
    from pipeline.core.generator import generation

    settings = method.settings(GeneratorChampionSettings, "generator_champion", config)
    inputs = generation.inputs(garments)
    trained = storage.current("generator")
    trained.expect(**inputs)
    pixels = storage.load_garments(inputs["garments"])
    tags = Extent.of(trained.manifest().get("extent")).tags()
    with tracker.run(context, model_folder=str(trained.path), **tags) as run:
        run.parameters(settings, generator=trained.run, **inputs)
        outcome = succession.generator(run, trained, garments, pixels, settings, compute.resolve())
        return _record_outcome(context, run, trained, outcome)


def _record_outcome(
    context: dg.AssetExecutionContext, run: TrackedRun, trained: ModelFolder, outcome: "Succession"
) -> dg.MaterializeResult:
    """Record the decision in MLflow and the home, and return it as metadata."""
    champion, decision = outcome.champion, outcome.decision
    in_use = Path(champion.made).name
    if not (trained.parent / in_use / MANIFEST).is_file():
        context.log.warning(
            f"the champion {champion.uri} was made from {in_use}, which is not in {trained.parent}: picks and designs "
            f"of this home are made by {trained.run}"
        )
    trained.set_champion(in_use)
    row = {"verdict": "judged before"} if decision is None else decision.row()
    why = f"version {outcome.version.number} had been judged before" if decision is None else decision.why
    context.log.info(f"{outcome.version.name}: {why} Champion: version {champion.number}.")
    run.tag("verdict", row["verdict"])
    inputs = trained.manifest()["inputs"]
    run.tag("data_version", inputs.get("splits") or inputs["garments"])
    run.table("decision", [{"version": outcome.version.number, "champion": champion.number, **row}])
    if decision is not None:
        run.metrics(decision.figures())
    return dg.MaterializeResult(
        metadata={
            "registered_model": outcome.version.name,
            "version": outcome.version.number,
            "champion_version": champion.number,
            "champion_model": champion.made,
            "champion_uri": f"models:/{champion.name}@{CHAMPION}",
            "decision": dg.MetadataValue.json(row),
            "why": why,
            **({} if decision is None else decision.figures()),
            **run.link(),
        },
        data_version=dg.DataVersion(champion.made),
    )
