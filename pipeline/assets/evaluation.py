"""Evaluate every model of a mode on the held-out items, and compare the modes.

Metrics belong in `models/metrics/`, their summaries in `pipeline/views/comparison.py`.
"""

import dagster as dg
import numpy as np
import pyarrow as pa

from pipeline.champions.model_registry import RECOMMENDER, Registry, model_name
from pipeline.core import schemas
from pipeline.core.dataset.extent import extent_of
from pipeline.core.dataset.split_facts import protocol_line, split_facts
from pipeline.core.dataset.splits import unit_of
from pipeline.core.schemas import IMAGE_MODES
from pipeline.core.tables import StoredTable, table_digest
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.recommenders import registry, trained, warm_start
from pipeline.runtime.progress import reporter
from pipeline.runtime.resources import Compute, RawSources
from pipeline.runtime.summary import LatestMetadata
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import EvaluationSettings
from pipeline.settings.launchpad import EvaluationConfig
from pipeline.settings.method import Method
from pipeline.views import comparison, plots, sheets
from pipeline.views.metadata import table_output, thumbnail
from pipeline.views.words import other_data

GROUP = "recommender"


@dg.asset(
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"parquet", "mlflow"},
    code_version="4",
    deps=[*(one.op for one in registry.main()), "baselines"],
    pool="gpu",
)
def recommender_evaluation(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    raw: RawSources,
    catalogue: pa.Table,
    splits: pa.Table,
    users: pa.Table,
    items: pa.Table,
    products: StoredTable,
) -> dg.Output[pa.Table]:
    """Evaluate every model on each user's held-out items: exact AUC and more, one row per (user, model, split)."""
    from models.metrics.evaluate import evaluate
    from models.metrics.scoring import ScoringModel, pooled
    from pipeline.core import arrays

    mode = context.partition_key
    settings = method.settings(EvaluationSettings, "recommender_evaluation", config)
    data = arrays.mode_arrays(catalogue, splits)
    others = storage.current("baselines", mode)
    tables = {"splits": table_digest(splits), "catalogue": table_digest(catalogue)}
    main, older = trained.on_tables(storage, mode, **tables)
    others.expect(**tables)
    own = next(iter(main))
    if older:
        context.log.info(f"trained on other data, and not evaluated: {', '.join(older)}")
    models: dict[str, ScoringModel] = {name: registry.get(name).load(one.verified) for name, one in main.items()}
    skipped: dict[str, str] = others.manifest().get("skipped", {})
    models |= {one.name: one.load(others.path / one.name) for one in registry.baselines() if one.name not in skipped}
    truth = raw.truth()
    if truth is not None:
        with np.load(truth) as planted:
            models[registry.oracle().name] = arrays.planted(dict(planted), data, users, items)
    if settings.item_score != "mean":
        context.log.warning(
            f"item_score is {settings.item_score}: items with more pictures score higher, so these figures leak; "
            "compare with mean, the default"
        )
    category = arrays.item_categories(data.items, items, products.read(["asin", "categories"]))
    if (category < 0).all():
        context.log.info("no item's metadata has a product type: AUC within the item's own type is not computed")
    report = reporter(context, "evaluating")
    known = warm_start.seen(splits, pa.concat_tables([warm_start.trained_on(one.path) for one in main.values()]))
    held_out = {split: data.without(split, known) for split in ("validation", "test")}
    if known.num_rows:
        context.log.info(
            f"{known.num_rows:,} held-out pairs are not evaluated: {', '.join(main)} or a model it began from was "
            "trained on them"
        )
    parts, of_catalogue = [], {}
    for done, (name, model) in enumerate(models.items()):
        report(done, len(models), name)
        for split, remaining in (("validation", "test"), ("test", "validation")):
            measured = evaluate(
                pooled(model, settings.item_score),
                held_out[split],
                data.pairs["train"],
                data.pairs[remaining],
                category=category,
                seed=settings.seed,
                device=compute.resolve(),
            )
            parts.append(comparison.per_user_table(measured, data, name, split))
            of_catalogue[name, split] = comparison.of_catalogue(measured, len(data.items))
    report(len(models), len(models), "")
    table = pa.concat_tables(parts)
    figures = comparison.summaries(table, settings)
    comparison.expect_ranked(figures, mode, len(data.users), len(data.items))
    for (name, split), values in of_catalogue.items():
        figures[name][split] |= values
    extent, protocol = extent_of(splits), protocol_line(split_facts(splits))
    with tracker.run(context, image_mode=mode, **extent.tags()) as run:
        runs = {name: one.run for name, one in main.items()}
        about = {"recommender": runs[own], "baselines": others.run, "split_unit": unit_of(splits)}
        run.parameters(settings, **about, **extent.parameters())
        run.data(f"splits[{mode}]", table_digest(splits), splits.num_rows, storage.tables / "splits")
        run.metrics(comparison.flat(figures))
    return table_output(
        table,
        figures=figures,
        validation_auc=figures[own]["validation"]["auc"],
        test_auc=figures[own]["test"]["auc"],
        protocol=protocol,
        models=dg.MetadataValue.md(f"{protocol}\n\n{comparison.markdown(figures)}"),
        runs=runs,
        baselines=others.run,
        not_evaluated=list(older) or None,
        skipped=skipped or None,
        item_score=settings.item_score,
        **extent.metadata(),
        items_without_a_type=int((category < 0).sum()),
        held_out_pairs_trained_on_before=known.num_rows,
        **run.link(),
    )


