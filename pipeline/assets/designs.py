"""Garments made for one person: from noise, from a product, and what realism costs them.

The searches belong in `models/design/`; the scoring models, the tables and the strips in `pipeline/designs/`.
"""

import dagster as dg
import pyarrow as pa

from models.design.settings import DesignSettings
from pipeline.core.dataset.extent import extent_of
from pipeline.home.storage import Storage, digest
from pipeline.runtime.progress import reporter
from pipeline.runtime.resources import Compute, Engine
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import DesignTargetSettings, DesignTradeoffSettings
from pipeline.settings.launchpad import DesignsConfig, DesignTradeoffConfig
from pipeline.settings.method import Method
from pipeline.views import plots, sheets
from pipeline.views.metadata import file, table_output, thumbnail

GROUP = "generator"
STRIPS_TRACKED = 6  # strips of designs that a tracked run keeps
PEOPLE_SHOWN = 8  # in the overview

# The setting `mode` chooses the recommender that scores designs; the graph shows its default.
MODE_OF_DESIGNS = dg.SpecificPartitionsPartitionMapping(["vendor_all"])
MODELS = ("generator_champion", dg.AssetDep("recommender_champion", partition_mapping=MODE_OF_DESIGNS))
READ = {dg.AssetKey(name) for name in ("garments", "generator_champion", "recommender_champion")}


@dg.multi_asset(
    name="personal_designs",
    group_name=GROUP,
    pool="gpu",
    outs={
        "personal_designs": dg.AssetOut(
            description="Garments made for one person: latents moved to raise the recommender's score for that person.",
            kinds={"parquet", "png", "mlflow"},
            code_version="3",
        ),
        "design_steps": dg.AssetOut(
            description="Every step of every start of the search: score, realism, objective, latents of kept designs.",
            kinds={"parquet"},
            code_version="2",
        ),
    },
    deps=MODELS,
    internal_asset_deps={"personal_designs": READ, "design_steps": READ},
)
def personal_designs(
    context: dg.AssetExecutionContext,
    config: DesignsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    engine: Engine,
    tracker: Tracker,
    garments: pa.Table,
):
    """Make garments for one person: move latents to raise the recommender's score for that person."""
    from models.data.picture_grid import grid
    from pipeline.designs import designs
    from pipeline.designs import shards as design_shards
    from pipeline.designs import tables as design_tables

    settings = method.settings(DesignSettings, "personal_designs", config)
    target = method.settings(DesignTargetSettings, "personal_designs", config)
    studio = designs.open_studio(storage, target, settings, garments, compute.resolve())
    report = reporter(context, "designing for people")
    with engine.running() as runner:
        found = design_shards.search(
            studio.generator,
            studio.discriminator,
            studio.recommender,
            len(studio.classes),
            settings,
            runner,
            lambda done, total: report(done, total, ""),
        )
    table, strips = design_tables.design_rows(studio, found)
    folder = design_tables.save_strips(storage.reports / "designs", strips)
    figures = design_tables.figures(table)
    overview = grid(
        found.kept[:PEOPLE_SHOWN, :, 0], row_labels=[f"user {user}" for user in studio.users[:PEOPLE_SHOWN]]
    )
    with tracker.run(context, image_mode=target.mode, **extent_of(garments).tags()) as run:
        run.parameters({**vars(settings), **vars(target)}, **studio.runs)
        run.metrics(figures)
        run.picture("designs", overview, step=0)
        for name, picture in list(strips.items())[:STRIPS_TRACKED]:
            run.picture(f"strip-{name}", picture, step=0)
    yield table_output(
        table,
        "personal_designs",
        **figures,
        objective=settings.objective,
        recommender=studio.recommender_name,
        overview=thumbnail(overview),
        strips=file(folder),
        **run.link(),
    )
    yield table_output(design_tables.step_rows(studio, found), "design_steps")


@dg.asset(group_name=GROUP, kinds={"parquet", "png", "mlflow"}, code_version="3", deps=MODELS, pool="gpu")
def restyled_products(
    context: dg.AssetExecutionContext,
    config: DesignsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.Output[pa.Table]:
    """Move products of the shop towards a person's taste; keep the product, its nearest generated garment and steps."""
    from models.design.restyle import restyle
    from pipeline.core.generator import generation
    from pipeline.designs import designs
    from pipeline.designs import tables as design_tables

    settings = method.settings(DesignSettings, "restyled_products", config)
    target = method.settings(DesignTargetSettings, "restyled_products", config)
    studio = designs.open_studio(storage, target, settings, garments, compute.resolve()).for_first(designs.RESTYLED_FOR)
    rows = generation.one_of_each_class(garments, target.products, target.choice_seed)
    report = reporter(context, "restyling products")
    found = restyle(
        studio.generator,
        studio.discriminator,
        studio.recommender,
        studio.shop.pixels[rows],
        generation.labels(garments)[rows],
        settings=settings,
        on_progress=lambda now: report(now.done, now.total, ""),
    )
    table, strips = design_tables.restyled_rows(studio, found, garments.take(pa.array(rows)))
    folder = design_tables.save_strips(storage.reports / "restyled", strips)
    figures = design_tables.figures(table)
    overview = sheets.stack(list(strips.values())[:STRIPS_TRACKED])
    with tracker.run(context, image_mode=target.mode, **extent_of(garments).tags()) as run:
        run.parameters({**vars(settings), **vars(target)}, **studio.runs)
        run.metrics(figures)
        run.picture("restyled", overview, step=0)
    return table_output(table, **figures, overview=thumbnail(overview), strips=file(folder), **run.link())


@dg.asset(group_name=GROUP, kinds={"png", "mlflow"}, code_version="2", deps=MODELS, pool="gpu")
def designs_tradeoff(
    context: dg.AssetExecutionContext,
    config: DesignTradeoffConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Measure what realism costs: make the same designs with several values of eta; compare score and realism."""
    from pipeline.designs import designs
    from pipeline.designs import tradeoff as design_tradeoff

    settings = method.settings(DesignSettings, "personal_designs")
    target = method.settings(DesignTargetSettings, "personal_designs")
    sweep = method.settings(DesignTradeoffSettings, "designs_tradeoff", config)
    studio = designs.open_studio(storage, target, settings, garments, compute.resolve()).for_first(sweep.sweep_users)
    report = reporter(context, "varying the weight of realism")
    rows = design_tradeoff.sweep(studio, settings, sweep, on_progress=lambda done, total: report(done, total, ""))
    curve = plots.tradeoff(rows)
    path = sheets.save(storage.reports / "pictures" / "tradeoff.png", curve)
    with tracker.run(context, image_mode=target.mode, **extent_of(garments).tags()) as run:
        run.parameters({**vars(settings), **vars(target), **vars(sweep)}, **studio.runs)
        for step, row in enumerate(rows):
            run.metrics(row, step=step)
        run.picture("tradeoff", curve, step=0)
    return dg.MaterializeResult(
        metadata={
            "rows": dg.MetadataValue.json(rows),
            "tradeoff": thumbnail(curve),
            "curve": file(path),
            **run.link(),
        },
        data_version=dg.DataVersion(digest(studio.runs, settings, target, sweep)),
    )
