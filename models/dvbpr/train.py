"""Train DVBPR from pictures and triplets: the training loop and the command line.

`python -m models.dvbpr.train` trains from a folder of arrays; `torchrun -m models.dvbpr.train` uses several GPUs.
"""

import argparse
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.data.factors import Factors, item_means
from models.data.pictures import Pictures, normalise
from models.dvbpr import objective as dvbpr
from models.dvbpr.cnnf import CNNF
from models.dvbpr.settings import PRESETS, DvbprSettings
from models.dvbpr.state import DvbprRun, build, load
from models.metrics import selection
from models.training import command_line as command
from models.training import device as devices
from models.training import signals
from models.training.divergence import DivergedError, last_good_epoch, stop_if_diverged
from models.training.progress import Clock, Progress
from models.training.ranks import ALONE, Ranks, here, joined

__all__ = ["PRESETS", "Dataset", "DvbprSettings", "TrainedDvbpr", "embed", "load", "train"]

ADVICE = "Lower learning_rate, or train in precision float32"  # after a divergence


@dataclass(frozen=True)
class TrainedDvbpr:
    """The result of training: the factors of the best epoch on validation, and the history."""

    factors: Factors
    history: list[dict[str, float]]  # per epoch: epoch, loss (mean over triplets), validation_auc, seconds, ...
    best_epoch: int  # from 1
    validation_auc: float  # exact, of the best epoch; nan without validation pairs
    selected_by: str  # figure on validation that chose the best epoch (`models/metrics/selection.py`)
    stopped_early: bool
    resumed_from: int  # epochs that were already done
    settings: DvbprSettings
    data_digest: str
    folder: Path
    notes: list[str] = field(default_factory=list)  # where the pictures were kept, which precision


def train(
    data: Dataset,
    settings: DvbprSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None = None,
    start: Path | None = None,
) -> TrainedDvbpr:
    """Train on `data`, or resume the run in `out`, and return the factors of the best validation epoch.

    `start` is the folder of an earlier model with the same settings but possibly other data: training starts from its
    network, and its theta by user id. Users that it does not know start as new ones.

    Writes out/last.pt after every epoch and out/best.pt after every better one on validation, as
    `models/metrics/selection.py` measures it; without validation pairs, the last epoch counts as best. An interrupted
    run repeats its unfinished epoch and ends with the same weights, bit for bit, on the same device. torch's global
    generators keep their state.

    If this process has joined other ranks (`ranks.joined`), each computes its share, only the first writes and reports,
    and all return the same result; all must see the same `out`. The losses equal those of one rank up to rounding.

    Raises ValueError if the table has fewer epochs than the settings, if out/last.pt has another architecture, method
    or data set, or `start` another architecture or method (listing all differences); DivergedError naming epoch and
    step if the loss is not finite.
    """
    _check_table(data, settings)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), devices.reproducible_kernels():
        return _train(data, settings, out, device, on_progress, start, here())