@dg.asset(
    group_name=GROUP,
    kinds={"parquet", "mlflow"},
    code_version="4",
    deps=[dg.AssetDep("recommender_champion", partition_mapping=dg.AllPartitionMapping())],
    ins={
        "recommender_evaluation": dg.AssetIn(
            partition_mapping=dg.AllPartitionMapping(), metadata={"allow_missing_partitions": True}
        )
    },
)
def recommender_comparison(
    context: dg.AssetExecutionContext,
    config: EvaluationConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    recommender_evaluation: dict[str, pa.Table],
) -> dg.Output[pa.Table]:
    """Compare all models in all evaluated modes, as in the paper's Table 3, and all runs on each mode's data."""
    from pipeline.champions import runs

    settings = method.settings(EvaluationSettings, "recommender_comparison", config)
    by_mode = {mode: recommender_evaluation[mode] for mode in IMAGE_MODES if mode in recommender_evaluation}
    missing = [mode for mode in IMAGE_MODES if mode not in by_mode]
    if missing:
        context.log.warning(f"not evaluated yet, and left out: {', '.join(missing)}")
    ledger = LatestMetadata(context.instance)
    evaluated = {mode: ledger.of("recommender_evaluation", mode).get("figures", {}) for mode in by_mode}
    extents = {mode: ledger.of("recommender_evaluation", mode).get("extent", "") for mode in by_mode}
    if len(set(extents.values())) > 1:
        context.log.warning("; ".join(other_data(mode, extent) for mode, extent in extents.items()))
    rows = comparison.compare(by_mode, settings, evaluated)
    chart = plots.comparison(rows, "test")
    path = sheets.save(storage.reports / "pictures" / "comparison.png", chart)
    of_runs, shown = [], []
    labels = ", ".join(f"{mode}: {extent}" for mode, extent in extents.items() if extent)
    with tracker.run(context, **({"data.extent": labels} if labels else {})) as run:
        store = Registry(run.client, run.uri)
        for mode in by_mode:
            found = runs.runs_of(storage, mode)
            champion = store.champion(model_name(RECOMMENDER, mode))
            of_mode = runs.compare_runs(found, champion.made if champion else None, settings, compute.resolve())
            shown.append(f"**{mode}**\n\n{runs.markdown(of_mode)}")
            of_runs += [{"mode": mode, **row} for row in of_mode]
        run.parameters(settings, image_modes=", ".join(by_mode))
        run.metrics(
            {
                f"{row['mode']}.{row['model']}.{row['split']}.{name}": row[name]
                for row in rows
                for name in ("auc", *comparison.AUCS, *comparison.LISTS)
                if row[name] is not None
            }
        )
        run.picture("comparison", chart, step=0)
        run.table("models", rows)
        run.table("runs", of_runs)
        run.file(path)
    table = pa.Table.from_pylist(rows, schema=schemas.RECOMMENDER_COMPARISON)
    return table_output(
        table,
        chart=thumbnail(chart),
        runs=dg.MetadataValue.md("\n\n".join(shown)),
        between_modes=comparison.between_modes(by_mode, "test", settings),
        between_models={mode: comparison.between_models(part, "test", settings) for mode, part in by_mode.items()},
        between_models_ndcg_at_100={
            mode: comparison.between_models(part, "test", settings, "ndcg_at_100") for mode, part in by_mode.items()
        },
        protocols={mode: ledger.of("recommender_evaluation", mode).get("protocol", "") for mode in by_mode},
        missing_modes=missing or None,
        **run.link(),
    )
