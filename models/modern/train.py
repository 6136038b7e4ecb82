"""Train `modern`: features and interactions in, factors and checkpoints out, in one loop that reads top to bottom.

The loop runs on frozen features and, if the settings say so, a second time with the trunk behind them. `python -m
models.modern.train --help` trains from a folder of arrays alone.
"""

import argparse
import hashlib
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
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
from models.modern.batches import Batches, Draws
from models.modern.model import Histories, Modern, Space
from models.modern.settings import PRESETS, ModernSettings
from models.modern.state import Run, load
from models.modern.trunk import Pixels, Trunk
from models.training import checkpoint, signals
from models.training import command_line as command
from models.training import device as devices
from models.training.checkpoint import BEST
from models.training.divergence import DivergedError, last_good_epoch, stop_if_diverged
from models.training.files import read_array
from models.training.progress import Clock, Progress

__all__ = ["PRESETS", "Dataset", "ModernSettings", "Trained", "Trunk", "load", "train"]

FEATURES = "features.npy"
FROZEN = "frozen"  # the folder in a run's own of what came before the trunk was trained

ADVICE = "Lower learning_rate"  # after a divergence


@dataclass(frozen=True)
class Trained:
    """What training leaves: the factors of the best epoch on validation, and how it came to them."""

    factors: Factors
    history: list[dict[str, float]]  # an epoch each: epoch, loss, validation_auc, popularity_weight, seconds
    best_epoch: int  # from 1
    validation_auc: float  # of the best epoch, exact; nan without validation pairs
    popularity_weight: float  # chosen with it
    stopped_early: bool
    resumed_from: int  # epochs that were found done
    settings: ModernSettings
    data_digest: str
    folder: Path


def train(
    data: Dataset,
    features: np.ndarray,  # [images, F], frozen: one row a picture of the data set
    settings: ModernSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    trunk: Trunk | None = None,  # what made the features; needed where the settings train it
) -> Trained:
    """Train on `data`, or go on with the run in `out`, and return the factors of the best validation epoch.

    Writes out/last.pt after every epoch and out/best.pt after every better one (by exact validation AUC; without
    validation pairs the last epoch counts as best). All that is drawn in an epoch follows from (seed, epoch), so a run
    that was cut off repeats its unfinished epoch and ends with the same weights, bit for bit, on the same device.
    torch's global generators are left as they were. The triplets of `data` are not used.

    With trunk_epochs these epochs are in out/frozen; from the best of them the model and a copy of the trunk go on
    together, in `out`. It stays the best where the trunk's training adds nothing on validation.

    Raises ValueError when features and data, or features and trunk, do not fit, or out/last.pt is of another method or
    data set (all differences listed); DivergedError naming epoch and step when the loss is not finite.
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
) -> Trained:
    space = modern.fit_space(data, features, settings)
    model = Modern(len(data.users), len(data.items), space, settings).to(device)
    images, histories = _placed(data, space, features, device)
    draws = Draws(data, settings)
    batches = Batches(model, histories, images, data, draws.chances)
    run = Run(settings, _digest(data, features), model, modern_optimiser.build(model, settings))
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
        batches = Batches(model, histories, images, data, draws.chances, partial(_seen, model, pixels))

        def look_again() -> None:
            batches.images, batches.histories = _placed(data, space, pixels.embedded(), device)

        digest = hashlib.sha256(f"{run.data_digest} {trunk.digest()}".encode()).hexdigest()
        adam = modern_optimiser.build(model, settings, pixels)
        run = Run(settings, digest, model, adam, pixels, best_auc=meta["validation_auc"])
        if resumed := run.resume(out):
            look_again()
        else:
            checkpoint.save(out / BEST, checkpoint.load(frozen / BEST))
        _run(run, data, draws, batches, out, on_progress, len(history), look_again)
        history, resumed_from = history + run.history, resumed_from + resumed

    model, meta = load(out, device)
    if pixels is not None and meta["trunk"]:
        pixels.restore(meta["trunk"])
        images, histories = _placed(data, space, pixels.embedded(), device)
    return Trained(
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
    run: Run,
    data: Dataset,
    draws: Draws,
    batches: Batches,
    out: Path,
    on_progress: Callable[[Progress], None] | None,
    begun: int = 0,
    look_again: Callable[[], None] | None = None,
) -> None:
    """Train until the run is finished; `begun` epochs went before its first, `look_again` renews what the trunk sees.

    Inside an epoch users stay what the trunk saw in their histories when it began: a step can afford to look at its
    own items, not at all that its users ever had.
    """
    settings, model, adam, steps = run.settings, run.model, run.adam, draws.steps
    device = batches.images.device
    clock = Clock(on_progress, steps * run.planned, done=run.epoch * steps)
    while not run.finished():
        epoch = begun + run.epoch + 1
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
                # The one place inside an epoch where host and device wait for each other: once a second.
                stop_if_diverged(losses, epoch, out, ADVICE)
                clock.report_epoch(epoch, begun + run.planned, float(losses[: step + 1].mean()))
        stop_if_diverged(losses, epoch, out, ADVICE)
        row = {"epoch": float(epoch), "loss": float(losses.mean()), **clock.stop()}

        learnt = [weight for group in adam.param_groups for weight in group["params"]]
        if not all(bool(weight.isfinite().all()) for weight in learnt):
            raise DivergedError(
                f"epoch {epoch}: the loss is not a number any more (nor is a weight); {last_good_epoch(out)}. {ADVICE}"
            )
        model.eval()
        if look_again is not None:
            look_again()
        row["popularity_weight"], row["validation_auc"] = _weighed(model, batches.histories, data, batches.images)
        if run.note(row):
            run.save_best(out)
        run.save_last(out)
        figures = {name: row[name] for name in ("validation_auc", "popularity_weight")}
        clock.report_epoch(epoch, begun + run.planned, row["loss"], **figures)


def _seen(model: Modern, pixels: Pixels, picture: Tensor) -> Tensor:
    """Pictures [n] as the trunk sees them now, in the model's space: [n, D]."""
    return model.placed(pixels.features(picture))


