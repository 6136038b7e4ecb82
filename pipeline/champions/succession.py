"""Register a trained model and decide whether it replaces the champion.

Each version is decided on once, when it is registered. An alias that a person moves stays until the next registration.
"""

import json
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from models.data.factors import Factors
from models.lsgan.networks import LsganSettings, sample_z
from models.metrics.generation import kernel_distance
from models.metrics.judge import fit_judge
from models.metrics.pixels import PixelComponents
from pipeline.champions import champion, model_registry, registered_generator, runs, served_model
from pipeline.champions.champion import Contender, Decision, PairedValues
from pipeline.champions.model_registry import GENERATOR, RECOMMENDER, RegisteredVersion, Registry
from pipeline.core.dataset.extent import Extent
from pipeline.core.generator import generation
from pipeline.core.generator.held_out import Halves, halves
from pipeline.core.generator.independent import Ruler
from pipeline.core.generator.trained import load_generator
from pipeline.core.images.bank import open_bank
from pipeline.home.storage import ModelFolder, Storage
from pipeline.recommenders import registry as recommenders
from pipeline.runtime.tracking import TrackedRun
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings

ABOUT_GENERATOR = "about.json"
FeaturesOf = Callable[[np.ndarray], np.ndarray]  # pictures uint8 [n, H, W, 3] -> [n, D]
SHA_DIGITS = 16  # hex digits of each training picture's sha256 that a registered generator keeps


@dataclass(frozen=True)
class Succession:
    """The result of a model's registration."""

    version: RegisteredVersion  # of the model
    champion: RegisteredVersion  # after the decision
    decision: Decision | None  # None: it was decided on before


def recommender(
    run: TrackedRun,
    storage: Storage,
    mode: str,
    trained: ModelFolder,
    names: tuple[pa.Table, pa.Table, pa.Table],
    settings: ChampionSettings,
    device: torch.device,
    *,
    alias: str = model_registry.CHAMPION,
    below: Collection[str] = (),
) -> Succession:
    """Register the chosen recommender of a mode and decide whether it becomes the champion.

    Args:
        run: the run that registers the model.
        storage: the home.
        mode: the image mode.
        trained: the model's folder, with its own tables.
        names: USERS, ITEMS and PRODUCTS, for the shop's ids.
        settings: of the decision.
        device: to score on.
        alias: `champion`, or `visual_champion` for the recommender that scores new pictures.
        below: runs of models of the same data whose lists are below popularity's; one of them is no champion any more.
    """
    version, shop = register(run, storage, mode, trained, names)
    store = Registry(run.client, run.uri)
    manifest = trained.manifest()

    def decide(current: RegisteredVersion) -> Decision:
        if current.made in below:
            return champion.below_popularity(trained.recommender)
        theirs = store.folder(current) / "artifacts" / RECOMMENDER
        about = json.loads((theirs / served_model.ABOUT).read_text())
        unlike = champion.other_extent(Extent.of(manifest.get("extent")), Extent.of(about.get("extent")))
        if unlike is not None:
            return unlike
        same = all(about["inputs"][table] == manifest["inputs"][table] for table in runs.DATA)
        values = champion.compare_recommenders(_contender(trained, shop), _served_contender(theirs), device)
        margin = settings.margin * float(np.nanmean(values.champion)) if len(values.champion) else 0.0
        return champion.decide(values, same, settings, margin, "users with held-out pairs")

    return _decide_once(store, version, decide, alias)


