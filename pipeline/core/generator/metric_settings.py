"""Settings of the generator's metrics. The launchpad reads this module, so it must load without torch."""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc


@dataclass(frozen=True)
class GenerationMetricSettings:
    """Settings of the generator's evaluation."""

    samples: Annotated[int, Doc("Maximum number of pictures to compare on each side.")] = 600
    feature_size: Annotated[int, Doc("Side in pixels of the pictures given to the frozen ImageNet network.")] = 128
    inception_weights: Annotated[
        str, Doc("Path of torch-fidelity's InceptionV3 file, for FID and IS; empty: neither.")
    ] = ""
    seed: Annotated[int, Doc("Seed of all draws.")] = 0
