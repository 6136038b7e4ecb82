"""Presets: the settings of each published method. The values are defined beside the settings classes."""

from typing import Any

from models.design.settings import PRESETS as DESIGN_PRESETS
from models.design.settings import DesignSettings
from models.dvbpr.settings import PRESETS as DVBPR_PRESETS
from models.dvbpr.settings import DvbprSettings
from models.lsgan.settings import PRESETS as LSGAN_PRESETS
from models.lsgan.settings import LsganSettings
from pipeline.core.dataset.triplets import PRESETS as TRIPLET_PRESETS
from pipeline.core.dataset.triplets import TripletSettings

# Settings classes whose values differ by preset; all others have only the defaults of their dataclass.
PRESETS: dict[type, dict[str, Any]] = {
    TripletSettings: TRIPLET_PRESETS,
    DvbprSettings: DVBPR_PRESETS,
    LsganSettings: LSGAN_PRESETS,
    DesignSettings: DESIGN_PRESETS,
}
PRESET_NAMES = ("paper", "kang2017", "modern")
# The preset to use where another defines no values: `modern` changes only some stages.
FALLBACK = "paper"


def describe_default(settings: type, name: str) -> str:
    """Format a field's value when neither the run nor a profile sets it, for each preset if they differ."""
    values = {preset: repr(getattr(made, name)) for preset, made in PRESETS.get(settings, {"": settings()}).items()}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{preset} {value}" for preset, value in values.items())
