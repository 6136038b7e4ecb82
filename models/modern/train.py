"""Train `modern` from features and interactions: the training loop and the command line.

The loop runs on frozen features and, with trunk_epochs, a second time through the trunk. `python -m
models.modern.train` trains from a folder of arrays.
"""

import argparse
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.metrics import evaluate
from models.modern import model as modern
from models.modern import optimiser as modern_optimiser
from models.modern.batches import BatchScorer, Draws
from models.modern.model import Histories, ModernNetwork, Space
from models.modern.settings import PRESETS, ModernSettings
from models.modern.state import ModernRun, load
from models.modern.trunk import Pixels, Trunk
from models.training import checkpoint, signals
from models.training import command_line as command
from models.training import device as devices
from models.training.checkpoint import BEST
from models.training.divergence import DivergedError, last_good_epoch, stop_if_diverged
from models.training.files import read_array
from models.training.progress import Clock, Progress

__all__ = ["PRESETS", "Dataset", "ModernSettings", "TrainedModern", "Trunk", "load", "train"]

FEATURES = "features.npy"
FROZEN = "frozen"  # subfolder of a run for the epochs before the trunk is trained

ADVICE = "Lower learning_rate"  # after a divergence


@dataclass(frozen=True)
class TrainedModern:
    """The result of training: the factors of the best epoch on validation, and the history."""

    factors: Factors
    history: list[dict[str, float]]  # per epoch: epoch, loss, validation_auc, popularity_weight, seconds
    best_epoch: int  # from 1
    validation_auc: float  # exact, of the best epoch; nan without validation pairs
    popularity_weight: float  # the best on validation, chosen with the epoch
    stopped_early: bool
    resumed_from: int  # epochs that were already done
    settings: ModernSettings
    data_digest: str
    folder: Path


def train(
    data: Dataset,
    features: np.ndarray,  # [images, F], frozen: one row per picture of the data set
    settings: ModernSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    trunk: Trunk | None = None,  # the network that computed the features; needed if the settings train it
) -> TrainedModern:
    """Train on `data`, or resume the run in `out`, and return the factors of the best validation epoch.

    Writes out/last.pt after every epoch and out/best.pt after every better one (by exact validation AUC; without
    validation pairs, the last epoch counts as best). Random draws depend only on (seed, epoch), so an interrupted run
    repeats its unfinished epoch and ends with the same weights, bit for bit, on the same device. torch's global
    generators keep their state. The triplets of `data` are not used.

    With trunk_epochs, the epochs on frozen features are kept in out/frozen. Training then continues in `out` from the
    best of them, together with a copy of the trunk. That epoch stays the best unless the trunk improves validation.

    Raises ValueError if features and data, or features and trunk, do not fit, or if out/last.pt has another method or
    data set (listing all differences); DivergedError naming epoch and step if the loss is not finite.
    """
    if settings.trunk_epochs and trunk is None:
        raise ValueError("trunk_epochs needs the trunk that made the features; give it, or set trunk_epochs to 0")
    if settings.early_stopping_patience is not None and not len(data.validation):
        raise ValueError("early_stopping_patience needs validation pairs, and this data set has none; set it to None")
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), devices.reproducible_kernels():
        return _train(data, features, settings, out, device, on_progress, trunk)


