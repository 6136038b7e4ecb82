"""Settings of a search, and the space of each recommender.

The launchpad reads this module, so it must load without torch.
"""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from models.training.search import Space
from pipeline.core.schemas import IMAGE_MODES
from pipeline.recommenders.registry import in_studies

# Recommender -> its search space; recommenders without one are left out.
SPACES: dict[str, Space] = {name: one.space for name, one in in_studies().items() if one.space}

USUAL = tuple(name for name, one in in_studies().items() if one.usual and one.space)


@dataclass(frozen=True)
class TuningSettings:
    """Settings of a search."""

    models: Annotated[tuple[str, ...], Doc("Recommenders to tune, of those with a search space.")] = USUAL
    modes: Annotated[tuple[str, ...], Doc("Image modes, each searched separately.")] = ("vendor_single",)
    trials: Annotated[int, Doc("Total trials of each model and mode, with pruned ones and those of earlier runs.")] = 20
    unguided_trials: Annotated[int, Doc("Random trials at the start, before the sampler uses results and prunes.")] = 5
    seed: Annotated[int, Doc("Seed of the draws and of every training.")] = 0

    def __post_init__(self) -> None:
        for name, allowed in (("models", SPACES), ("modes", IMAGE_MODES)):
            wrong = [value for value in getattr(self, name) if value not in allowed]
            if wrong or not getattr(self, name):
                raise ValueError(f"{name}: {', '.join(wrong) or 'none given'}; there are: {', '.join(allowed)}")
        for name in ("trials", "unguided_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
