"""The generator: its pictures, the LSGAN, how good it is, and garments made for one person.

Thin: choosing pictures is `core/garments.py`, networks and searches are `models/`, the figures' choice is
`pipeline/generation.py`.
"""

import dataclasses

import dagster as dg
import numpy as np
import pyarrow as pa

from models.design import DesignSettings, restyle
from models.design import personal_designs as search_designs
from models.lsgan_settings import LsganSettings
from models.picture_grid import grid
from models.train_lsgan import Progress, load_generator, train
from pipeline import designs, generation, sheets
from pipeline.config import (
    DesignsConfig,
    DesignTargetSettings,
    GarmentsConfig,
    GarmentSettings,
    GenerationMetricsConfig,
    GenerationMetricSettings,
    LsganConfig,
)
from pipeline.core import garments as garment_pictures
from pipeline.core.ledger import PictureStore
from pipeline.generator_measure import kernel_to_training
from pipeline.metadata import file, table_digest, table_output, thumbnail
from pipeline.method import Method
from pipeline.progress import reporter
from pipeline.resources import Compute
from pipeline.storage import Storage, digest
from pipeline.tracking import Tracker

GROUP = "generator"
LSGAN_CODE = "2"
STRIPS_TRACKED = 6  # pictures of designs that a tracked run keeps
GRID_COLUMNS = 10