def _train(
    data: Dataset,
    features: np.ndarray,
    settings: ModernSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None,
    trunk: Trunk | None,
) -> TrainedModern:
    space = modern.fit_space(data, features, settings)
    model = ModernNetwork(len(data.users), len(data.items), space, settings).to(device)
    images, histories = _project(data, space, features, device)
    draws = Draws(data, settings)
    batches = BatchScorer(model, histories, images, data, draws.chances)
    run = ModernRun(settings, _digest(data, features), model, modern_optimiser.build(model, settings))
    frozen = out / FROZEN if settings.trunk_epochs else out
    resumed_from = run.resume(frozen)
    _run(run, data, draws, batches, frozen, on_progress)
    history, pixels = run.history, None

    if settings.trunk_epochs:
        assert trunk is not None
        model, meta = load(frozen, device)
        pixels = Pixels(trunk, settings.trunk_layers, settings.trunk_augment, data, device)
        pixels.check(features)
        draws = Draws(data, replace(settings, batch_size=settings.trunk_batch, negatives=settings.trunk_negatives))
        batches = BatchScorer(model, histories, images, data, draws.chances, partial(_trunk_features, model, pixels))

        def embed_again() -> None:
            batches.images, batches.histories = _project(data, space, pixels.embedded(), device)

        digest = hashlib.sha256(f"{run.data_digest} {trunk.digest()}".encode()).hexdigest()
        adam = modern_optimiser.build(model, settings, pixels)
        run = ModernRun(settings, digest, model, adam, pixels, best_auc=meta["validation_auc"])
        if resumed := run.resume(out):
            embed_again()
        else:
            checkpoint.save(out / BEST, checkpoint.load(frozen / BEST))
        _run(run, data, draws, batches, out, on_progress, len(history), embed_again)
        history, resumed_from = history + run.history, resumed_from + resumed

    model, meta = load(out, device)
    if pixels is not None and meta["trunk"]:
        pixels.restore(meta["trunk"])
        images, histories = _project(data, space, pixels.embedded(), device)
    return TrainedModern(
        factors=modern.factors(model, histories, data, images, meta["popularity_weight"]),
        history=history,
        best_epoch=meta["epoch"],
        validation_auc=meta["validation_auc"],
        popularity_weight=meta["popularity_weight"],
        stopped_early=len(history) < settings.epochs + settings.trunk_epochs,
        resumed_from=resumed_from,
        settings=settings,
        data_digest=run.data_digest,
        folder=out,
    )


def _run(
    run: ModernRun,
    data: Dataset,
    draws: Draws,
    batches: BatchScorer,
    out: Path,
    on_progress: Callable[[Progress], None] | None,
    before: int = 0,
    embed_again: Callable[[], None] | None = None,
) -> None:
    """Train until the run is finished; `before` epochs came before its first.

    `embed_again` recomputes the features with the trained trunk after each epoch. Within an epoch, users keep the
    features that their histories had at its start: a step can afford to embed its own items, but not all histories.
    """
    settings, model, adam, steps = run.settings, run.model, run.adam, draws.steps
    device = batches.images.device
    clock = Clock(on_progress, steps * run.planned, done=run.epoch * steps)
    while not run.finished():
        epoch = before + run.epoch + 1
        torch.manual_seed(settings.seed * 1_000_003 + epoch)  # noise, dropout, pictures
        user_of, item_of, negative_of = (torch.from_numpy(drawn).to(device) for drawn in draws.epoch(epoch))
        losses = torch.zeros(steps, device=device)
        model.train()
        clock.start()
        for step in range(steps):
            rows = slice(step * draws.settings.batch_size, (step + 1) * draws.settings.batch_size)
            user, positive, negative = user_of[rows], item_of[rows], negative_of[step]  # [B], [B], [N]
            modern_optimiser.set_rate(adam, settings, run.epoch * steps + step, run.planned * steps)

            scores = batches.scores(user, positive, negative)
            loss = modern.loss(settings.loss, *scores, positive[:, None] == negative)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            losses[step] = loss.detach()
            clock.step(len(user) + len(negative))
            if clock.due():
                # Inside an epoch, host and device wait for each other only here, once a second.
                stop_if_diverged(losses, epoch, out, ADVICE)
                clock.report_epoch(epoch, before + run.planned, float(losses[: step + 1].mean()))
        stop_if_diverged(losses, epoch, out, ADVICE)
        row = {"epoch": float(epoch), "loss": float(losses.mean()), **clock.stop()}

        trained = [weight for group in adam.param_groups for weight in group["params"]]
        if not all(bool(weight.isfinite().all()) for weight in trained):
            raise DivergedError(
                f"epoch {epoch}: the loss is not a number any more (nor is a weight); {last_good_epoch(out)}. {ADVICE}"
            )
        model.eval()
        if embed_again is not None:
            embed_again()
        row["popularity_weight"], row["validation_auc"] = _best_popularity_weight(
            model, batches.histories, data, batches.images
        )
        if run.note(row):
            run.save_best(out)
        run.save_last(out)
        chosen = {name: row[name] for name in ("validation_auc", "popularity_weight")}
        clock.report_epoch(epoch, before + run.planned, row["loss"], **chosen)


