"""The recommender of each image mode: DVBPR, or what the preset trains in its place; the methods it is held against,
and the picks.

Thin: `models/` trains and scores; this finds the data, the model's folder and the tracker. Which method it is says
`recommenders.py`. What the models are worth is
`evaluation.py`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from models.bpr_settings import BprSettings
from models.dvbpr_progress import Progress
from pipeline.config import BaselinesConfig, DvbprConfig, RecommendationsConfig
from pipeline.core import parquet as pq
from pipeline.core.durable import write_whole
from pipeline.core.images.bank import open_bank
from pipeline.method import Method
from pipeline.partitions import image_modes
from pipeline.progress import reporter
from pipeline.resources import Compute
from pipeline.settings import RecommendationSettings, RefreshSettings
from pipeline.storage import Storage, digest
from pipeline.tracking import Tracker
from pipeline.upkeep import warm_start
from pipeline.views import plots, sheets
from pipeline.views.metadata import file, table_digest, table_output, thumbnail

GROUP = "recommender"
DVBPR_CODE = "1"
BASELINES_CODE = "3"


def _keep_tables(folder: Path, splits: pa.Table, catalogue: pa.Table) -> None:
    """Put the splits and the catalogue beside a model, so that its figures can be recomputed without our code."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("splits", splits), ("catalogue", catalogue)):
        write_whole(folder / f"{name}.parquet", partial(pq.write_table, table, compression="zstd"))


@dg.asset(
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"pytorch", "mlflow"},
    code_version=DVBPR_CODE,  # the bank is no input: the catalogue says which pictures it has of it
    deps=["image_features"],
    pool="gpu",
)
def dvbpr(
    context: dg.AssetExecutionContext,
    config: DvbprConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    catalogue: pa.Table,
    splits: pa.Table,
    triplets: pa.Table,
) -> dg.MaterializeResult:
    """The mode's recommender: DVBPR on the triplets, or with preset `modern` that method on the frozen features.

    DVBPR goes on from the last model where it can. An interrupted training goes on where it stopped.
    """
    from pipeline import recommenders

    mode = context.partition_key
    refresh = method.settings(RefreshSettings, "dvbpr", config)
    device = compute.resolve()
    bank = open_bank(storage.bank)
    learner = recommenders.learner(method, config, storage, bank, catalogue, splits, triplets, compute.rank_count())
    settings, inputs, configuration = learner.settings, learner.inputs, learner.configuration
    made: dict[str, Any] = {"inputs": inputs, "settings": settings.plain(), "code_version": DVBPR_CODE}
    begun = warm_start.start(storage, mode, configuration, DVBPR_CODE, splits, refresh.warm_start and learner.goes_on)
    folder = storage.made_before("recommender", mode, **made) or storage.model(
        "recommender", digest(inputs, settings, DVBPR_CODE, *([begun.run] if begun.run else [])), mode
    )
    report = reporter(context, f"training {learner.name}")
    reused = folder.finished
    manifest: dict[str, Any]
    with tracker.run(context, image_mode=mode, model_folder=str(folder.path)) as run:
        run.parameters(settings, preset=method.chosen_preset(), device=str(device), ranks=learner.ranks, **inputs)
        if "triplets" in inputs:
            run.data(f"triplets[{mode}]", inputs["triplets"], triplets.num_rows, storage.tables / "triplets")
        else:
            run.data(f"splits[{mode}]", inputs["splits"], splits.num_rows, storage.tables / "splits")
        if reused:
            context.log.info(f"{folder.path} was trained from the same data, settings and code: used again")
            manifest = folder.manifest()
        else:
            context.log.info(f"training begins {begun.why}")
            _keep_tables(folder.path, splits, catalogue)
            warm_start.keep_trained_on(folder.path, splits, begun)

            def progress(now: Progress) -> None:
                report(now.done, now.total, now.note)

            trained = learner.fit(folder.path, device, progress, begun.folder)
            trained.factors.save(folder.path / "factors.npz")
            manifest = {
                "asset": "dvbpr",
                "model": learner.name,
                **learner.about,
                "image_mode": mode,
                **made,
                "configuration": configuration,
                "begun_from": begun.run,
                "begun": begun.why,
                "dagster_run": context.run_id,
                "mlflow_run": run.run_id,
                "history": trained.history,
                "best_epoch": trained.best_epoch,
                "validation_auc": trained.validation_auc,
                "notes": getattr(trained, "notes", []),
            }
        history: list[dict[str, float]] = manifest["history"]
        for entry in history:
            run.metrics({k: v for k, v in entry.items() if k != "epoch" and v is not None}, step=int(entry["epoch"]))
        curve = plots.training_curve(history, mode)
        curve_path = sheets.save(folder.path / "training.png", curve)
        run.picture("training", curve, step=len(history))
        run.file(folder.path / "factors.npz")
    if reused:
        folder.point()
    else:
        folder.finish(manifest)
    return dg.MaterializeResult(
        metadata={
            "model": learner.name,
            "epochs": len(history),
            "best_epoch": manifest["best_epoch"],
            "validation_auc": manifest["validation_auc"],
            "reused": reused,
            "begun": manifest.get("begun", "as new"),
            "folder": file(folder.path),
            "training": thumbnail(curve),
            "curve": file(curve_path),
            **run.link(),
        },
        data_version=dg.DataVersion(folder.run),
    )


