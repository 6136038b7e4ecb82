"""Monitor training at each tick: fakes of fixed latents, reconstruction and logits on both sides, divergence."""

import math

import numpy as np
import torch

from models.data import picture_grid
from models.data.pictures import to_pixels
from models.garments.batches import PictureSet
from models.garments.generator import Generator
from models.garments.heads import mean_logit
from models.garments.settings import GarmentModelSettings
from models.garments.state import GarmentRun
from models.training.divergence import DivergedError

_BATCHES = 4  # of each side, always the same, on which reconstruction and logits are measured


class FixedGrid:
    """Latents and classes that stay the same throughout training, one row per class, to show its progress."""

    def __init__(self, settings: GarmentModelSettings, class_names: tuple[str, ...], device: torch.device) -> None:
        noise = torch.Generator().manual_seed(settings.seed + 6)
        self.class_names = class_names
        self.z = torch.randn(len(class_names) * settings.grid_columns, settings.z_dim, generator=noise).to(device)
        self.labels = torch.arange(len(class_names), device=device).repeat_interleave(settings.grid_columns)

    @torch.no_grad()
    def draw(self, network: Generator) -> tuple[np.ndarray, float]:
        """Draw the fakes: one picture uint8 [H, W, 3], and their spread, i.e. the mean sd of a pixel on [-1, 1]."""
        fakes = network(self.z, self.labels)
        pixels = to_pixels(fakes).cpu().numpy()
        rows = pixels.reshape(len(self.class_names), -1, *pixels.shape[1:])
        return picture_grid.grid(rows, row_labels=self.class_names), fakes.std(dim=0).mean().item()


def reals(pixels: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], columns: int, seed: int) -> np.ndarray:
    """Draw `columns` training pictures of each class, from the seed: uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(labels == c), columns) for c in range(len(class_names))]
    return picture_grid.grid(pixels[np.stack(rows)], row_labels=class_names)


@torch.no_grad()
def on_both_sides(run: GarmentRun, train: PictureSet, held_out: PictureSet | None) -> dict[str, float]:
    """Measure the averaged networks' reconstruction (mean L1 in grey levels) and the heads' mean logits.

    On a fixed sample of training pictures, and of held-out ones if there are any. Call it when the prior is fitted.
    """
    found = {}
    run.heads.eval()
    for name, side in (("train", train), ("held_out", held_out)):
        if side is None:
            continue
        order = side.order(run.settings, run.settings.seed + 7)
        errors, logits = [], []
        for number in range(_BATCHES):
            batch = side.batch(order(number))
            means, _ = run.averaged_encoder(batch.summaries)
            again = run.averaged_generator.decode(means, batch.labels)
            errors.append((again - batch.pictures).abs().mean() * 127.5)
            logits.append(mean_logit(run.heads(batch.features, batch.labels)).mean())
        found |= {f"l1_{name}": torch.stack(errors).mean(), f"logit_{name}": torch.stack(logits).mean()}
    run.heads.train()
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def expect_finite(metrics: dict[str, float], run: GarmentRun, tick: int) -> None:
    """Raise DivergedError for a metric or a weight that is not a number."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise _diverged(tick, run.step, f"{name} is not a number ({value})")
    weights = [*run.averaged_generator.parameters(), *run.averaged_encoder.parameters(), *run.heads.parameters()]
    if not torch.stack([weight.detach().isfinite().all() for weight in weights]).all():
        raise _diverged(tick, run.step, "a weight is not a number")


def expect_variety(metrics: dict[str, float], run: GarmentRun, tick: int) -> None:
    """Raise DivergedError after `patience` consecutive ticks of identical fakes."""
    settings = run.settings
    run.alike = run.alike + 1 if metrics["spread"] < settings.alike_spread else 0
    if run.alike >= settings.patience:
        raise _diverged(tick, run.step, f"all fakes were alike for {settings.patience} ticks: the generator collapsed")


def _diverged(tick: int, step: int, reason: str) -> DivergedError:
    return DivergedError(
        f"tick {tick} (step {step}): {reason}; lower the learning rates (lr, lr_heads), or train more pictures, in a "
        "new folder (last.pt here holds the last good tick)"
    )
