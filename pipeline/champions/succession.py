"""Register a trained model and decide whether it replaces the champion.

A version is judged once, when it arrives: an alias that a person moves afterwards stays until the next model arrives.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from models.data.factors import Factors
from models.lsgan.networks import LsganSettings, sample_z
from models.lsgan.train import load_generator
from models.metrics.generation import kernel_distance
from pipeline.champions import champion, registered_generator, registry, runs, served_model
from pipeline.champions.champion import Decision, Side
from pipeline.champions.registry import GENERATOR, RECOMMENDER, Registry, Version
from pipeline.core.generator import generation
from pipeline.core.images import features
from pipeline.core.images.bank import open_bank
from pipeline.home.storage import ModelFolder, Storage
from pipeline.recommenders import registry as recommenders
from pipeline.runtime.tracking import TrackedRun
from pipeline.settings.assets import ChampionSettings, GeneratorChampionSettings

ABOUT_GENERATOR = "about.json"
TRAINED_ON = 16  # hex digits of a picture's sha256 that a registered generator keeps


@dataclass(frozen=True)
class Outcome:
    """What came of a model."""

    version: Version  # its own
    champion: Version  # after the decision
    decision: Decision | None  # None: it had been judged before


def recommender(
    run: TrackedRun,
    storage: Storage,
    mode: str,
    trained: ModelFolder,
    names: tuple[pa.Table, pa.Table, pa.Table],
    settings: ChampionSettings,
    device: torch.device,
) -> Outcome:
    """Register a mode's recommender and decide whether it is the champion.

    Args:
        run: the run that registers.
        storage: the home.
        mode: the image mode.
        trained: the model; its own tables lie beside it.
        names: USERS, ITEMS and PRODUCTS, for the shop's names.
        settings: of the decision.
        device: where to score.
    """
    name = registry.model_name(RECOMMENDER, mode)
    store = Registry(run.client, run.uri)
    manifest = trained.manifest()
    data = runs.model_arrays(trained)
    shop = served_model.shop_of(data, runs.trained_before(trained, data), *names)

    def write(out: Path, model: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / RECOMMENDER
            served_model.pack(packed, trained.verified, shop, _about_recommender(manifest, mode, trained.run, storage))
            registry.write_recommender(packed, out, model)

    def judge(reigning: Version) -> Decision:
        theirs = store.folder(reigning) / "artifacts" / RECOMMENDER
        ours = Side(Factors.load(trained.verified / served_model.FACTORS), shop)
        made_from = json.loads((theirs / served_model.ABOUT).read_text())["inputs"]
        same = all(made_from[table] == manifest["inputs"][table] for table in runs.DATA)
        other = Side(Factors.load(theirs / served_model.FACTORS), served_model.read_shop(theirs))
        compared = champion.compare_recommenders(ours, other, device)
        return champion.decide(compared, same, settings, settings.margin, "held-out pairs")

    tags = {"image_mode": mode, **_origin(manifest)}
    version = store.find(name, trained.run) or store.register(run, name, trained.run, write, tags)
    return _settle(store, version, judge)


def generator(
    run: TrackedRun,
    trained: ModelFolder,
    garments: pa.Table,
    pixels: np.ndarray,  # uint8 [N, 64, 64, 3], rows of GARMENTS
    settings: GeneratorChampionSettings,
    device: torch.device,
) -> Outcome:
    """Register the generator and decide whether it is the champion, on held-out garments; as `recommender`."""
    name = registry.model_name(GENERATOR)
    store = Registry(run.client, run.uri)
    network, _, meta = load_generator(trained.verified)
    inputs = trained.manifest()["inputs"]
    shas = np.array([sha[:TRAINED_ON] for sha in garments["sha256"].to_pylist()])
    held_out = np.asarray(garments["held_out"])
    names = generation.classes(garments)
    facts = {"run": trained.run, "inputs": inputs, "classes": names, "settings": meta["settings"]}

    def write(out: Path, model: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            about = Path(folder) / ABOUT_GENERATOR
            about.write_text(json.dumps({**facts, "trained_on": sorted(shas[~held_out].tolist())}))
            registered_generator.write(network, about, out, model)

    def judge(reigning: Version) -> Decision:
        place = store.folder(reigning)
        theirs = json.loads((place / "extra_files" / ABOUT_GENERATOR).read_text())
        if list(theirs["classes"]) != list(names):
            return champion.other_classes(names, theirs["classes"])
        known = np.isin(shas, theirs["trained_on"])
        label = generation.labels(garments)
        rows = _some_of_each_class(np.flatnonzero(held_out & ~known), label, settings)
        left_out = int((held_out & known).sum())
        if len(rows) < settings.minimum:
            none = champion.Compared(np.zeros(len(rows)), np.zeros(len(rows)), {"trained on": left_out})
            return champion.decide(none, theirs["inputs"] == inputs, settings, 0.0, "held-out garments")
        embed = partial(features.embed, size=settings.feature_size, device=device)
        real = embed(pixels[rows])
        both = (
            (registered_generator.Drawing(network), meta["settings"]),
            (registered_generator.read(place), theirs["settings"]),
        )
        ours_drawn, theirs_drawn = (embed(_drawn(drawing, of, label[rows], settings.seed)) for drawing, of in both)
        margin = settings.margin * max(0.0, kernel_distance(real, theirs_drawn, seed=settings.seed)[0])
        compared = champion.compare_generators(real, ours_drawn, theirs_drawn, left_out)
        return champion.decide(compared, theirs["inputs"] == inputs, settings, margin, "held-out garments")

    tags = _origin(trained.manifest())
    version = store.find(name, trained.run) or store.register(run, name, trained.run, write, tags)
    return _settle(store, version, judge)


def _settle(store: Registry, version: Version, judge: Callable[[Version], Decision]) -> Outcome:
    """Judge a version that was not judged yet, and write down what came of it."""
    reigning = store.champion(version.name)
    if reigning is not None and (version.verdict or reigning.number == version.number):
        return Outcome(version, reigning, None)
    decision = champion.first(version.name) if reigning is None else judge(reigning)
    store.conclude(version, decision.verdict, decision.why, decision.promoted)
    return Outcome(version, version if decision.promoted or reigning is None else reigning, decision)


def _about_recommender(manifest: dict[str, Any], mode: str, made: str, storage: Storage) -> dict[str, Any]:
    bank = open_bank(storage.bank)
    facts = {name: manifest[name] for name in ("inputs", "settings", "dagster_run", "mlflow_run")}
    facts["model"] = recommenders.of_manifest(manifest).name
    return {**facts, "image_mode": mode, "run": made, "bank_size": bank.size, "bank_filter": bank.resample}


def _origin(manifest: dict[str, Any]) -> dict[str, str]:
    """Tags that say from which run and which data a model is."""
    data = {f"data.{name}": digest for name, digest in manifest["inputs"].items()}
    return {"trained_by": manifest["mlflow_run"], "code_version": manifest["code_version"], **data}


def _some_of_each_class(rows: np.ndarray, label: np.ndarray, settings: GeneratorChampionSettings) -> np.ndarray:
    """At most `samples` of the rows, as many of each class as there are, seeded."""
    rng = np.random.default_rng(settings.seed)
    classes = np.unique(label[rows])
    most = settings.samples // max(1, len(classes))
    return np.concatenate([rows[:0], *(rng.permutation(rows[label[rows] == number])[:most] for number in classes)])


def _drawn(drawing: nn.Module, trained_with: dict[str, Any], wanted: np.ndarray, seed: int) -> np.ndarray:
    """One picture of each wanted class [n] -> uint8 [n, 64, 64, 3]."""
    # Of an older version's settings only these two need still be known here.
    settings = LsganSettings(**{name: trained_with[name] for name in ("z_dim", "z_distribution")})
    noise = torch.Generator().manual_seed(seed)
    made = []
    with torch.inference_mode():
        for start in range(0, len(wanted), generation.BATCH):
            label = torch.from_numpy(wanted[start : start + generation.BATCH])
            z = sample_z(settings, len(label), noise)
            made.append(drawing(torch.cat([label[:, None].float(), z], dim=1)).numpy())
    return np.concatenate(made)
