"""Measure a generator while it trains: the kernel distance of its fakes to training pictures.

It compares with training pictures so that checkpoints are chosen without seeing the pictures held out for evaluation.
"""

import numpy as np
import torch

from models.lsgan.networks import Generator
from models.lsgan.settings import LsganSettings
from models.lsgan.train import Measure
from models.metrics.generation import kernel_distance, protocol
from pipeline.core.generator import generation
from pipeline.core.images import features

SAMPLES = 300  # pictures on each side; every tick uses the same latents and the same reals
FEATURE_SIZE = 64  # side in pixels of the pictures given to the frozen ImageNet network: their own size


def kernel_to_training(
    pictures: np.ndarray, labels: np.ndarray, settings: LsganSettings, device: torch.device
) -> Measure:
    """Create the measure for pictures uint8 [N, 64, 64, 3], labels int64 [N]; fakes have the reals' mix of classes."""
    rng = np.random.default_rng(settings.seed)
    rows = rng.choice(len(pictures), min(SAMPLES, len(pictures)), replace=False)
    reals = features.embed(pictures[rows], size=FEATURE_SIZE, device=device)

    def of(generator: Generator) -> float:
        fakes = generation.sample(generator, labels[rows], settings.seed, device)
        embedded = features.embed(fakes, size=FEATURE_SIZE, device=device)
        return kernel_distance(reals, embedded, seed=settings.seed)[0]

    name = protocol("kernel_to_training", f"{features.NAME}_{FEATURE_SIZE}px", len(rows))
    return Measure(name, of)
