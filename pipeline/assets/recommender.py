"""The recommenders of each image mode: one asset per main recommender, one for all baselines, and the picks.

These assets supply data, the model's folder and the tracker. Training belongs in `pipeline/recommenders/`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.baselines.settings import BprSettings
from models.data.item_facts import ItemFacts
from pipeline.core import parquet as pq
from pipeline.core.dataset.extent import extent_of
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.durable import write_whole
from pipeline.core.images.bank import Bank, open_bank
from pipeline.core.item_facts import ShopFacts
from pipeline.core.tables import table_digest
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage, digest
from pipeline.recommenders import registry, warm_start
from pipeline.recommenders.contract import (
    FACTS,
    FACTS_FILE,
    FEATURES,
    PIXELS,
    TRIPLETS,
    FitContext,
    NotApplicableError,
    Recommender,
)
from pipeline.runtime.progress import reporter
from pipeline.runtime.resources import Compute
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import RecommendationSettings, RefreshSettings
from pipeline.settings.launchpad import BaselinesConfig, DvbprConfig, ModernConfig, RecommendationsConfig
from pipeline.settings.method import Method
from pipeline.views import plots, sheets
from pipeline.views.metadata import file, table_output, thumbnail

GROUP = "recommender"
TRAINING_CODE = "1"
BASELINES_CODE = "4"


def _keep_tables(folder: Path, splits: pa.Table, catalogue: pa.Table) -> None:
    """Store splits and catalogue beside a model, so that its metrics can be recomputed without this project's code."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("splits", splits), ("catalogue", catalogue)):
        write_whole(folder / f"{name}.parquet", partial(pq.write_table, table, compression="zstd"))


_main_recommender = partial(
    dg.asset,
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"pytorch", "mlflow"},
    code_version=TRAINING_CODE,
    pool="gpu",
)


# Dagster takes an asset's inputs from its signature, so the two main recommenders cannot share one.
# The image bank is no dependency: the catalogue lists the pictures used.
@_main_recommender(deps=["image_features"])
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
    """Train DVBPR from pixels on the mode's triplets.

    Start from the last model if possible. Continue an interrupted training from its checkpoint.
    """
    return _train(context, config, method, storage, compute, tracker, catalogue, splits, triplets)


@_main_recommender(deps=["image_features", "item_facts"])
def modern(
    context: dg.AssetExecutionContext,
    config: ModernConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    catalogue: pa.Table,
    splits: pa.Table,
) -> dg.MaterializeResult:
    """Train the recommender of preset `modern` on the mode's frozen picture features."""
    return _train(context, config, method, storage, compute, tracker, catalogue, splits, None)


