"""What a search is told, and what it may turn of each recommender: values only, so that the job's form needs no model.

The recommenders themselves are `contenders.py`, the search `tuning.py`.
"""

from dataclasses import dataclass

from models.baselines import settings as bpr_settings
from models.dvbpr import settings as dvbpr_settings
from models.modern import settings as modern_settings
from models.training.search import Space
from pipeline.core.schemas import IMAGE_MODES

# By the name of the contender; the others have nothing to search.
SPACES: dict[str, Space] = {
    "bpr_mf": bpr_settings.MF_SPACE,
    "vbpr": bpr_settings.VBPR_SPACE,
    "vbpr_visual": bpr_settings.VBPR_SPACE,
    "modern": modern_settings.SPACE,
    "dvbpr": dvbpr_settings.SPACE,
    "paper": dvbpr_settings.SPACE,
    "kang2017": dvbpr_settings.SPACE,
}


@dataclass(frozen=True)
class TuningSettings:
    """What is searched, and how long."""

    models: tuple[str, ...] = ("bpr_mf", "vbpr")  # of the recommenders that have a space to search
    modes: tuple[str, ...] = ("vendor_single",)  # image modes, each searched by itself
    trials: int = 20  # of each model and mode in all, those of earlier runs and pruned ones among them
    unguided_trials: int = 5  # drawn at random before the sampler learns from them, and before anything is pruned
    seed: int = 0  # of the draws, and of every training

    def __post_init__(self) -> None:
        for name, allowed in (("models", SPACES), ("modes", IMAGE_MODES)):
            wrong = [value for value in getattr(self, name) if value not in allowed]
            if wrong or not getattr(self, name):
                raise ValueError(f"{name}: {', '.join(wrong) or 'none given'}; there are: {', '.join(allowed)}")
        for name in ("trials", "unguided_trials"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
