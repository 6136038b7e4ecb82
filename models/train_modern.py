"""Trains `modern`: frozen features and interactions in, factors and checkpoints out, one loop read top to bottom.

`python -m models.train_modern --help` trains from a folder of arrays alone. The network and its loss are in
`modern.py`, the knobs in `modern_settings.py`.
"""

import argparse
import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import device as devices
from models import evaluate, modern
from models.dvbpr_dataset import Dataset
from models.dvbpr_progress import Clock, Progress
from models.factors import Factors, item_means
from models.modern import Histories, Modern, Space
from models.modern_batches import Batches, Draws
from models.modern_settings import PRESETS, ModernSettings
from models.modern_state import Run, load
from models.training_run import DivergedError, kept, stop_if_diverged

__all__ = ["PRESETS", "Dataset", "DivergedError", "ModernSettings", "Progress", "Trained", "load", "train"]

FEATURES = "features.npy"

MEND = "Lower learning_rate"  # when the loss is no number


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
) -> Trained:
    """Train on `data`, or go on with the run in `out`, and return the factors of the best validation epoch.

    Writes out/last.pt after every epoch and out/best.pt after every better one (by exact validation AUC; without
    validation pairs the last epoch counts as best). All that is drawn in an epoch follows from (seed, epoch), so a run
    that was cut off repeats its unfinished epoch and ends with the same weights, bit for bit, on the same device.
    torch's global generators are left as they were. The triplets of `data` are not used.

    Raises ValueError when features and data do not fit, or out/last.pt is of another method or data set (all
    differences listed); DivergedError naming epoch and step when the loss is not finite.
    """
    if settings.early_stopping_patience is not None and not len(data.validation):
        raise ValueError("early_stopping_patience needs validation pairs, and this data set has none; set it to None")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return _train(data, features, settings, out, device, on_progress or (lambda _: None))


def _train(
    data: Dataset,
    features: np.ndarray,
    settings: ModernSettings,
    out: Path,
    device: torch.device,
    report: Callable[[Progress], None],
) -> Trained:
    space = modern.fit_space(data, features, settings)
    model = Modern(len(data.users), len(data.items), space, settings).to(device)
    images, histories = _placed(data, space, features, device)
    draws = Draws(data, settings)
    batches = Batches(model, histories, images, data, draws.chances)
    adam = _optimiser(model, settings)
    run = Run(settings, _digest(data, features), model, adam)
    resumed_from = run.resume(out)

    steps = draws.steps
    clock = Clock(report, steps, settings.epochs, done=run.epoch * steps)
    while not run.finished():
        epoch = run.epoch + 1
        torch.manual_seed(settings.seed * 1_000_003 + epoch)  # noise, dropout, pictures
        user_of, item_of, negative_of = (torch.from_numpy(drawn).to(device) for drawn in draws.epoch(epoch))
        losses = torch.zeros(steps, device=device)
        model.train()
        clock.start(epoch)
        for step in range(steps):
            rows = slice(step * settings.batch_size, (step + 1) * settings.batch_size)
            user, positive, negative = user_of[rows], item_of[rows], negative_of[step]  # [B], [B], [N]
            _set_rate(adam, settings, (epoch - 1) * steps + step, settings.epochs * steps)

            scores = batches.scores(user, positive, negative)
            loss = modern.loss(settings.loss, *scores, positive[:, None] == negative)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            losses[step] = loss.detach()
            clock.tick(len(user) + len(negative))
            if clock.due():
                # The one place inside an epoch where host and device wait for each other: once a second.
                stop_if_diverged(losses, epoch, out, MEND)
                clock.tell(float(losses[: step + 1].mean()))
        stop_if_diverged(losses, epoch, out, MEND)
        row = {"epoch": float(epoch), "loss": float(losses.mean()), **clock.stop()}

        if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
            raise DivergedError(f"epoch {epoch}: a weight is not finite after its last step; {kept(out)}")
        model.eval()
        row["popularity_weight"], row["validation_auc"] = _weighed(model, histories, data, images)
        if run.note(row):
            run.save_best(out)
        run.save_last(out)
        clock.tell(row["loss"], validation_auc=row["validation_auc"], popularity_weight=row["popularity_weight"])

    model, meta = load(out, device)
    return Trained(
        factors=modern.factors(model, histories, data, images, meta["popularity_weight"]),
        history=run.history,
        best_epoch=run.best_epoch,
        validation_auc=run.best_auc,
        popularity_weight=meta["popularity_weight"],
        stopped_early=run.epoch < settings.epochs,
        resumed_from=resumed_from,
        settings=settings,
        data_digest=run.data_digest,
        folder=out,
    )


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


