"""The generator: its pictures, the LSGAN, and its measures. Designs for one person belong in `designs.py`.

Code that chooses pictures belongs in `core/generator/garments.py`, networks in `models/`, and measures in
`core/generator/figures.py`.
"""

import dataclasses

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.lsgan.settings import LsganSettings
from pipeline.core.dataset import extent as extents
from pipeline.core.generator import garments as garment_pictures
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images.ledger import PictureStore
from pipeline.core.tables import StoredTable, table_digest
from pipeline.home.storage import Storage, digest
from pipeline.runtime.progress import reporter
from pipeline.runtime.resources import Compute
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import GarmentSettings
from pipeline.settings.launchpad import GarmentsConfig, GenerationMetricsConfig, LsganConfig
from pipeline.settings.method import Method
from pipeline.views import plots, sheets
from pipeline.views.metadata import file, table_output, thumbnail

GROUP = "generator"
LSGAN_CODE = "2"
GRID_COLUMNS = 10


@dg.asset(group_name=GROUP, kinds={"parquet", "numpy"}, code_version="4")
def garments(
    context: dg.AssetExecutionContext,
    config: GarmentsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    image_urls: pa.Table,
    image_ledger: pa.Table,
    products: StoredTable,
) -> dg.Output[pa.Table]:
    """Collect labelled 64x64 pictures of the garment classes from ledger and products; discard irrelevant ones."""
    from models.data.picture_grid import grid
    from pipeline.core.generator import generation
    from pipeline.core.images import features

    settings = method.settings(GarmentSettings, "garments", config)
    relevance = method.settings(RelevanceSettings, "garments", config)
    report = reporter(context, "cropping garments")
    looking = reporter(context, "looking at garments")
    built = garment_pictures.build(
        image_urls,
        image_ledger,
        products.read(["asin", "garment_class"], pc.field("asin").isin(image_urls["asin"].combine_chunks())),
        PictureStore(storage.pictures),
        embed=lambda pixels: features.embed(
            pixels,
            size=relevance.feature_size,
            device=compute.resolve(),
            on_progress=lambda done, total: looking(done, total, ""),
        ),
        relevance=relevance,
        on_progress=lambda done, total: report(done, total, ""),
        **vars(settings),
    )
    table = extents.carrying(built.table, extents.recorded(image_urls))
    storage.save_garments(table_digest(table), built.pixels)
    rows = generation.examples(built.table, settings.seed, GRID_COLUMNS)
    sheet = grid(built.pixels[rows], row_labels=generation.classes(built.table))
    path = sheets.save(storage.reports / "pictures" / "garments.png", sheet)
    gone = generation.discarded_sheet(built.discarded, GRID_COLUMNS)
    gone_path = storage.reports / "pictures" / "discarded.png"
    if gone is None:
        gone_path.unlink(missing_ok=True)
    else:
        sheets.save(gone_path, gone)
    return table_output(
        table,
        version=digest(generation.inputs(built.table)),
        counts=built.counts,
        pictures=thumbnail(sheet),
        contact_sheet=file(path),
        discarded=len(built.discarded.reason),
        discarded_pictures=None if gone is None else thumbnail(gone),
        discarded_sheet=None if gone is None else file(gone_path),
        pictures_by_class={name: count["kept"] for name, count in built.counts.items()},
    )


