"""Register each new model in MLflow and decide whether it becomes the champion.

Picks and designs are made with the champion. The rule for the decision belongs in `pipeline/champions/`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from pipeline.champions import candidates
from pipeline.champions.model_registry import CHAMPION, VISUAL_CHAMPION
from pipeline.core.dataset.extent import Extent
from pipeline.core.tables import StoredTable
from pipeline.home.partitions import image_modes
from pipeline.home.storage import MANIFEST, ModelFolder, Storage, digest
from pipeline.recommenders import registry
from pipeline.runtime.resources import Compute
from pipeline.runtime.summary import LatestMetadata
from pipeline.runtime.tracking import TrackedRun, Tracker
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings
from pipeline.settings.launchpad import ChampionConfig, GeneratorChampionConfig
from pipeline.settings.method import Method

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.champions.model_registry import RegisteredVersion
    from pipeline.champions.succession import Succession


@dg.asset(
    group_name="recommender",
    partitions_def=image_modes,
    kinds={"mlflow"},
    code_version="3",
    deps=[*(one.op for one in registry.main()), "baselines"],
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
    recommender_evaluation: pa.Table,
) -> dg.MaterializeResult:
    """Choose the best of a mode's models, register it, and make it champion if it beats the current one.

    The champion makes the lists that people see. The visual champion, the best one that scores new pictures, makes
    designs and scores new items.
    """
    from pipeline.champions import choice, succession

    mode = context.partition_key
    settings = method.settings(ChampionSettings, "recommender_champion", config)
    models = candidates.evaluated(storage, mode, LatestMetadata(context.instance).of("recommender_evaluation", mode))
    frame = recommender_evaluation.to_pandas()
    lists = choice.choose(frame, candidates.servable(models), settings)
    sees = choice.choose(frame, candidates.sees(models), settings, floored=False)
    names = users, items, products.read(["asin", "garment_class"])
    tags = Extent.of(models[lists.name].manifest().get("extent")).tags()
    with tracker.run(context, image_mode=mode, model_folder=str(models[lists.name].path), **tags) as run:
        run.parameters(settings, recommender=models[lists.name].run, visual=models[sees.name].run)
        chosen = run, storage, mode, models[lists.name], names, settings, compute.resolve()
        outcome = succession.recommender(*chosen, below=[models[name].run for name in lists.below])
        seeing = run, storage, mode, models[sees.name], names, settings, compute.resolve()
        visual = succession.recommender(*seeing, alias=VISUAL_CHAMPION)
        for one in registry.main():
            if one.name in models and one.name != lists.name:
                version, _ = succession.register(run, storage, mode, models[one.name], names)
                succession.not_chosen(run, version, lists.name, lists.why)
        served = served_beside_popularity(run, storage, mode, models, names, frame, outcome.champion, settings, compute)
        storage.set_recommender_champions(mode, outcome.champion.made, visual.champion.made)
        in_use = storage.recommender_in_use(mode)
        if in_use.run != outcome.champion.made:
            context.log.warning(
                f"the champion {outcome.champion.uri} was made from {outcome.champion.made}, which is not in "
                f"{storage.home}: picks of this home are made by {in_use.run}"
            )
        metadata, figures = _decision(outcome)
        context.log.info(f"{lists.why} {metadata['why']} Champion: version {outcome.champion.number}.")
        of_this_data = models.get(in_use.recommender)
        against = ""
        if of_this_data is not None and of_this_data.run == in_use.run:
            against = choice.against_popularity(frame, in_use.recommender, settings)
            context.log.info(f"{in_use.recommender}: {against}")
        run.tag("verdict", metadata["decision"].value["verdict"])
        run.tag("data_version", models[lists.name].manifest()["inputs"]["splits"])
        rows = [_decision_row(alias, of) for alias, of in ((CHAMPION, outcome), (VISUAL_CHAMPION, visual))]
        run.table("decision", rows)
        run.table("choice", [{**row, "served": row["model"] == in_use.recommender} for row in lists.rows])
        run.metrics(figures)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "chosen": lists.name,
                "why_chosen": lists.why,
                "models": dg.MetadataValue.md(choice.markdown(lists.rows)),
                "recommender": in_use.recommender,
                "served": dg.MetadataValue.json(served),
                "against_popularity": against or None,
                "better_but_cannot_be_served": list(lists.ahead) or None,
                "visual_recommender": storage.recommender_in_use(mode, sees=True).recommender,
                "visual_version": visual.champion.number,
                "visual_model": visual.champion.made,
                "visual_uri": f"models:/{visual.champion.name}@{VISUAL_CHAMPION}",
                "visual_why": _decision(visual)[0]["why"],
                **figures,
                **run.link(),
            },
            data_version=dg.DataVersion(digest(outcome.champion.made, visual.champion.made)),
        )


def served_beside_popularity(
    run: TrackedRun,
    storage: Storage,
    mode: str,
    models: dict[str, ModelFolder],
    names: tuple[pa.Table, pa.Table, pa.Table],
    frame: "pd.DataFrame",
    served: "RegisteredVersion",
    settings: ChampionSettings,
    compute: Compute,
) -> dict[str, Any]:
    """Compare what is served with popularity, for the check: figures, paired difference, and whether it is below.

    A champion of the present data is compared by its evaluation (NDCG@10), one of earlier data by NDCG@100 on the pairs
    that it was not trained on.
    """
    from pipeline.champions import choice, succession

    popular = registry.floor().name
    own = next((name for name, folder in models.items() if folder.run == served.made), "")
    if popular not in models:
        return {"compared": 0, "below": False, "why": f"{popular} was not evaluated"}
    if own == popular:
        return {"compared": 0, "below": False, "why": f"{popular} itself is served"}
    if own:
        return {"figure": choice.FLOOR, **choice.difference(frame, choice.FLOOR, own, popular, settings)}
    shop = succession.shop_of(models[popular], names)
    values = succession.compare_with_served(run, served, models[popular], shop, compute.resolve())
    return {"figure": choice.DECIDES, **choice.of_values(values.champion, values.challenger, settings)}


def _decision(outcome: "Succession") -> tuple[dict[str, Any], dict[str, float]]:
    """Return the metadata and the metrics of a decision."""
    champion, decision = outcome.champion, outcome.decision
    row = {"verdict": "judged before"} if decision is None else decision.row()
    why = f"version {outcome.version.number} had been judged before" if decision is None else decision.why
    metadata = {
        "registered_model": outcome.version.name,
        "version": outcome.version.number,
        "champion_version": champion.number,
        "champion_model": champion.made,
        "champion_uri": f"models:/{champion.name}@{CHAMPION}",
        "decision": dg.MetadataValue.json(row),
        "why": why,
    }
    return metadata, {} if decision is None else decision.figures()


def _decision_row(alias: str, outcome: "Succession") -> dict[str, Any]:
    row = _decision(outcome)[0]["decision"].value
    return {"alias": alias, "version": outcome.version.number, "champion": outcome.champion.number, **row}


@dg.asset(group_name="generator", kinds={"mlflow"}, code_version="3", deps=["lsgan"])
def generator_champion(
    context: dg.AssetExecutionContext,
    config: GeneratorChampionConfig,
    method: Method,
    storage: Storage,
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
        outcome = succession.generator(run, trained, garments, pixels, settings)
        return _record_outcome(context, run, trained, outcome)


def _record_outcome(
    context: dg.AssetExecutionContext, run: TrackedRun, trained: ModelFolder, outcome: "Succession"
) -> dg.MaterializeResult:
    """Record the decision on a generator in MLflow and the home, and return it as metadata."""
    champion = outcome.champion
    in_use = Path(champion.made).name
    if not (trained.parent / in_use / MANIFEST).is_file():
        context.log.warning(
            f"the champion {champion.uri} was made from {in_use}, which is not in {trained.parent}: designs of this "
            f"home are made by {trained.run}"
        )
    trained.set_champion(in_use)
    metadata, figures = _decision(outcome)
    row = metadata["decision"].value
    context.log.info(f"{outcome.version.name}: {metadata['why']} Champion: version {champion.number}.")
    run.tag("verdict", row["verdict"])
    run.tag("data_version", trained.manifest()["inputs"]["garments"])
    run.table("decision", [{"version": outcome.version.number, "champion": champion.number, **row}])
    run.metrics(figures)
    return dg.MaterializeResult(
        metadata={**metadata, **figures, **run.link()}, data_version=dg.DataVersion(champion.made)
    )