def _train(
    context: dg.AssetExecutionContext,
    config: dg.Config,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    catalogue: pa.Table,
    splits: pa.Table,
    triplets: pa.Table | None,
) -> dg.MaterializeResult:
    """Train the recommender that the asset is named after, or reuse a model trained from the same inputs."""
    from pipeline.core import arrays

    name, mode = context.asset_key.to_user_string(), context.partition_key
    recommender = registry.get(name)
    refresh = method.settings(RefreshSettings, recommender.op, config)
    settings = method.settings(_settings_class(recommender), recommender.op, config)
    bank = open_bank(storage.bank)
    inputs, configuration = _provenance(recommender, settings, method, storage, bank, catalogue, splits, triplets)
    extent = extent_of(splits)
    if extent.label:  # no model of all data starts from one of a part of it, or the other way round
        configuration["extent"] = extent.plain()
    made: dict[str, Any] = {"inputs": inputs, "settings": settings.plain(), "code_version": TRAINING_CODE}
    wanted = refresh.warm_start and recommender.warm_starts
    begun = warm_start.start(storage, mode, name, configuration, TRAINING_CODE, splits, wanted)
    folder = storage.find_finished("recommender", mode, **made) or storage.model(
        "recommender", digest(inputs, settings, TRAINING_CODE, *([begun.run] if begun.run else [])), mode
    )
    device, ranks = compute.resolve(), compute.rank_count() if recommender.on_ranks else 1
    report = reporter(context, f"training {name}")
    reused = folder.finished
    manifest: dict[str, Any]
    with tracker.run(context, image_mode=mode, model_folder=str(folder.path), **extent.tags()) as run:
        about = {"preset": method.chosen_preset(), "device": str(device), "ranks": ranks, **extent.parameters()}
        run.parameters(settings, **about, **inputs)
        if triplets is not None:
            run.data(f"triplets[{mode}]", inputs["triplets"], triplets.num_rows, storage.tables / "triplets")
        else:
            run.data(f"splits[{mode}]", inputs["splits"], splits.num_rows, storage.tables / "splits")
        if reused:
            context.log.info(f"{folder.path} was trained from the same data, settings and code: reusing it")
            manifest = folder.manifest()
        else:
            context.log.info(f"training starts {begun.why}")
            _keep_tables(folder.path, splits, catalogue)
            warm_start.keep_trained_on(folder.path, splits, begun)
            data = arrays.dataset(arrays.mode_arrays(catalogue, splits), triplets, bank)
            fitted = recommender.fit(
                FitContext(
                    data=data,
                    features=_features(recommender, storage, bank, catalogue),
                    feature_size=storage.features_size() if recommender.needs_feature_size else 0,
                    folder=folder.path,
                    device=device,
                    seed=settings.seed,
                    home=storage.home,
                    ranks=ranks,
                    begin_from=begun.folder,
                    facts=_facts(storage, data.items) if recommender.reads(FACTS) else None,
                    report=lambda step: report(step.done, step.total, step.note),
                ),
                settings,
            )
            recommender.save(fitted.model, folder.path)
            _keep_for_new_items(recommender, storage, folder.path)
            manifest = {
                "asset": name,
                "model": name,
                **recommender.about(storage.features_size() if recommender.needs_feature_size else 0),
                "image_mode": mode,
                **made,
                "configuration": configuration,
                "extent": extent.plain(),
                "begun_from": begun.run,
                "begun": begun.why,
                "dagster_run": context.run_id,
                "mlflow_run": run.run_id,
                "history": fitted.history,
                "best_epoch": fitted.best_epoch,
                "validation_auc": fitted.validation_auc,
                "selected_by": fitted.selected_by,
                "notes": fitted.notes,
                **({"weights": fitted.weights} if fitted.weights else {}),
            }
        history: list[dict[str, float]] = manifest["history"]
        for entry in history:
            run.metrics({k: v for k, v in entry.items() if k != "epoch" and v is not None}, step=int(entry["epoch"]))
        curve = plots.training_curve(history, recommender.title, mode)
        curve_path = sheets.save(folder.path / "training.png", curve)
        run.picture("training", curve, step=len(history))
        run.file(folder.path / "factors.npz")
    if reused:
        folder.make_current()
    else:
        folder.finish(manifest)
    return dg.MaterializeResult(
        metadata={
            "model": name,
            "epochs": len(history),
            "best_epoch": manifest["best_epoch"],
            "validation_auc": manifest["validation_auc"],
            "selected_by": manifest.get("selected_by") or "auc",
            "reused": reused,
            "begun": manifest.get("begun", "from scratch"),
            **extent.metadata(),
            "folder": file(folder.path),
            "training": thumbnail(curve),
            "curve": file(curve_path),
            **run.link(),
        },
        data_version=dg.DataVersion(folder.run),
    )


def _keep_for_new_items(recommender: Recommender, storage: Storage, folder: Path) -> None:
    """Store beside a model what makes features and facts of new items; the home's own may be replaced later."""
    from pipeline.core.images import trunks

    if recommender.new_pictures and recommender.reads(FACTS):
        _shop_facts(storage).bare().save(folder / FACTS_FILE)
    if recommender.new_pictures and recommender.reads(FEATURES):
        trunks.keep(storage.current_feature_network(), folder)


def _settings_class(recommender: Recommender) -> type[Any]:
    assert recommender.settings_class is not None
    return recommender.settings_class


