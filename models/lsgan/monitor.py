"""Monitor LSGAN training at each tick: fakes of fixed latents, real pictures to compare them with, and divergence."""

import math

import numpy as np
import torch

from models.data import picture_grid
from models.data.pictures import to_pixels
from models.lsgan.networks import PICTURE_SIZE, Generator, sample_z
from models.lsgan.settings import LsganSettings
from models.training.divergence import DivergedError


class FixedGrid:
    """Latents and classes that stay the same throughout training, one row per class, to show its progress."""

    def __init__(self, settings: LsganSettings, class_names: tuple[str, ...], device: torch.device) -> None:
        noise = torch.Generator().manual_seed(settings.seed + 3)
        self.class_names = class_names
        self.z = sample_z(settings, len(class_names) * settings.grid_columns, noise).to(device)
        self.labels = torch.arange(len(class_names), device=device).repeat_interleave(settings.grid_columns)

    @torch.no_grad()
    def draw(self, network: Generator) -> tuple[np.ndarray, float]:
        """Draw the fakes: one picture uint8 [H, W, 3], and their spread, i.e. the mean sd of a pixel on [-1, 1]."""
        was_training = network.training
        network.eval()
        fakes = network(self.z, self.labels)
        network.train(was_training)
        spread = fakes.float().std(dim=0).mean().item()
        pixels = to_pixels(fakes).cpu().numpy().reshape(len(self.class_names), -1, PICTURE_SIZE, PICTURE_SIZE, 3)
        return picture_grid.grid(pixels, row_labels=self.class_names), spread


def reals(
    pictures: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], settings: LsganSettings
) -> np.ndarray:
    """Draw as many training pictures of each class as the fixed grid has fakes, from the seed: uint8 [H, W, 3]."""
    rng = np.random.default_rng(settings.seed)
    rows = [rng.choice(np.flatnonzero(labels == c), settings.grid_columns) for c in range(len(class_names))]
    return picture_grid.grid(pictures[np.stack(rows)], row_labels=class_names)


def check_divergence(
    metrics: dict[str, float], stalled: dict[str, int], settings: LsganSettings, tick: int, step: int
) -> None:
    """Count consecutive bad ticks in `stalled`.

    Raises DivergedError for a metric that is not a number, or after `settings.patience` bad ticks.
    """
    for name in ("loss_discriminator", "loss_generator", "spread"):
        if not math.isfinite(metrics[name]):
            raise _diverged(tick, step, f"{name} is not a number ({metrics[name]})")
    stalled["vanished"] = stalled["vanished"] + 1 if metrics["loss_discriminator"] < settings.vanished_loss else 0
    stalled["alike"] = stalled["alike"] + 1 if metrics["spread"] < settings.alike_spread else 0
    if stalled["vanished"] >= settings.patience:
        raise _diverged(tick, step, f"the discriminator's loss was 0 for {settings.patience} ticks: it has won")
    if stalled["alike"] >= settings.patience:
        raise _diverged(tick, step, f"all fakes were alike for {settings.patience} ticks: the generator collapsed")


def _diverged(tick: int, step: int, reason: str) -> DivergedError:
    return DivergedError(
        f"tick {tick} (step {step}): {reason}; lower the learning rates (lr_discriminator, lr_generator), or train "
        "more pictures, in a new folder (last.pt here holds the last good tick)"
    )