def _placed(data: Dataset, space: Space, features: np.ndarray, device: torch.device) -> tuple[Tensor, Histories]:
    """The pictures in their space [images, D], and the histories over the items' means, on the device."""
    images = space.of(features)
    items = item_means(images, data.image_item, len(data.items))
    return torch.from_numpy(images).to(device), Histories(data, items, device)


def _weighed(model: Modern, histories: Histories, data: Dataset, images: Tensor) -> tuple[float, float]:
    """The popularity weight that is best on validation, and its AUC; the first weight without validation pairs."""
    touched = np.concatenate([data.train, data.validation, data.test])
    plain = modern.factors(model, histories, data, images, 0.0)
    prior = modern.log_popularity(modern.counts(data))
    found = [
        (
            evaluate.exact_auc(replace(plain, item_bias=plain.item_bias + weight * prior), data.validation, touched),
            weight,
        )
        for weight in model.settings.popularity_weights
    ]
    auc, weight = max(found, key=lambda pair: (not math.isnan(pair[0]), pair[0]))
    return weight, auc


def _digest(data: Dataset, features: np.ndarray) -> str:
    """sha256 of all that training can see."""
    digest = hashlib.sha256(data.digest().encode())
    digest.update(f"features {features.shape} {features.dtype} ".encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Train from a folder of arrays; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.modern.train",
        description="Train `modern` from a folder with bank.npy and dataset.npz (models.data.dataset.Dataset.save "
        f"writes both) and {FEATURES}, float [rows of the bank, F], the pictures' frozen features. Writes best.pt, "
        "last.pt and factors.npz into --out, and goes on with the run that it finds there. The trunk stays frozen.",
        epilog=command.EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder with bank.npy, dataset.npz and {FEATURES}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model; made when missing")
    parser.add_argument("--device", default="auto", help=f"one of {', '.join(devices.NAMES)}, or cuda:N")
    for knob in fields(ModernSettings):
        if knob.name.startswith("trunk_"):
            continue  # a trunk is handed in as a module, which no command line can
        assert knob.default is not MISSING
        flag, default = "--" + knob.name.replace("_", "-"), knob.default
        common: dict[str, Any] = {"dest": knob.name, "default": argparse.SUPPRESS, "help": f"default {default}"}
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        elif isinstance(default, tuple):
            parser.add_argument(flag, type=float, nargs="+", **common)
        else:
            parser.add_argument(flag, type=int if default is None else type(default), **common)
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
    """[images, F]: the file's rows are the bank's."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it holds the bank's frozen features, a row a picture")
    features = read_array(path, "features", memory_map=True)
    if features.ndim != 2 or features.dtype.kind != "f" or len(features) != len(data.bank):
        raise ValueError(
            f"{path}: {features.dtype} {features.shape}; one row for each of the bank's {len(data.bank)} was expected"
        )
    return features[data.bank_row]


def _print_progress(progress: Progress) -> None:
    figures = progress.metrics
    line = f"{progress.note}  step {progress.done}/{progress.total}  loss {figures['loss']:.4f}"
    line += f"  {progress.seconds_left:.0f} s left"
    if "validation_auc" in figures:
        line += f"  validation AUC {figures['validation_auc']:.4f} (popularity x {figures['popularity_weight']})"
        print(f"\r{line}\033[K")
    else:
        print(f"\r{line}\033[K", end="", flush=True)


if __name__ == "__main__":
    signals.leave(main())
