"""Settings of Cornac's VBPR. Values only."""

import itertools
from dataclasses import dataclass

VERSION = "3.0.1"


@dataclass(frozen=True)
class CornacSettings:
    """Settings of Cornac's VBPR as released. Epochs are chosen on validation: the default of 50 overfits small data."""

    epochs: tuple[int, ...] = (5, 10, 20)
    version: str = VERSION

    def points(self) -> list[dict[str, float]]:
        """List the arguments of Cornac's VBPR to try, each with every number of epochs."""
        return [{}]


@dataclass(frozen=True)
class TunedCornacSettings(CornacSettings):
    """Settings tuned on validation: those that our VBPR also tunes, in similar ranges (`models/baselines/bpr.py`)."""

    epochs: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    k: int = 64  # latent factors, and as many visual ones
    batch_size: int = 128
    learning_rate: tuple[float, ...] = (0.001,)
    # Per triplet, as in our VBPR. Cornac's loss counts a batch of B triplets B times, so `points` multiplies this by B.
    regularisation: tuple[float, ...] = (0.1, 0.3, 1.0)

    def points(self) -> list[dict[str, float]]:
        """List every rate with every regulariser, which is the same for factors, biases and projection."""
        fixed = {"k": self.k, "k2": self.k, "batch_size": self.batch_size}
        return [
            {**fixed, "learning_rate": rate} | dict.fromkeys(("lambda_w", "lambda_b", "lambda_e"), l2 * self.batch_size)
            for rate, l2 in itertools.product(self.learning_rate, self.regularisation)
        ]
