"""The training data: pictures checked and brought to the networks' size, and the batches of each step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.data.batch_order import BatchOrder
from models.data.class_counts import count_classes
from models.data.pictures import normalise, resize
from models.garments.features import FrozenFeatures, TrainingFeatures
from models.garments.settings import SIZES, GarmentModelSettings
from models.training import device as devices

_CHUNK = 512  # pictures resized at a time


def check_pictures(pictures: np.ndarray, settings: GarmentModelSettings, what: str = "pictures") -> None:
    """Raise ValueError unless pictures are square, uint8 [N, H, H, 3], and as large as `size` or to be upscaled."""
    shape = pictures.shape
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(
            f"{what} are {pictures.dtype} {shape}; the networks need square ones, uint8 [N, side, side, 3]"
        )
    size = settings.size
    if shape[1] < size and not settings.upscale:
        smaller = max((s for s in SIZES if s <= shape[1]), default=None)
        mend = "set upscale to true to enlarge them" + (f", or size to {smaller}" if smaller else "")
        raise ValueError(f"{what} are {shape[1]} px wide and size is {size}: they have no such detail; {mend}")


def sized(pictures: np.ndarray, settings: GarmentModelSettings, what: str = "pictures") -> Tensor:
    """Bring pictures uint8 [N, H, H, 3] to the networks' size: uint8 [N, size, size, 3]. Larger ones are shrunk.

    Raises ValueError as `check_pictures` does.
    """
    check_pictures(pictures, settings, what)
    size, shape = settings.size, pictures.shape
    if shape[1] == size:
        return torch.from_numpy(np.ascontiguousarray(pictures))
    parts = [torch.from_numpy(pictures[start : start + _CHUNK].copy()) for start in range(0, shape[0], _CHUNK)]
    return torch.cat([resize(part, size, "bicubic") for part in parts])


def check_data(
    pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], settings: GarmentModelSettings
) -> dict[str, int]:
    """Check pictures and labels, and count the pictures of each class; ValueError describes what is wrong."""
    check_pictures(pictures, settings)
    check_labels(pictures, labels, class_names, "pictures")
    if len(class_names) != settings.classes:
        raise ValueError(f"{len(class_names)} class names, but settings.classes is {settings.classes}")
    return count_classes(labels, class_names, settings.minimum_class)


def check_labels(pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], what: str) -> None:
    """Raise ValueError unless there is one label in range for each picture."""
    if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels of {what} are {labels.dtype} {labels.shape}; give one integer each, [{len(pictures)}]"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise ValueError(
            f"labels of {what} run from {labels.min()} to {labels.max()}; allowed: 0 to {len(class_names) - 1}"
        )


@dataclass(frozen=True)
class Batch:
    """A batch of real pictures with all that is known of them."""

    pictures: Tensor  # float32 [B, 3, size, size] in [-1, 1]
    labels: Tensor  # int64 [B]
    features: list[Tensor]  # float32 [B, mixed, side, side] on four scales
    summaries: Tensor  # float32 [B, inputs of the encoder]


class PictureSet:
    """A set of pictures with labels and frozen features, on the device where they fit."""

    def __init__(
        self,
        pixels: Tensor,
        labels: np.ndarray,
        features: FrozenFeatures,
        settings: GarmentModelSettings,
        device: torch.device,
    ) -> None:
        """`pixels`: uint8 [N, size, size, 3], from `sized`; `features`: calibrated."""
        resident = device.type == "cpu" or devices.fits(pixels.numel(), device)
        self.pixels = pixels.to(device) if resident else pixels
        self.label = labels.astype(np.int64)
        self.labels = torch.from_numpy(self.label).to(device)
        self.device = device
        self.features = TrainingFeatures(features, self.pixels, settings.cache_gigabytes)
        self.note = self.features.note

    def __len__(self) -> int:
        return len(self.label)

    def batch(self, rows: np.ndarray) -> Batch:
        """Gather these rows int64 [B]."""
        picked = torch.from_numpy(rows)
        here = picked.to(self.device)
        pictures = normalise(self.pixels[picked.to(self.pixels.device)].to(self.device))
        return Batch(pictures, self.labels[here], self.features(picked), self.features.summaries[here])

    def order(self, settings: GarmentModelSettings, seed: int) -> BatchOrder:
        """Return an order of batches in which every class that has pictures occurs equally often."""
        present = np.unique(self.label)
        return BatchOrder(np.searchsorted(present, self.label), settings.batch_size, seed, balanced=len(present))