@dg.asset(group_name=GROUP, kinds={"parquet", "numpy"}, code_version="2")
def garments(
    context: dg.AssetExecutionContext,
    config: GarmentsConfig,
    method: Method,
    storage: Storage,
    image_urls: pa.Table,
    image_ledger: pa.Table,
    products: pa.Table,
) -> dg.Output[pa.Table]:
    """The class-labelled 64x64 pictures of the garment classes, from ledger and products alone."""
    settings = method.settings(GarmentSettings, "garments", config)
    report = reporter(context, "cropping garments")
    built = garment_pictures.build(
        image_urls,
        image_ledger,
        products,
        PictureStore(storage.pictures),
        on_progress=lambda done, total: report(done, total, ""),
        **vars(settings),
    )
    storage.save_garments(table_digest(built.table), built.pixels)
    rows = generation.examples(built.table, settings.seed, GRID_COLUMNS)
    sheet = grid(built.pixels[rows], row_labels=generation.classes(built.table))
    path = sheets.save(storage.reports / "pictures" / "garments.png", sheet)
    return table_output(
        built.table,
        version=digest(generation.inputs(built.table)),
        counts=built.counts,
        pictures=thumbnail(sheet),
        contact_sheet=file(path),
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
    """The category-conditional LSGAN; an interrupted training goes on where it stopped."""
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
    with tracker.run(context, model_folder=str(folder.path)) as run:
        run.parameters(settings, preset=method.chosen_preset(), **inputs)
        run.data("garments", version, len(labels), storage.tables / "garments.parquet")
        if reused:
            context.log.info(f"{folder.path} was trained from the same pictures, settings and code: used again")
        else:

            def progress(now: Progress) -> None:
                report(now.done, now.total, f"{now.metrics.get('pictures_per_second', 0):,.0f} pictures/s")

            pictures, device = storage.load_garments(version)[training], compute.resolve()
            train(
                pictures,
                labels,
                names,
                settings,
                folder.path,
                device,
                on_progress=progress,
                on_images=lambda step, picture: run.picture("fakes", picture, step),
                data_digest=version,
                measure=kernel_to_training(pictures, labels, settings, device),
            )
        _, _, meta = load_generator(folder.path)
        for entry in meta["history"]:
            run.metrics({k: v for k, v in entry.items() if k != "step"}, step=int(entry["step"]))
        last = sheets.load(max(folder.path.glob("fakes_0*.png")))
        if not reused:
            folder.finish(
                {
                    "asset": "lsgan",
                    "inputs": inputs,
                    "settings": vars(settings),
                    "code_version": LSGAN_CODE,
                    "dagster_run": context.run_id,
                    "mlflow_run": run.run_id,
                }
            )
    folder.point()
    return dg.MaterializeResult(
        metadata={
            "epochs": round(meta["pictures_seen"] / len(labels), 2),
            "steps": meta["steps"],
            "generator_of_step": meta["selected_step"],
            "notes": dg.MetadataValue.json(meta["notes"]),
            "images": dg.MetadataValue.json(images),
            "classes": dg.MetadataValue.json(list(names)),
            "reused": reused,
            "fakes": thumbnail(last),
            "folder": file(folder.path),
            **run.link(),
        },
        data_version=dg.DataVersion(folder.run),
    )


@dg.asset(group_name=GROUP, kinds={"mlflow"}, code_version="1", deps=[lsgan])
def generator_evaluation(
    context: dg.AssetExecutionContext,
    config: GenerationMetricsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """Distances to held-out garments, class agreement, diversity and memory, each beside real against real."""
    settings = method.settings(GenerationMetricSettings, "generator_evaluation", config)
    inputs = generation.inputs(garments)
    version = inputs["garments"]
    folder = storage.current("generator")
    folder.expect(**inputs)
    generator, _, meta = load_generator(folder.path, compute.resolve())
    figures = generation.evaluate(
        generator,
        LsganSettings(**meta["settings"]),
        storage.load_garments(version),
        garments,
        samples=settings.samples,
        feature_size=settings.feature_size,
        seed=settings.seed,
        device=compute.resolve(),
    )
    with tracker.run(context) as run:
        run.parameters(settings, generator=folder.run, **inputs)
        run.metrics(figures)
    return dg.MaterializeResult(
        metadata={"figures": dg.MetadataValue.json(figures), **figures, **run.link()},
        data_version=dg.DataVersion(digest(folder.run, settings)),
    )


@dg.asset(group_name=GROUP, kinds={"png", "mlflow"}, code_version="1", deps=[lsgan])
def generated_garments(
    context: dg.AssetExecutionContext,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.MaterializeResult:
    """A fixed-seed grid a class, each garment beside the training picture nearest to it in L1."""
    inputs = generation.inputs(garments)
    version = inputs["garments"]
    folder = storage.current("generator")
    folder.expect(**inputs)
    generator, _, meta = load_generator(folder.path, compute.resolve())
    fakes, nearest, distance = generation.gallery(
        generator,
        LsganSettings(**meta["settings"]),
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
    with tracker.run(context) as run:
        run.parameters({}, generator=folder.run)
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


# The mode that judges is configuration (`mode`); the graph shows its default.
MODE_OF_DESIGNS = dg.SpecificPartitionsPartitionMapping(["vendor_all"])


@dg.asset(
    group_name=GROUP,
    kinds={"parquet", "png", "mlflow"},
    code_version="1",
    deps=[lsgan, dg.AssetDep("dvbpr", partition_mapping=MODE_OF_DESIGNS)],
)
def personal_designs(
    context: dg.AssetExecutionContext,
    config: DesignsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.Output[pa.Table]:
    """Garments made for one person: latents moved until the recommender says that the person would like them."""
    settings = method.settings(DesignSettings, "personal_designs", config)
    target = method.settings(DesignTargetSettings, "personal_designs", config)
    studio = designs.open_studio(storage, target, generation.inputs(garments), compute.resolve())
    report = reporter(context, "designing for people")
    found = search_designs(
        studio.generator,
        studio.discriminator,
        studio.recommender,
        range(len(studio.classes)),
        settings=settings,
        on_progress=lambda now: report(now.done, now.total, ""),
    )
    table, strips = designs.design_rows(studio, found)
    folder = designs.save_strips(storage.reports / "designs", strips)
    figures = designs.figures(table)
    overview = grid(found.pictures[:8, :, -1], row_labels=[f"user {user}" for user in studio.users[:8]])
    with tracker.run(context, image_mode=target.mode) as run:
        run.parameters(
            {**vars(settings), **vars(target)}, recommender=studio.recommender_run, generator=studio.generator_run
        )
        run.metrics(figures)
        run.picture("designs", overview, step=0)
        for name, picture in list(strips.items())[:STRIPS_TRACKED]:
            run.picture(f"strip-{name}", picture, step=0)
    return table_output(
        table, preview=False, **figures, overview=thumbnail(overview), strips=file(folder), **run.link()
    )


@dg.asset(
    group_name=GROUP,
    kinds={"parquet", "png", "mlflow"},
    code_version="1",
    deps=[lsgan, dg.AssetDep("dvbpr", partition_mapping=MODE_OF_DESIGNS)],
)
def restyled_products(
    context: dg.AssetExecutionContext,
    config: DesignsConfig,
    method: Method,
    storage: Storage,
    compute: Compute,
    tracker: Tracker,
    garments: pa.Table,
) -> dg.Output[pa.Table]:
    """Products of the shop moved towards a person's taste: product, nearest garment of the generator, and the steps."""
    settings = method.settings(DesignSettings, "restyled_products", config)
    target = method.settings(DesignTargetSettings, "restyled_products", config)
    inputs = generation.inputs(garments)
    studio = designs.open_studio(storage, target, inputs, compute.resolve())
    rows = generation.one_of_each_class(garments, target.products, target.choice_seed)
    report = reporter(context, "restyling products")
    found = restyle(
        studio.generator,
        studio.discriminator,
        studio.for_first(designs.RESTYLED_FOR),
        storage.load_garments(inputs["garments"])[rows],
        generation.labels(garments)[rows],
        settings=settings,
        on_progress=lambda now: report(now.done, now.total, ""),
    )
    table, strips = designs.restyled_rows(studio, found, garments.take(pa.array(rows)))
    folder = designs.save_strips(storage.reports / "restyled", strips)
    overview = sheets.stack(list(strips.values())[:6])
    with tracker.run(context, image_mode=target.mode) as run:
        run.parameters(
            {**vars(settings), **vars(target)}, recommender=studio.recommender_run, generator=studio.generator_run
        )
        run.metrics(designs.figures(table))
        run.picture("restyled", overview, step=0)
    return table_output(
        table, preview=False, **designs.figures(table), overview=thumbnail(overview), strips=file(folder), **run.link()
    )
