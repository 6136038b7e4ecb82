"""Settings of Cornac's VBPR. Values only."""

import itertools
from dataclasses import dataclass

VERSION = "3.0.1"


@dataclass(frozen=True)
class CornacSettings:
    """The number of epochs is chosen on validation: its default, 50, is past its best on small data."""

    epochs: tuple[int, ...] = (5, 10, 20)
    version: str = VERSION

    def points(self) -> list[dict[str, float]]:
        """What is tried, as arguments of Cornac's VBPR: every point with every number of epochs."""
        return [{}]


@dataclass(frozen=True)
class TunedCornacSettings(CornacSettings):
    """All knobs that ours has are chosen on validation, in ranges like ours (`models/baselines/bpr.py`)."""

    epochs: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    k: int = 64  # latent factors, and as many visual ones
    batch_size: int = 128
    learning_rate: tuple[float, ...] = (0.001,)
    # As ours counts it, for one triplet; its loss counts a batch of B triplets B times, so this counts as often.
    regularisation: tuple[float, ...] = (0.1, 0.3, 1.0)

    def points(self) -> list[dict[str, float]]:
        """Every rate with every regulariser, which holds for factors, biases and projection alike."""
        fixed = {"k": self.k, "k2": self.k, "batch_size": self.batch_size}
        return [
            {**fixed, "learning_rate": rate} | dict.fromkeys(("lambda_w", "lambda_b", "lambda_e"), l2 * self.batch_size)
            for rate, l2 in itertools.product(self.learning_rate, self.regularisation)
        ]
