"""Settings of the generator's metrics. The launchpad reads this module, so it must load without torch."""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc


@dataclass(frozen=True)
class GenerationMetricSettings:
    """Settings of the generator's evaluation."""

    samples: Annotated[int, Doc("Maximum number of pictures to compare on each side.")] = 600
    judge_minimum: Annotated[
        int, Doc("Held-out pictures of a class needed to judge it, at least 4; a class with fewer is left out.")
    ] = 40
    feature_size: Annotated[int, Doc("Side in pixels of the pictures given to the frozen ImageNet network.")] = 128
    inception_weights: Annotated[
        str, Doc("Path of torch-fidelity's InceptionV3 file, for FID and IS; empty: neither.")
    ] = ""
    seed: Annotated[int, Doc("Seed of all draws, of the halves and of the judge.")] = 0

    def __post_init__(self) -> None:
        if self.judge_minimum < 4:
            raise ValueError(f"judge_minimum={self.judge_minimum}; it must be at least 4")