def _train(
    data: Dataset,
    settings: DvbprSettings,
    out: Path,
    device: torch.device,
    on_progress: Callable[[Progress], None] | None,
    start: Path | None,
    ranks: Ranks,
) -> TrainedDvbpr:
    torch.manual_seed(settings.seed)  # for dropout; the initial weights come from another generator
    cnn, theta = build(settings, len(data.users), device)
    adam = dvbpr.optimiser(
        cnn,
        theta,
        learning_rate=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    network = torch.compile(cnn) if settings.compile else cnn
    autocast = devices.autocast(settings.precision, device)
    pictures = Pictures(data.bank, data.bank_row, settings.input_size, device, resize_filter=settings.resize_filter)
    touched = np.concatenate([data.train, data.validation, data.test])
    run = DvbprRun(
        settings, data.digest(), data.users, cnn, theta, adam, device, ranks,
        selected_by=selection.name_of(len(data.validation)),
    )  # fmt: skip
    resumed_from = run.resume(out)
    if start is not None and not resumed_from:
        run.start_from(start)
    run.expect_same()

    steps = math.ceil(data.triplets_user.shape[1] / settings.batch_size)
    mine, shares = ranks.epoch(data.triplets_user.shape[1], settings.batch_size)
    clock = Clock(on_progress if ranks.first else None, steps * settings.epochs, done=run.epoch * steps)
    while not run.finished():
        epoch = run.epoch + 1
        users, images = _epoch_order(data, settings.seed, epoch)
        users = torch.from_numpy(users).to(device)
        losses = torch.zeros(steps, device=device)
        cnn.train()
        clock.start()
        batches, sides = pictures.batches(images[mine], shares), images.shape[1]
        for step, (user, pixels) in enumerate(zip(users.split(settings.batch_size), batches, strict=True)):
            with autocast:
                # Both sides of the siamese network in one forward; every picture draws its own dropout mask.
                phi = network(normalise(pixels), ranks.place(len(user) * sides, sides)).float()
            phi = ranks.gather(phi, len(user) * sides, sides).unflatten(0, (len(user), -1))  # [B, 1 + negatives, k]
            loss = dvbpr.loss(theta[user], phi[:, 0], phi[:, 1:], settings.theta_decay)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            ranks.sum_gradients(cnn.parameters())  # theta's gradient is complete: every rank computes the whole loss
            adam.step()
            losses[step] = loss.detach()
            clock.step(len(user) * sides)
            if clock.due():
                # Inside an epoch, host and device wait for each other only here, once a second.
                stop_if_diverged(losses, epoch, out, ADVICE)
                triplets = min((step + 1) * settings.batch_size, len(users))
                clock.report_epoch(epoch, settings.epochs, float(losses[: step + 1].sum()) / triplets)
        stop_if_diverged(losses, epoch, out, ADVICE)
        row = {"epoch": float(epoch), "loss": float(losses.sum()) / len(users), **clock.stop()}

        phi = _embed(cnn, pictures, settings.embed_batch, autocast, ranks)
        if not np.isfinite(phi).all():
            raise DivergedError(
                f"epoch {epoch}: the loss is not a number any more (nor is the network's output); "
                f"{last_good_epoch(out)}. {ADVICE}"
            )
        factors = _factors(data, theta, phi)
        row |= (found := selection.row_of(selection.measures(factors, data.validation, touched, device, ranks)))
        if run.note(row):
            run.save_best(out)
        run.save_last(out)
        clock.report_epoch(epoch, settings.epochs, row["loss"], **found)

    cnn, theta, _ = load(out, device)
    phi = _embed(cnn, pictures, settings.embed_batch, autocast, ranks)
    return TrainedDvbpr(
        factors=_factors(data, theta, phi),
        history=run.history,
        best_epoch=run.best_epoch,
        validation_auc=run.best_auc,
        selected_by=run.selected_by,
        stopped_early=run.epoch < settings.epochs,
        resumed_from=resumed_from,
        settings=settings,
        data_digest=run.data_digest,
        folder=out,
        notes=[
            pictures.note,
            f"trained on {devices.describe(device)} in {devices.precision(settings.precision, device)}",
        ],
    )


def embed(
    cnn: CNNF,
    bank: np.ndarray,  # uint8 [rows, side, side, 3]
    rows: np.ndarray,  # [n], rows of the bank
    device: torch.device,
    batch: int = 256,
    *,
    resize_filter: str = "bicubic",
    precision: str = "auto",
) -> np.ndarray:
    """Compute Phi of the bank's `rows` in eval mode, resized to the network's input: [n, k] float32."""
    pictures = Pictures(bank, rows, cnn.input_size, device, resize_filter=resize_filter)
    return _embed(cnn, pictures, batch, devices.autocast(precision, device))


@torch.no_grad()
def _embed(
    cnn: CNNF,
    pictures: Pictures,
    batch: int,
    autocast: contextlib.AbstractContextManager,
    ranks: Ranks = ALONE,
) -> np.ndarray:
    training = cnn.training
    cnn.eval()
    share = ranks.share(len(pictures), unit=batch)  # whole batches, so that every rank uses the same kernels
    parts = [torch.empty(0, cnn.full8.out_features, device=pictures.device)]
    for pixels in pictures.batches(torch.arange(len(pictures))[share], batch):
        with autocast:
            parts.append(cnn(normalise(pixels)).float())
    cnn.train(training)
    return ranks.gather(torch.cat(parts), len(pictures), unit=batch).cpu().numpy()


def _factors(data: Dataset, theta: Tensor, phi: np.ndarray) -> Factors:
    return Factors(
        users=data.users,
        items=data.items,
        theta=theta.detach().cpu().numpy().copy(),  # a copy, because training continues
        item=item_means(phi, data.image_item, len(data.items)),
        item_bias=np.zeros(len(data.items), np.float32),
        phi=phi,
        image_item=data.image_item,
    )


def _epoch_order(data: Dataset, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the epoch's triplets by (seed, epoch): users [n], pictures [n, 1 + negatives].

    Depends on nothing else, so that a resumed run sees the same order.
    """
    order = np.random.default_rng([seed, epoch]).permutation(data.triplets_user.shape[1])
    positive = data.triplets_positive[epoch - 1, :, None]
    images = np.concatenate([positive, data.triplets_negative[epoch - 1]], axis=1)
    return data.triplets_user[epoch - 1][order].astype(np.int64), images[order].astype(np.int64)


def _check_table(data: Dataset, settings: DvbprSettings) -> None:
    if settings.epochs > data.epochs:
        raise ValueError(
            f"epochs={settings.epochs}, but the triplet table holds {data.epochs}; "
            "sample the triplets again with as many epochs, or set epochs lower"
        )
    if not data.triplets_negative.size:
        raise ValueError("the triplet table is empty; sample the triplets again")
    if settings.early_stopping_patience is not None and not len(data.validation):
        raise ValueError("early_stopping_patience needs validation pairs, and this data set has none; set it to None")


def main(arguments: list[str] | None = None) -> int:
    """Train from a folder of arrays; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m models.dvbpr.train",
        description="Train DVBPR from a folder with bank.npy (uint8 [rows, side, side, 3]) and dataset.npz (the other "
        "arrays of models.data.dataset.Dataset; Dataset.save writes both). Writes best.pt, last.pt and factors.npz "
        "into --out, and resumes the run that it finds there.",
        epilog=command.EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with bank.npy and dataset.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained model; created if missing")
    parser.add_argument("--device", default="auto", help=f"one of {', '.join(devices.NAMES)}, or cuda:N")
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="paper", help="values of the settings that are not given"
    )
    paper, kang2017 = PRESETS["paper"], PRESETS["kang2017"]
    command.add_settings(
        parser, paper, lambda name: f"default {getattr(paper, name)} in paper, {getattr(kang2017, name)} in kang2017"
    )
    given = vars(parser.parse_args(arguments))
    return command.ended("train_dvbpr", lambda: _from_folder(given))


def _from_folder(given: dict[str, Any]) -> int:
    data_folder, out, device_name, preset = (given.pop(name) for name in ("data", "out", "device", "preset"))
    with command.reading():
        settings = replace(PRESETS[preset], **given)
        device = devices.resolve(device_name)
        data = Dataset.load(data_folder)
    with joined(device) as device:
        first = here().first
        trained = train(data, settings, out, device, _print_progress)
    if not first:
        return 0
    trained.factors.save(out / "factors.npz")
    for note in trained.notes:
        print(note)
    chosen = f"best epoch {trained.best_epoch} by {selection.TITLES[trained.selected_by]}"
    print(f"{chosen}: validation AUC {trained.validation_auc:.4f}; model in {out}")
    return 0


def _print_progress(progress: Progress) -> None:
    metrics = progress.metrics
    line = f"{progress.note}  step {progress.done}/{progress.total}  loss {metrics['loss']:.4f}"
    line += f"  {metrics['pictures_per_second']:,.0f} pictures/s  {progress.seconds_left:.0f} s left"
    if "validation_auc" in metrics:
        print(f"\r{line}  validation AUC {metrics['validation_auc']:.4f}\033[K")
    else:
        print(f"\r{line}\033[K", end="", flush=True)


if __name__ == "__main__":
    signals.leave(main())