@dg.asset(
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"pytorch", "mlflow"},
    code_version=BASELINES_CODE,
    deps=["image_features"],
)
def baselines(
    context: dg.AssetExecutionContext,
    config: BaselinesConfig,
    method: Method,
    storage: Storage,
    tracker: Tracker,
    catalogue: pa.Table,
    splits: pa.Table,
) -> dg.MaterializeResult:
    """The methods DVBPR is held against, on the same splits, tuned on validation."""
    from models import baselines as methods
    from pipeline import recommenders
    from pipeline.core import arrays

    mode = context.partition_key
    settings = method.settings(BprSettings, "baselines", config)
    bank = open_bank(storage.bank)
    arrays.check_bank(catalogue, table_digest(catalogue), bank)
    data = arrays.dataset(arrays.mode_arrays(catalogue, splits), None, bank)
    image_features = recommenders.frozen_features(storage, bank)[data.bank_row]
    inputs = {
        "catalogue": table_digest(catalogue),
        "splits": table_digest(splits),
        "image_features": digest(storage.features_made_by(), bank.digest_of(data.bank_row)),
    }
    folder = storage.model("baselines", digest(inputs, settings, BASELINES_CODE), mode)
    report = reporter(context, "training baselines")
    with tracker.run(context, image_mode=mode, model_folder=str(folder.path)) as run:
        run.parameters(settings, **inputs)
        run.data(f"splits[{mode}]", inputs["splits"], splits.num_rows, storage.tables / "splits")
        reused = folder.finished
        if not reused:
            for done, name in enumerate(methods.NAMES):
                report(done, len(methods.NAMES), name)
                model = methods.fit(name, data, image_features, settings)
                _keep_tables(folder.path / name, splits, catalogue)
                methods.save(model, folder.path / name)
            report(len(methods.NAMES), len(methods.NAMES), "")
            folder.finish(
                {
                    "asset": "baselines",
                    "image_mode": mode,
                    "inputs": inputs,
                    "settings": vars(settings),
                    "code_version": BASELINES_CODE,
                    "dagster_run": context.run_id,
                    "mlflow_run": run.run_id,
                }
            )
    folder.point()
    return dg.MaterializeResult(
        metadata={"models": len(methods.NAMES), "reused": reused, "folder": file(folder.path), **run.link()},
        data_version=dg.DataVersion(folder.run),
    )


@dg.asset(
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"parquet"},
    code_version="2",
    deps=["recommender_champion"],
    pool="gpu",
)
def recommendations(
    context: dg.AssetExecutionContext,
    config: RecommendationsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    catalogue: pa.Table,
    splits: pa.Table,
) -> dg.Output[pa.Table]:
    """The best items of every user by the champion's score; what the user has is left out."""
    from models.factors import Factors
    from pipeline.champions.picks import picks
    from pipeline.core import arrays

    settings = method.settings(RecommendationSettings, "recommendations", config)
    data = arrays.mode_arrays(catalogue, splits)
    trained = storage.in_use("recommender", context.partition_key)
    table = picks(Factors.load(trained.opened / "factors.npz"), data, settings.top, compute.resolve())
    users = pc.count_distinct(table["user"]).as_py()
    newcomers = len(data.users) - users
    if newcomers:
        context.log.warning(f"{newcomers:,} users have no picks: {trained.run}, the champion, does not know them yet")
    return table_output(table, users=users, users_without_picks=newcomers, model=trained.run)