def _trunk_features(model: ModernNetwork, pixels: Pixels, picture: Tensor) -> Tensor:
    """Compute the features of pictures [n] with the current trunk, in the model's space: [n, D]."""
    return model.project(pixels.features(picture))


def _project(data: Dataset, space: Space, features: np.ndarray, device: torch.device) -> tuple[Tensor, Histories]:
    """Project the pictures into the space, [images, D], and pool them into histories, on the device."""
    images = space.project(features)
    items = item_means(images, data.image_item, len(data.items))
    return torch.from_numpy(images).to(device), Histories(data, items, device)


def _best_popularity_weight(
    model: ModernNetwork, histories: Histories, data: Dataset, images: Tensor
) -> tuple[float, float]:
    """Find the popularity weight with the best validation AUC: (weight, AUC). Without pairs, the first weight."""
    touched = np.concatenate([data.train, data.validation, data.test])
    plain = modern.factors(model, histories, data, images, 0.0)
    prior = modern.log_popularity(modern.counts(data))
    results = [
        (
            evaluate.exact_auc(replace(plain, item_bias=plain.item_bias + weight * prior), data.validation, touched),
            weight,
        )
        for weight in model.settings.popularity_weights
    ]
    auc, weight = max(results, key=lambda pair: (not math.isnan(pair[0]), pair[0]))
    return weight, auc


def _digest(data: Dataset, features: np.ndarray) -> str:
    """Compute the sha256 of all that training sees."""
    digest = hashlib.sha256(data.digest().encode())
    digest.update(f"features {features.shape} {features.dtype} ".encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Train from a folder of arrays; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.modern.train",
        description="Train `modern` from a folder with bank.npy and dataset.npz (models.data.dataset.Dataset.save "
        f"writes both) and {FEATURES}, float [rows of the bank, F], the pictures' frozen features. Writes best.pt, "
        "last.pt and factors.npz into --out, and resumes the run that it finds there. The trunk stays frozen.",
        epilog=command.EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder with bank.npy, dataset.npz and {FEATURES}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model; created if missing")
    parser.add_argument("--device", default="auto", help=f"one of {', '.join(devices.NAMES)}, or cuda:N")
    # The trunk is a module, which the command line cannot pass.
    modern_preset = PRESETS["modern"]
    command.add_settings(parser, modern_preset, lambda name: f"default {getattr(modern_preset, name)}", "trunk_")
    given = vars(parser.parse_args(arguments))
    return command.ended("train_modern", lambda: _from_folder(given))


def _from_folder(given: dict[str, Any]) -> int:
    folder, out, device_name = (given.pop(name) for name in ("data", "out", "device"))
    with command.reading():
        settings = replace(PRESETS["modern"], **given)
        device = devices.resolve(device_name)
        data = Dataset.load(folder)
        features = _read_features(folder / FEATURES, data)
    trained = train(data, features, settings, out, device, _print_progress)
    trained.factors.save(out / "factors.npz")
    print(
        f"best epoch {trained.best_epoch}: validation AUC {trained.validation_auc:.4f} with popularity weight "
        f"{trained.popularity_weight}; trained on {devices.describe(device)}; model in {out}"
    )
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


def _print_progress(progress: Progress) -> None:
    metrics = progress.metrics
    line = f"{progress.note}  step {progress.done}/{progress.total}  loss {metrics['loss']:.4f}"
    line += f"  {progress.seconds_left:.0f} s left"
    if "validation_auc" in metrics:
        line += f"  validation AUC {metrics['validation_auc']:.4f} (popularity x {metrics['popularity_weight']})"
        print(f"\r{line}\033[K")
    else:
        print(f"\r{line}\033[K", end="", flush=True)


if __name__ == "__main__":
    signals.leave(main())
