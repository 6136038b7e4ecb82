"""Settings of the generator's metrics. The launchpad reads this module, so it must load without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GenerationMetricSettings:
    """Settings of the generator's evaluation."""

    samples: int = 600  # most pictures compared on each side
    feature_size: int = 128  # side in pixels of the pictures given to the frozen ImageNet network
    inception_weights: str = ""  # torch-fidelity's InceptionV3 file, for FID and inception score; empty: neither
    seed: int = 0  # of all draws