def register(
    run: TrackedRun,
    storage: Storage,
    mode: str,
    trained: ModelFolder,
    names: tuple[pa.Table, pa.Table, pa.Table],
) -> tuple[RegisteredVersion, served_model.TrainingShop]:
    """Register a model unless it is registered; return its version and the shop that it was trained on."""
    name = model_registry.model_name(RECOMMENDER, mode)
    manifest, shop = trained.manifest(), shop_of(trained, names)

    def write(out: Path, model: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / RECOMMENDER
            served_model.pack(packed, trained.verified, shop, _about_recommender(manifest, mode, trained.run, storage))
            needs = recommenders.of_manifest(manifest).served_packages(trained.verified)
            model_registry.write_recommender(packed, out, model, needs)

    tags = {"image_mode": mode, "recommender": recommenders.of_manifest(manifest).name, **_origin_tags(manifest)}
    store = Registry(run.client, run.uri)
    return store.find(name, trained.run) or store.register(run, name, trained.run, write, tags), shop


def shop_of(trained: ModelFolder, names: tuple[pa.Table, pa.Table, pa.Table]) -> served_model.TrainingShop:
    """Make the shop that a model was trained on, from the tables in its folder and the shop's ids."""
    data = runs.model_arrays(trained)
    return served_model.shop_of(data, runs.trained_before(trained, data), *names)


def not_chosen(run: TrackedRun, version: RegisteredVersion, chosen: str, why: str) -> None:
    """Record on a registered version that another model of the same data was chosen, unless it was decided on."""
    if not version.decision:
        decision = champion.not_chosen(chosen, why)
        Registry(run.client, run.uri).record_decision(version, decision.result, decision.why, promote=False)


def compare_with_served(
    run: TrackedRun,
    served: RegisteredVersion,
    trained: ModelFolder,
    shop: served_model.TrainingShop,
    device: torch.device,
) -> PairedValues:
    """Compute the NDCG@100 of a model of the present data (as challenger) and of a served version, by user."""
    theirs = Registry(run.client, run.uri).folder(served) / "artifacts" / RECOMMENDER
    return champion.compare_recommenders(_contender(trained, shop), _served_contender(theirs), device)


def _contender(trained: ModelFolder, shop: served_model.TrainingShop) -> Contender:
    return Contender(Factors.load(trained.verified / served_model.FACTORS), shop)


def _served_contender(folder: Path) -> Contender:
    """Load a registered version's factors and shop from its folder."""
    return Contender(Factors.load(folder / served_model.FACTORS), served_model.read_shop(folder))


def generator(
    run: TrackedRun,
    trained: ModelFolder,
    garments: pa.Table,
    pixels: np.ndarray,  # uint8 [N, 64, 64, 3], rows of GARMENTS
    settings: GeneratorChampionSettings,
) -> Succession:
    """Register the generator and decide on held-out garments whether it becomes the champion, like `recommender`."""
    name = model_registry.model_name(GENERATOR)
    store = Registry(run.client, run.uri)
    network, meta = load_generator(trained.verified, torch.device("cpu"))
    inputs = trained.manifest()["inputs"]
    shas = np.array([sha[:SHA_DIGITS] for sha in garments["sha256"].to_pylist()])
    held_out = np.asarray(garments["held_out"])
    names = generation.classes(garments)
    settings_of = {**meta["settings"], "z_dim": network.z_dim, "z_distribution": network.z_distribution}
    facts = {"run": trained.run, "inputs": inputs, "classes": names, "settings": settings_of}

    def write(out: Path, model: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            about = Path(folder) / ABOUT_GENERATOR
            about.write_text(json.dumps({**facts, "trained_on": sorted(shas[~held_out].tolist())}))
            registered_generator.write(network, about, out, model)

    def decide(current: RegisteredVersion) -> Decision:
        folder = store.folder(current)
        theirs = json.loads((folder / "extra_files" / ABOUT_GENERATOR).read_text())
        if list(theirs["classes"]) != list(names):
            return champion.other_classes(names, theirs["classes"])
        known = np.isin(shas, theirs["trained_on"])
        label = generation.labels(garments)
        # Never by features that a training may use: by a judge of its own, or else by pixels.
        unseen = held_out & ~known
        parts = halves(garments, settings.judge_minimum, settings.seed, unseen)
        judged = not parts.left_out and len(names) > 1
        rows = _sample_each_class(np.flatnonzero(parts.reference if judged else unseen), label, settings)
        left_out = int((held_out & known).sum())
        if len(rows) < settings.minimum:
            none = champion.PairedValues(np.zeros(len(rows)), np.zeros(len(rows)), {"trained on": left_out})
            return champion.decide(none, theirs["inputs"] == inputs, settings, 0.0, "held-out garments")
        if judged:
            of, what = _judged(pixels, label, parts, rows, settings.seed), "held-out garments, by a judge's features"
        else:
            of, what = PixelComponents.fit(pixels[rows]).transform, "held-out garments, by pixels"
        real = of(pixels[rows])
        both = (
            (registered_generator.OneInputGenerator(network), settings_of),
            (registered_generator.read(folder), theirs["settings"]),
        )
        ours_drawn, theirs_drawn = (of(_draw(network, with_, label[rows], settings.seed)) for network, with_ in both)
        margin = settings.margin * max(0.0, kernel_distance(real, theirs_drawn, seed=settings.seed)[0])
        values = champion.compare_generators(real, ours_drawn, theirs_drawn, left_out)
        return champion.decide(values, theirs["inputs"] == inputs, settings, margin, what)

    tags = _origin_tags(trained.manifest())
    version = store.find(name, trained.run) or store.register(run, name, trained.run, write, tags)
    return _decide_once(store, version, decide)


def _decide_once(
    store: Registry,
    version: RegisteredVersion,
    decide: Callable[[RegisteredVersion], Decision],
    alias: str = model_registry.CHAMPION,
) -> Succession:
    """Decide on a version for an alias and record the decision, unless that was done before."""
    current = store.champion(version.name, alias)
    if current is not None and (version.decided(alias) or current.number == version.number):
        return Succession(version, current, None)
    decision = champion.first(version.name) if current is None else decide(current)
    store.record_decision(version, decision.result, decision.why, decision.promoted, alias)
    return Succession(version, version if decision.promoted or current is None else current, decision)


def _about_recommender(manifest: dict[str, Any], mode: str, made: str, storage: Storage) -> dict[str, Any]:
    bank = open_bank(storage.bank)
    facts = {name: manifest[name] for name in ("inputs", "settings", "dagster_run", "mlflow_run")}
    facts["model"] = recommenders.of_manifest(manifest).name
    facts |= {name: manifest[name] for name in ("feature_size",) if name in manifest}
    facts["extent"] = Extent.of(manifest.get("extent")).plain()
    return {**facts, "image_mode": mode, "run": made, "bank_size": bank.size, "bank_filter": bank.resample}


def _origin_tags(manifest: dict[str, Any]) -> dict[str, str]:
    """Make the tags with the run and the data that a model was trained by."""
    data = {f"data.{name}": digest for name, digest in manifest["inputs"].items()}
    data |= Extent.of(manifest.get("extent")).tags()
    return {"trained_by": manifest["mlflow_run"], "code_version": manifest["code_version"], **data}


def _judged(pixels: np.ndarray, label: np.ndarray, parts: Halves, rows: np.ndarray, seed: int) -> FeaturesOf:
    """Train a judge on its half of the unseen garments; return its features of pictures, on the scale of `rows`."""
    names = [str(number) for number in range(label.max() + 1)]
    judge = fit_judge(pixels[parts.judge], label[parts.judge], names, seed)
    return Ruler(judge, pixels[rows]).judged


def _sample_each_class(rows: np.ndarray, label: np.ndarray, settings: GeneratorChampionSettings) -> np.ndarray:
    """Draw at most `samples` of the rows, at most an equal share of each class, by the seed."""
    rng = np.random.default_rng(settings.seed)
    classes = np.unique(label[rows])
    most = settings.samples // max(1, len(classes))
    return np.concatenate([rows[:0], *(rng.permutation(rows[label[rows] == number])[:most] for number in classes)])


def _draw(network: nn.Module, trained_with: dict[str, Any], labels: np.ndarray, seed: int) -> np.ndarray:
    """Draw one picture of each class in `labels` [n]: uint8 [n, 64, 64, 3]."""
    # Only these two, because an older version's settings may have names that no longer exist.
    settings = LsganSettings(**{name: trained_with[name] for name in ("z_dim", "z_distribution")})
    noise = torch.Generator().manual_seed(seed)
    pictures = []
    with torch.inference_mode():
        for start in range(0, len(labels), generation.BATCH):
            label = torch.from_numpy(labels[start : start + generation.BATCH])
            z = sample_z(settings, len(label), noise)
            pictures.append(network(torch.cat([label[:, None].float(), z], dim=1)).numpy())
    return np.concatenate(pictures)
