"""Which pictures each step of the LSGAN sees, and how many steps there are: functions of seed and step alone.

Also the pictures themselves, checked, and on their way to the device. The loop that asks is `train_lsgan.py`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from models import device as devices
from models.lsgan import PICTURE_SIZE, normalise
from models.lsgan_settings import LsganSettings
from models.ranks import ALONE, Ranks


class BatchOrder:
    """Which pictures each step sees: endless shuffles of the whole set, cut into batches; a function of seed and step.

    Nothing is drawn from a running state, so a resumed run needs to know its step only. Balanced: the classes
    take turns in shuffled rounds, each class running through its own shuffles.
    """

    def __init__(self, labels: np.ndarray, settings: LsganSettings, among: np.ndarray | None = None) -> None:
        """`among`: the rows int64 to draw from; all of them when not given."""
        self.seed, self.batch_size = settings.seed, settings.batch_size
        everything = np.arange(len(labels)) if among is None else among
        self.groups = [everything]
        if settings.balanced:
            self.groups = [everything[labels[everything] == c] for c in range(settings.classes)]
        self.shuffles: dict[tuple[int, int, int], np.ndarray] = {}  # the latest of each stream

    def __call__(self, step: int) -> np.ndarray:
        """Row indices int64 [batch_size] of step `step`."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        turns = len(self.groups)
        picked = []
        for place in places:
            group = 0 if turns == 1 else int(self._shuffle(1, place // turns, 0, turns)[place % turns])
            rows = self.groups[group]
            turn = place // turns  # each group comes once a round: how often this one came before
            picked.append(rows[self._shuffle(0, turn // len(rows), group, len(rows))[turn % len(rows)]])
        return np.array(picked, dtype=np.int64)

    def _shuffle(self, stream: int, cycle: int, group: int, count: int) -> np.ndarray:
        key = (stream, group, cycle)
        if key not in self.shuffles:
            # A batch reaches at most into the cycle before: what is older goes, or a long run would keep them all.
            old = [k for k in self.shuffles if k[:2] == key[:2] and abs(k[2] - cycle) > self.batch_size]
            for k in old:
                del self.shuffles[k]
            self.shuffles[key] = np.random.default_rng([self.seed, *key]).permutation(count)
        return self.shuffles[key]


def watched(labels: np.ndarray, settings: LsganSettings) -> np.ndarray:
    """Rows int64, ascending, that the networks never train on: `watched_share` of each class, where D is watched."""
    if not settings.adaptive:
        return np.empty(0, np.int64)
    rng = np.random.default_rng([settings.seed, 2])
    rows = [rng.permutation(np.flatnonzero(labels == c)) for c in range(settings.classes)]
    return np.sort(np.concatenate([found[: math.ceil(settings.watched_share * len(found))] for found in rows]))


def total_steps(pictures: int, settings: LsganSettings) -> int:
    """The run's length: `settings.steps`, or as many batches as `settings.epochs` passes take (10,000 x 55: 8,594)."""
    if settings.steps is not None:
        return settings.steps
    return max(1, math.ceil(pictures * settings.epochs / settings.batch_size))


class Batches:
    """This rank's share of a step's real pictures and labels, on the device. `note` says where the whole set lies."""

    def __init__(
        self,
        pictures: np.ndarray,
        labels: np.ndarray,
        settings: LsganSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
    ) -> None:
        """Pictures uint8 [N, 64, 64, 3] (a memory map will do), labels int [N]."""
        self.device, self.channels_last, self.ranks = device, settings.channels_last, ranks
        apart = watched(labels, settings)
        self.order = BatchOrder(labels, settings, np.setdiff1d(np.arange(len(labels)), apart))
        self.order_watched = BatchOrder(labels, settings, apart) if len(apart) else None
        self.pictures, self.labels = pictures, labels.astype(np.int64)
        self.resident: tuple[Tensor, Tensor] | None = None
        # 10,000 pictures take 123 MB as uint8: a batch is a gather, made float and normalised on the device.
        if settings.resident and device.type != "cpu" and devices.fits(pictures.nbytes, device):
            arrays = (np.array(pictures), self.labels)
            self.resident = (torch.from_numpy(arrays[0]).to(device), torch.from_numpy(arrays[1]).to(device))
        self.note = f"{len(pictures):,} pictures ({pictures.nbytes / 1e6:.0f} MB) "
        if self.resident is not None or device.type == "cpu":
            self.note += f"on {devices.describe(device)}"
        else:
            self.note += "in memory, every batch copied" + (": they do not fit" if settings.resident else "")

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Reals float32 [B, 3, 64, 64] in [-1, 1] and labels int64 [B] of step `step`."""
        return self._shown(self.order(step))

    def watched(self, step: int) -> tuple[Tensor, Tensor]:
        """As many real pictures that are never trained on, and their labels."""
        assert self.order_watched is not None, "nothing is watched under these settings"
        return self._shown(self.order_watched(step))

    def _shown(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
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
    """The number of pictures of each class, or ValueError saying what does not fit."""
    size = (PICTURE_SIZE, PICTURE_SIZE, 3)
    if pictures.dtype != np.uint8 or pictures.shape[1:] != size:
        raise ValueError(f"pictures are {pictures.dtype} {pictures.shape}; the networks want uint8 [N, 64, 64, 3]")
    if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu":
        raise ValueError(f"labels are {labels.dtype} {labels.shape}; wanted: one integer a picture, [{len(pictures)}]")
    if len(class_names) != settings.classes:
        raise ValueError(f"{len(class_names)} class names, but settings.classes is {settings.classes}")
    if len(labels) and (labels.min() < 0 or labels.max() >= len(class_names)):
        raise ValueError(f"labels run from {labels.min()} to {labels.max()}; wanted: 0 to {len(class_names) - 1}")
    counted = np.bincount(labels, minlength=len(class_names))
    counts = {name: int(count) for name, count in zip(class_names, counted, strict=True)}
    few = [f"{name} has {count}" for name, count in counts.items() if count < settings.minimum_class]
    if few:
        raise ValueError(
            f"too few pictures to train on: {', '.join(few)}; the minimum is {settings.minimum_class} a class "
            "(add products of that class, or set minimum_class)"
        )
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
