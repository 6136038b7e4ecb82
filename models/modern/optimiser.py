"""The optimiser of `modern`: AdamW, the weights that it decays, and the learning rate of each step."""

import math

import torch

from models.modern.model import ModernNetwork
from models.modern.settings import ModernSettings
from models.modern.trunk import Pixels


def build(model: ModernNetwork, settings: ModernSettings, pixels: Pixels | None = None) -> torch.optim.Optimizer:
    """Build AdamW; vectors (biases, attention) are not decayed, and the trunk has its own learning rate."""
    parts = [(list(model.parameters()), 1.0)]
    if pixels is not None:
        parts.append((list(pixels.learning().values()), settings.trunk_rate / settings.learning_rate))
    groups = []
    for weights, share in parts:
        matrices, vectors = ([w for w in weights if (w.ndim > 1) == wide] for wide in (True, False))
        groups += [{"params": matrices, "share": share}, {"params": vectors, "share": share, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def rate(settings: ModernSettings, step: int, steps: int) -> float:
    """Compute the learning rate of `step` (from 0) of `steps`: linear warm-up, then half a cosine to 0, or constant."""
    warm = max(1, round(settings.warm_up * steps)) if settings.warm_up else 0
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def set_rate(adam: torch.optim.Optimizer, settings: ModernSettings, step: int, steps: int) -> None:
    """Set the learning rate for `step` of `steps`, multiplied by each group's share."""
    for group in adam.param_groups:
        group["lr"] = rate(settings, step, steps) * group["share"]