def _optimiser(model: Modern, settings: ModernSettings) -> torch.optim.Optimizer:
    """AdamW; vectors (biases, attention) are not decayed."""
    matrices = [weights for weights in model.parameters() if weights.ndim > 1]
    vectors = [weights for weights in model.parameters() if weights.ndim == 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def rate(settings: ModernSettings, step: int, steps: int) -> float:
    """The learning rate of `step` (from 0) of `steps`: linear warm-up, then half a cosine down to nothing, or flat."""
    warm = max(1, round(settings.warm_up * steps)) if settings.warm_up else 0
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _set_rate(adam: torch.optim.Optimizer, settings: ModernSettings, step: int, steps: int) -> None:
    for group in adam.param_groups:
        group["lr"] = rate(settings, step, steps)


def _digest(data: Dataset, features: np.ndarray) -> str:
    """sha256 of all that training can see."""
    digest = hashlib.sha256(data.digest().encode())
    digest.update(f"features {features.shape} {features.dtype} ".encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Train from a folder of arrays. Exit codes: 0 done, 1 training failed, 2 the call or the settings are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m models.train_modern",
        description="Train `modern` from a folder with bank.npy and dataset.npz (models.dvbpr_dataset.Dataset.save "
        f"writes both) and {FEATURES}, float [rows of the bank, F], the pictures' frozen features. Writes best.pt, "
        "last.pt and factors.npz into --out, and goes on with the run that it finds there.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help=f"folder with bank.npy, dataset.npz and {FEATURES}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model; made when missing")
    parser.add_argument("--device", default="auto", help=f"one of {', '.join(devices.NAMES)}, or cuda:N")
    for knob in fields(ModernSettings):
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
    folder, out, device_name = (given.pop(name) for name in ("data", "out", "device"))
    try:
        settings = replace(PRESETS["modern"], **given)
        device = devices.resolve(device_name)
        data = Dataset.load(folder)
        features = _read_features(folder / FEATURES, data)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"train_modern: {error}", file=sys.stderr)
        return 2
    try:
        trained = train(data, features, settings, out, device, _print_progress)
        trained.factors.save(out / "factors.npz")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"\ntrain_modern: {error}", file=sys.stderr)
        return 1
    print(
        f"best epoch {trained.best_epoch}: validation AUC {trained.validation_auc:.4f} with popularity weight "
        f"{trained.popularity_weight}; trained on {devices.describe(device)}; model in {out}"
    )
    return 0


def _read_features(path: Path, data: Dataset) -> np.ndarray:
    """[images, F]: the file's rows are the bank's."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; it holds the bank's frozen features, a row a picture")
    features = np.load(path, mmap_mode="r", allow_pickle=False)
    if features.ndim != 2 or len(features) != len(data.bank):
        raise ValueError(f"{path}: {features.shape}; one row for each of the bank's {len(data.bank)} was expected")
    return features[data.bank_row]


def _print_progress(progress: Progress) -> None:
    figures = progress.metrics
    line = f"{progress.note}  step {progress.done}/{progress.total}  loss {figures['loss']:.4f}"
    line += f"  {figures['seconds_left']:.0f} s left"
    if "validation_auc" in figures:
        line += f"  validation AUC {figures['validation_auc']:.4f} (popularity x {figures['popularity_weight']})"
        print(f"\r{line}\033[K")
    else:
        print(f"\r{line}\033[K", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