@dg.asset(group_name=GROUP, kinds={"pytorch", "mlflow"}, code_version=LSGAN_CODE, pool="gpu")
def lsgan(
    context: dg.AssetExecutionContext,
    config: LsganConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Train the category-conditional LSGAN; continue an interrupted training from its checkpoint."""
    from models.lsgan.train import load_generator
    from models.training.progress import Progress
    from pipeline.core.generator import generation
    from pipeline.multi_gpu.launch import train_generator

    names = generation.classes(garments)
    settings = dataclasses.replace(method.settings(LsganSettings, "lsgan", config), classes=len(names))
    inputs = generation.inputs(garments)
    version = inputs["garments"]
    folder = storage.model("generator", digest(inputs, settings, LSGAN_CODE))
    training = ~np.asarray(garments["held_out"])
    labels = generation.labels(garments)[training]
    images = {name: int((labels == number).sum()) for number, name in enumerate(names)}
    report = reporter(context, "training LSGAN")
    reused = folder.finished
    extent = extents.extent_of(garments)
    with tracker.run(context, model_folder=str(folder.path), **extent.tags()) as run:
        ranks = compute.rank_count()
        run.parameters(settings, preset=method.chosen_preset(), ranks=ranks, **extent.parameters(), **inputs)
        run.data("garments", version, len(labels), storage.tables / "garments.parquet")
        if reused:
            context.log.info(f"{folder.path} was trained from the same pictures, settings and code: reusing it")
        else:

            def progress(now: Progress) -> None:
                report(now.done, now.total, f"{now.metrics.get('pictures_per_second', 0):,.0f} pictures/s")

            pictures, device = storage.load_garments(version)[training], compute.resolve()
            train_generator(
                pictures,
                labels,
                names,
                settings,
                folder.path,
                device,
                on_progress=progress,
                on_images=lambda step, picture: run.picture("fakes", picture, step),
                data_digest=version,
                ranks=ranks,
            )
        _, _, meta = load_generator(folder.path)
        for entry in meta["history"]:
            run.metrics({k: v for k, v in entry.items() if k != "step"}, step=int(entry["step"]))
        last = sheets.load(max(folder.path.glob("fakes_0*.png")))
        if not reused:
            folder.finish(
                {
                    "asset": "lsgan",
                    "extent": extent.plain(),
                    "inputs": inputs,
                    "settings": vars(settings),
                    "code_version": LSGAN_CODE,
                    "dagster_run": context.run_id,
                    "mlflow_run": run.run_id,
                }
            )
    folder.make_current()
    return dg.MaterializeResult(
        metadata={
            "epochs": round(meta["pictures_seen"] / len(labels), 2),
            "steps": meta["steps"],
            "generator_of_step": meta["selected_step"],
            "notes": dg.MetadataValue.json(meta["notes"]),
            "images": dg.MetadataValue.json(images),
            "classes": dg.MetadataValue.json(list(names)),
            "reused": reused,
            **extent.metadata(),
            "fakes": thumbnail(last),
            "folder": file(folder.path),
            **run.link(),
        },
        data_version=dg.DataVersion(folder.run),
    )


@dg.asset(group_name=GROUP, kinds={"mlflow"}, code_version="3", deps=[lsgan], pool="gpu")
def generator_evaluation(
    context: dg.AssetExecutionContext,
    config: GenerationMetricsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Measure garments by a judge and pixels that no training sees: class, distance, spread, memory; reals beside."""
    from pipeline.core.generator import figures, generation, trained

    settings = method.settings(GenerationMetricSettings, "generator_evaluation", config)
    inputs = generation.inputs(garments)
    version = inputs["garments"]
    folder = storage.current("generator")
    folder.expect(**inputs)
    generator, _ = trained.load_generator(folder.verified, compute.resolve())
    found = figures.evaluate(
        lambda wanted: generation.sample(generator, wanted, settings.seed, compute.resolve()),
        storage.load_garments(version),
        garments,
        settings,
        compute.resolve(),
    )
    chart = plots.colours(found.colours)
    path = sheets.save(storage.reports / "pictures" / "colours.png", chart)
    extent = extents.extent_of(garments)
    with tracker.run(context, **extent.tags()) as run:
        run.parameters(settings, generator=folder.run, **extent.parameters(), **inputs)
        run.metrics(found.overall | found.shared)
        run.metrics({f"{figure}_{name}": v for name, of in found.by_class.items() for figure, v in of.items()})
        run.picture("colours", chart, step=0)
    return dg.MaterializeResult(
        metadata={
            "generator": folder.run,
            "figures": dg.MetadataValue.json(found.overall),
            "by_class": dg.MetadataValue.json(found.by_class),
            "shared_features": dg.MetadataValue.json(found.shared),
            "pictures": dg.MetadataValue.json(found.pictures),
            "notes": dg.MetadataValue.json(found.notes),
            **extent.metadata(),
            "colours": dg.MetadataValue.json(found.colours),
            "colour_chart": thumbnail(chart),
            "colour_file": file(path),
            **found.overall,
            **run.link(),
        },
        data_version=dg.DataVersion(digest(folder.run, settings)),
    )


@dg.asset(group_name=GROUP, kinds={"png", "mlflow"}, code_version="1", deps=[lsgan], pool="gpu")
def generated_garments(
    context: dg.AssetExecutionContext,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Draw a fixed-seed grid per class, with each garment beside its nearest training picture in L1."""
    from models.data.picture_grid import grid
    from pipeline.core.generator import generation, trained

    inputs = generation.inputs(garments)
    version = inputs["garments"]
    folder = storage.current("generator")
    folder.expect(**inputs)
    generator, _ = trained.load_generator(folder.verified, compute.resolve())
    fakes, nearest, distance = generation.gallery(
        generator,
        storage.load_garments(version),
        garments,
        GRID_COLUMNS,
        compute.resolve(),
    )
    names = generation.classes(garments)
    sheet = grid(fakes, row_labels=names)
    beside = grid(generation.beside(fakes, nearest), row_labels=[n for name in names for n in (name, "nearest")])
    place = storage.reports / "pictures"
    paths = {"grid": sheets.save(place / "generated.png", sheet), "nearest": sheets.save(place / "nearest.png", beside)}
    extent = extents.extent_of(garments)
    with tracker.run(context, **extent.tags()) as run:
        run.parameters({}, generator=folder.run, **extent.parameters())
        run.metrics({"nearest_l1_mean": float(distance.mean()), "nearest_l1_min": float(distance.min())})
        run.picture("generated", sheet, step=0)
        run.picture("nearest", beside, step=0)
    return dg.MaterializeResult(
        metadata={
            "garments": thumbnail(sheet),
            "classes": dg.MetadataValue.json(list(names)),
            "beside_nearest_training_picture": thumbnail(beside),
            "nearest_l1_mean": float(distance.mean()),
            **{name: file(path) for name, path in paths.items()},
            **run.link(),
        },
        data_version=dg.DataVersion(digest(folder.run)),
    )
