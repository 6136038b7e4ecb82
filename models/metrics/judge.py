"""Train a judge: a small classifier of pictures that shares nothing with a generator or the networks it learns from.

A generator can learn to please any network that its training sees, so figures in that network's features prove little.
The judge is trained from scratch, on pictures that the generator never sees. Which pictures those are, and what is
measured in its features, is decided by the caller.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 64  # side in pixels that the judge sees; other pictures are resized to it
DIMENSIONS = 64  # width of the penultimate layer
_CHANNELS = (12, 24, 36, 48)  # each layer halves the side: 64 -> 4
_BATCH = 24
_STEPS = (100, 900)  # least and most
_STEPS_PER_PICTURE = 1.5
_RATE, _DECAY, _SMOOTHING = 4e-3, 1e-2, 0.1  # of AdamW, and of the labels
# Greatest changes of an augmented picture. Colours say little about a class and a lot about a few dozen pictures, so
# they change most: channels trade places, and each gets a gain and an offset of its own.
_STRETCH, _TURN, _SHIFT = 0.1, 0.1, 0.1  # share of the side, radians, share of half the side
_GAIN, _OFFSET = 0.4, 0.3  # of pixels on [-1, 1]


class _Network(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, *_CHANNELS)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in _CHANNELS)
        # Position matters (a leg is under a waist), so the last map is flattened, not averaged.
        self.penultimate = nn.Linear(_CHANNELS[-1] * (SIZE >> len(_CHANNELS)) ** 2, DIMENSIONS)
        self.classes = nn.Linear(DIMENSIONS, classes)

    def features(self, x: Tensor) -> Tensor:  # [B, 3, SIZE, SIZE] -> [B, DIMENSIONS]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return F.relu(self.penultimate(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:  # -> logits [B, classes]
        return self.classes(self.features(x))


class Judge:
    """A trained judge; made by `fit_judge`."""

    def __init__(self, network: _Network) -> None:
        """Wrap a network in eval mode."""
        self._network = network

    @torch.inference_mode()
    def features(self, pictures: np.ndarray, chunk: int = 256) -> np.ndarray:
        """Compute the penultimate layer of pictures uint8 [n, H, W, 3]: float32 [n, DIMENSIONS]."""
        parts = [
            self._network.features(_inputs(pictures[at : at + chunk])).numpy() for at in range(0, len(pictures), chunk)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, DIMENSIONS), np.float32)

    @torch.inference_mode()
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict the class of pictures by their features [n, DIMENSIONS]: int64 [n]."""
        return self._network.classes(torch.from_numpy(features)).argmax(dim=1).numpy()


def fit_judge(pictures: np.ndarray, labels: np.ndarray, class_names: Sequence[str], seed: int = 0) -> Judge:
    """Train a judge on pictures uint8 [n, H, W, 3] with labels int [n]; on the CPU, so that a seed has one result.

    Every class is drawn equally often.

    Raises:
        ValueError: fewer than two classes, or a class with fewer than two pictures.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    few = [f"{name} has {count}" for name, count in zip(class_names, counts, strict=True) if count < 2]
    if len(class_names) < 2 or few:
        problem = ", ".join(few) or f"there is only {', '.join(class_names) or 'none'}"
        raise ValueError(f"a judge needs two classes with at least two pictures each; {problem}")
    x, y = _inputs(pictures), torch.from_numpy(np.asarray(labels, np.int64))
    of_class = [torch.from_numpy(np.flatnonzero(labels == number)) for number in range(len(class_names))]
    steps = int(np.clip(_STEPS_PER_PICTURE * len(pictures), *_STEPS))
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        torch.manual_seed(seed)
        network = _Network(len(class_names))
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for step in range(steps):
        rows = torch.stack([_one_of(of_class[(step * _BATCH + place) % len(of_class)], rng) for place in range(_BATCH)])
        loss = F.cross_entropy(network(_augmented(x[rows], rng)), y[rows], label_smoothing=_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Judge(network.eval())


def _one_of(rows: Tensor, rng: torch.Generator) -> Tensor:
    return rows[torch.randint(0, len(rows), (), generator=rng)]


def _inputs(pictures: np.ndarray) -> Tensor:
    """Convert pictures uint8 [n, H, W, 3] to the network's input, [n, 3, SIZE, SIZE] on [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if x.shape[2:] == (SIZE, SIZE):
        return x
    return F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)


def _augmented(x: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror, stretch, turn, shift and recolour pictures [B, 3, S, S] at random."""
    count = len(x)

    def uniform(*shape: int) -> Tensor:  # on [-1, 1]
        return torch.rand(count, *shape, generator=rng) * 2 - 1

    mirror = uniform().sign()
    stretch, turn = 1 + _STRETCH * uniform(2), _TURN * uniform()
    where = torch.zeros(count, 2, 3)
    where[:, 0, 0], where[:, 0, 1] = stretch[:, 0] * mirror, -turn
    where[:, 1, 0], where[:, 1, 1] = turn, stretch[:, 1]
    where[:, :, 2] = _SHIFT * uniform(2)
    grid = F.affine_grid(where, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    order = torch.rand(count, 3, generator=rng).argsort(dim=1)
    x = x.gather(1, order[:, :, None, None].expand_as(x))
    return x * (1 + _GAIN * uniform(3, 1, 1)) + _OFFSET * uniform(3, 1, 1)
