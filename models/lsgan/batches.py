"""Batches of real pictures for the LSGAN, and their transfer to the device.

Also counts the steps of a run and checks the training data.
"""

import math

import numpy as np
import torch
from torch import Tensor

from models.data.batch_order import BatchOrder
from models.data.class_counts import count_classes
from models.lsgan.networks import PICTURE_SIZE, normalise
from models.lsgan.settings import LsganSettings
from models.training import device as devices
from models.training.ranks import ALONE, Ranks


def batch_order(labels: np.ndarray, settings: LsganSettings, among: np.ndarray | None = None) -> BatchOrder:
    """Return the order of a run with these settings; `among`: the rows int64 to draw from, None for all."""
    balanced = settings.classes if settings.balanced else None
    return BatchOrder(labels, settings.batch_size, settings.seed, balanced=balanced, among=among)


def watched(labels: np.ndarray, settings: LsganSettings) -> np.ndarray:
    """Choose the rows that the networks never train on, to watch how far D overfits: int64, ascending.

    `watched_share` of each class; none unless augmentation is adaptive.
    """
    if not settings.adaptive:
        return np.empty(0, np.int64)
    rng = np.random.default_rng([settings.seed, 2])
    by_class = [rng.permutation(np.flatnonzero(labels == c)) for c in range(settings.classes)]
    return np.sort(np.concatenate([rows[: math.ceil(settings.watched_share * len(rows))] for rows in by_class]))


def total_steps(pictures: int, settings: LsganSettings) -> int:
    """Compute the length of a run: `settings.steps`, or the batches in `settings.epochs` passes over the pictures.

    For example, 10,000 pictures x 55 epochs in batches of 64 take 8,594 steps.
    """
    if settings.steps is not None:
        return settings.steps
    return max(1, math.ceil(pictures * settings.epochs / settings.batch_size))


class Batches:
    """This rank's share of the real pictures and labels of each step; `note` describes where the pictures are kept."""

    def __init__(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        settings: LsganSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        """`pictures`: uint8 [N, 64, 64, 3], possibly a memory map; `labels`: int [N]."""
        self.device, self.channels_last, self.ranks = device, settings.channels_last, ranks
        untrained = watched(labels, settings)
        self.order = batch_order(labels, settings, np.setdiff1d(np.arange(len(labels)), untrained))
        self.order_watched = batch_order(labels, settings, untrained) if len(untrained) else None
        self.pictures, self.labels = pictures, labels.astype(np.int64)
        self.resident: tuple[Tensor, Tensor] | None = None
        # 10,000 pictures take only 123 MB as uint8, so batches are gathered, cast and normalised on the device.
        if settings.resident and device.type != "cpu" and devices.fits(pictures.nbytes, device):
            arrays = (np.array(pictures), self.labels)
            self.resident = (torch.from_numpy(arrays[0]).to(device), torch.from_numpy(arrays[1]).to(device))
        self.note = f"{len(pictures):,} pictures ({pictures.nbytes / 1e6:.0f} MB) "
        if self.resident is not None or device.type == "cpu":
            self.note += f"on {devices.describe(device)}"
        else:
            self.note += "in memory, every batch copied" + (": they do not fit" if settings.resident else "")

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return real pictures float32 [B, 3, 64, 64] in [-1, 1] and labels int64 [B] of step `step`."""
        return self._on_device(self.order(step))

    def watched(self, step: int) -> tuple[Tensor, Tensor]:
        """Return as many real pictures that are never trained on, and their labels."""
        assert self.order_watched is not None, "no pictures are watched under these settings"
        return self._on_device(self.order_watched(step))

    def _on_device(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        rows = rows[self.ranks.share(len(rows))]
        if self.resident is not None:
            index = torch.from_numpy(rows).to(self.device, non_blocking=True)
            pixels, labels = (whole[index] for whole in self.resident)
        else:
            pixels, labels = (self._copied(whole[rows]) for whole in (self.pictures, self.labels))
        real = normalise(pixels)
        return (real if self.channels_last else real.contiguous()), labels

    def _copied(self, part: np.ndarray) -> Tensor:
        batch = torch.from_numpy(part)
        return (batch.pin_memory() if self.device.type == "cuda" else batch).to(self.device, non_blocking=True)


def check_data(
    pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], settings: LsganSettings
) -> dict[str, int]:
    """Check the training data and count the pictures of each class; ValueError describes what is wrong."""
    size = (PICTURE_SIZE, PICTURE_SIZE, 3)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != size:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}; the networks need uint8 [N, 64, 64, 3]")
    if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} {labels.shape}; give one integer a picture, [{len(pictures)}]")
    if len(class_names) != settings.classes:
        raise ValueError(f"{len(class_names)} class names, but settings.classes is {settings.classes}")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; allowed: 0 to {len(class_names) - 1}")
    counts = count_classes(labels, class_names, settings.minimum_class)
    if len(class_names) * settings.grid_columns < 2:
        raise ValueError("grid_columns is 1, of one class: one fake cannot show whether fakes are alike; set it to 2")
    if settings.adaptive:  # the watched pictures are taken from these
        few = [name for name, count in counts.items() if count <= math.ceil(settings.watched_share * count)]
        if few:
            raise ValueError(
                f"too few pictures to train on: {', '.join(few)} has one, and augment_target watches one a class "
                "without training on it (add products of that class, or unset augment_target)"
            )
    return counts
