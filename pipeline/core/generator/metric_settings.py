"""Settings of the generator's metrics. Values only: `figures.py` computes with them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GenerationMetricSettings:
    """The generator's evaluation."""

    samples: int = 600  # pictures compared on each side, at most
    feature_size: int = 128  # pixels a side given to the frozen ImageNet network
    inception_weights: str = ""  # torch-fidelity's InceptionV3 file, for FID and inception score; empty: neither
    seed: int = 0  # of every draw