def _provenance(
    recommender: Recommender,
    settings: Any,
    method: Method,
    storage: Storage,
    bank: Bank,
    catalogue: pa.Table,
    splits: pa.Table,
    triplets: pa.Table | None,
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Return digests of the recommender's inputs, and all settings that a warm start must share.

    Raises:
        InputError: bank, features and catalogue do not belong together.
    """
    from pipeline.core import arrays

    inputs = {"catalogue": table_digest(catalogue), "splits": table_digest(splits)}
    arrays.check_bank(catalogue, inputs["catalogue"], bank)
    of_rows = bank.digest_of(catalogue["bank_row"].to_numpy())
    configuration: dict[str, dict[str, Any]] = {recommender.name: settings.plain()}
    if recommender.reads(TRIPLETS):
        assert triplets is not None
        inputs["triplets"] = table_digest(triplets)
        configuration["triplets"] = vars(method.settings(TripletSettings, "triplets"))
    if recommender.reads(PIXELS):
        inputs["image_bank"] = of_rows[:16]
        configuration["image_bank"] = {"size": bank.size, "resample": bank.resample}
    if recommender.reads(FEATURES):
        inputs["image_features"] = digest(storage.features_made_by(), of_rows)
        configuration["image_features"] = {"made_by": storage.features_made_by()}
    if recommender.reads(FACTS):
        inputs["item_facts"] = storage.facts_version()
    return inputs, configuration


def _shop_facts(storage: Storage) -> ShopFacts:
    return ShopFacts.load(storage.facts(storage.facts_version()))


def _facts(storage: Storage, item_ids: np.ndarray) -> ItemFacts:
    """Read text features and categories of the items with these global ids."""
    return _shop_facts(storage).of(item_ids)


def _features(recommender: Recommender, storage: Storage, bank: Bank, catalogue: pa.Table) -> np.ndarray | None:
    """Read the frozen features of the catalogue's pictures [images, F]; None if the recommender does not need them."""
    if not recommender.reads(FEATURES):
        return None
    return storage.frozen_features(len(bank.pixels), bank.digest)[catalogue["bank_row"].to_numpy()]


@dg.asset(
    group_name=GROUP,
    partitions_def=image_modes,
    kinds={"pytorch", "mlflow"},
    code_version=BASELINES_CODE,
    deps=["image_features", "item_facts"],
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
    """Train all baselines on the same splits as the main recommender, tuned on validation."""
    import torch

    from pipeline.core import arrays

    mode = context.partition_key
    settings = method.settings(BprSettings, "baselines", config)
    bank = open_bank(storage.bank)
    arrays.check_bank(catalogue, table_digest(catalogue), bank)
    data = arrays.dataset(arrays.mode_arrays(catalogue, splits), None, bank)
    inputs = {
        "catalogue": table_digest(catalogue),
        "splits": table_digest(splits),
        "image_features": digest(storage.features_made_by(), bank.digest_of(data.bank_row)),
    }
    recommenders = registry.baselines()
    read_facts = any(recommender.reads(FACTS) for recommender in recommenders)
    if read_facts:
        inputs["item_facts"] = storage.facts_version()
    folder = storage.model("baselines", digest(inputs, settings, BASELINES_CODE), mode)
    report = reporter(context, "training baselines")
    extent = extent_of(splits)
    with tracker.run(context, image_mode=mode, model_folder=str(folder.path), **extent.tags()) as run:
        run.parameters(settings, **extent.parameters(), **inputs)
        run.data(f"splits[{mode}]", inputs["splits"], splits.num_rows, storage.tables / "splits")
        reused = folder.finished
        if not reused:
            fit_context = FitContext(
                data=data,
                features=storage.frozen_features(len(bank.pixels), bank.digest)[data.bank_row],
                feature_size=storage.features_size(),
                folder=folder.path,
                device=torch.device("cpu"),
                seed=settings.seed,
                home=storage.home,
                facts=_facts(storage, data.items) if read_facts else None,
            )
            skipped, tuned = {}, {}
            for done, recommender in enumerate(recommenders):
                report(done, len(recommenders), recommender.name)
                try:
                    fitted = recommender.fit(fit_context, settings)
                except NotApplicableError as reason:
                    context.log.warning(f"{recommender.name} is skipped: {reason}")
                    skipped[recommender.name] = str(reason)
                    continue
                tuned[recommender.name] = fitted.details
                _keep_tables(folder.path / recommender.name, splits, catalogue)
                recommender.save(fitted.model, folder.path / recommender.name)
            report(len(recommenders), len(recommenders), "")
            folder.finish(
                {
                    "asset": "baselines",
                    "image_mode": mode,
                    "extent": extent.plain(),
                    "inputs": inputs,
                    "settings": vars(settings),
                    "code_version": BASELINES_CODE,
                    "skipped": skipped,
                    "tuned": tuned,
                    "dagster_run": context.run_id,
                    "mlflow_run": run.run_id,
                }
            )
    folder.make_current()
    skipped = folder.manifest().get("skipped", {})
    return dg.MaterializeResult(
        metadata={
            "models": len(recommenders) - len(skipped),
            **({"skipped": skipped} if skipped else {}),
            "reused": reused,
            "folder": file(folder.path),
            **run.link(),
        },
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
    """Pick the best items for every user by the champion's score, leaving out items that the user has."""
    from models.data.factors import Factors
    from pipeline.champions.picks import picks
    from pipeline.core import arrays

    settings = method.settings(RecommendationSettings, "recommendations", config)
    data = arrays.mode_arrays(catalogue, splits)
    trained = storage.recommender_in_use(context.partition_key)
    table = picks(Factors.load(trained.verified / "factors.npz"), data, settings.top, compute.resolve())
    users = pc.count_distinct(table["user"]).as_py()
    newcomers = len(data.users) - users
    if newcomers:
        context.log.warning(f"{newcomers:,} users have no picks: {trained.run}, the champion, does not know them yet")
    return table_output(table, users=users, users_without_picks=newcomers, model=trained.run)
