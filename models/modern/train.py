"""Fit `modern` from features, facts and interactions, and its command line.

The parts are computed in closed form and their weights by a few steps of Newton's method, so a fit takes seconds and
is not resumed: the same inputs give the same model again. `python -m models.modern.train` fits from a folder of arrays.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.data.item_facts import ItemFacts
from models.metrics import selection
from models.modern import fusion
from models.modern.model import ModernModel, assemble
from models.modern.parts import build
from models.modern.settings import PRESETS, ModernSettings
from models.training import command_line as command
from models.training import device as devices
from models.training import signals
from models.training.files import read_array
from models.training.progress import Progress

__all__ = ["PRESETS", "Dataset", "ModernSettings", "TrainedModern", "train"]

FEATURES, TEXT, CATEGORIES = "features.npy", "text.npy", "categories.npy"


@dataclass(frozen=True)
class TrainedModern:
    """The result of a fit: the factors, the model they are made of, and the record of the fit."""

    factors: Factors
    model: ModernModel
    weights: dict[str, tuple[float, float, float]]  # part -> weight, and the ends of its 95% interval
    history: list[dict[str, float]]  # at the start and after each step: epoch, loss, validation_auc and the like
    best_epoch: int  # the last step: the loss is convex
    validation_auc: float  # exact; nan without validation pairs
    notes: list[str]
    settings: ModernSettings
    selected_by: str = "auc"  # a smooth form of it
    resumed_from: int = 0


def train(
    data: Dataset,
    features: np.ndarray,  # [images, F], frozen: one row per picture of the data set
    settings: ModernSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    facts: ItemFacts | None = None,
) -> TrainedModern:
    """Compute the parts, fit their weights on validation, and write out/modern.npz.

    The triplets of `data` are not used, nor are its test pairs, except to leave them out of the lists on which
    the history's figures are measured.

    Raises ValueError if features, facts and data do not fit, or if no part distinguishes the items.
    """
    started = time.monotonic()
    parts, notes = build(data, features, facts or ItemFacts.none(len(data.items)), settings)
    if not parts:
        raise ValueError(f"`modern` has no part that distinguishes the items: {'; '.join(notes)}")
    fitted = fusion.fit(data, parts, settings)
    history = []
    touched = np.concatenate([data.train, data.validation, data.test])
    for step, (weight, loss) in enumerate(fitted.path, 1):
        _, factors = assemble(data, features, parts, weight)
        figures = selection.measures(factors, data.validation, touched, device)
        row = {"epoch": float(step), "loss": loss, **{f"validation_{name}": value for name, value in figures.items()}}
        history.append({**row, "seconds": time.monotonic() - started})
        if on_progress is not None:
            on_progress(Progress(step, len(fitted.path), "weights", dict(history[-1])))
    model, factors = assemble(data, features, parts, fitted.weight)
    model.save(out)
    ends = zip(fitted.weight.tolist(), fitted.low.tolist(), fitted.high.tolist(), strict=True)
    weights = dict(zip(model.names, ends, strict=True))
    shown = [f"{name}: weight {w:.2f} ({low:.2f}, {high:.2f})" for name, (w, low, high) in weights.items()]
    auc = history[-1]["validation_auc"]
    return TrainedModern(factors, model, weights, history, len(history), auc, [*shown, *notes], settings)


def main(arguments: list[str] | None = None) -> int:
    """Fit from a folder of arrays; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.modern.train",
        description="Fit `modern` from a folder with bank.npy and dataset.npz (models.data.dataset.Dataset.save writes "
        f"both), {FEATURES}, float [rows of the bank, F], the pictures' frozen features, and, if there, {TEXT}, float "
        f"[items, T], and {CATEGORIES}, int [items, levels]. Writes modern.npz and factors.npz into --out.",
        epilog=command.EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    names = f"{FEATURES}, and {TEXT} and {CATEGORIES} if there"
    parser.add_argument("--data", type=Path, required=True, help=f"folder with bank.npy, dataset.npz, {names}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model; created if missing")
    parser.add_argument("--device", default="auto", help=f"one of {', '.join(devices.NAMES)}, or cuda:N")
    modern_preset = PRESETS["modern"]
    command.add_settings(parser, modern_preset, lambda name: f"default {getattr(modern_preset, name)}")
    given = vars(parser.parse_args(arguments))
    return command.ended("train_modern", lambda: _from_folder(given))


def _from_folder(given: dict[str, Any]) -> int:
    folder, out, device_name = (given.pop(name) for name in ("data", "out", "device"))
    with command.reading():
        settings = replace(PRESETS["modern"], **given)
        device = devices.resolve(device_name)
        data = Dataset.load(folder)
        features = _read_features(folder / FEATURES, data)
        facts = _read_facts(folder, len(data.items))
    trained = train(data, features, settings, out, device, facts=facts)
    trained.factors.save(out / "factors.npz")
    print("\n".join(trained.notes))
    print(f"validation AUC {trained.validation_auc:.4f}; fitted on {devices.describe(device)}; model in {out}")
    return 0


def _read_features(path: Path, data: Dataset) -> np.ndarray:
    """Read features [images, F] from a file with one row for each row of the bank."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it must hold the bank's frozen features, one row per picture")
    features = read_array(path, "features", memory_map=True)
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) != len(data.bank):
        raise ValueError(
            f"{path}: {features.dtype} {features.shape}; one row for each of the bank's {len(data.bank)} was expected"
        )
    return features[data.bank_row]


def _read_facts(folder: Path, items: int) -> ItemFacts:
    """Read text features and categories; none for a file that is not there."""
    paths = folder / TEXT, folder / CATEGORIES
    kinds = "text features", "categories"
    text, categories = (
        read_array(path, kind) if path.is_file() else np.zeros((items, 0))
        for path, kind in zip(paths, kinds, strict=True)
    )
    if text.ndim != 2 or categories.ndim != 2 or len(text) != items or len(categories) != items:
        raise ValueError(f"{folder}: {TEXT} {text.shape} and {CATEGORIES} {categories.shape}: one row an item, please")
    names = tuple(tuple(map(str, range(int(level.max(initial=-1)) + 1))) for level in categories.T)
    return ItemFacts(text, categories, names)


if __name__ == "__main__":
    signals.leave(main())
