"""Make Dagster Config classes from the settings dataclasses, so that every setting can be set on its asset.

The dataclasses are the single source of names, types and defaults; in a Config every field is optional. A field that is
not set comes from the run's profile, then from the preset.
"""

import dataclasses
import inspect
import re
import sys
import types
import typing
from typing import Any

import dagster as dg
import pydantic

from models.baselines.settings import BprSettings
from models.design.settings import PRESETS as DESIGN_PRESETS
from models.design.settings import DesignSettings
from models.dvbpr.settings import PRESETS as DVBPR_PRESETS
from models.dvbpr.settings import DvbprSettings
from models.lsgan.settings import PRESETS as LSGAN_PRESETS
from models.lsgan.settings import LsganSettings
from models.modern.settings import ModernSettings
from pipeline.core.dataset.triplets import PRESETS as TRIPLET_PRESETS
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images.near_duplicates import NearDuplicateSettings
from pipeline.core.images.transfer import FetchSettings
from pipeline.settings.assets import (
    BankSettings,
    ChampionSettings,
    DesignTargetSettings,
    DesignTradeoffSettings,
    EvaluationSettings,
    FeatureSettings,
    FiveCoreSettings,
    GarmentSettings,
    GeneratorChampionSettings,
    ImageUrlSettings,
    IngestSettings,
    LedgerSettings,
    LookbookSettings,
    RecommendationSettings,
    RefreshSettings,
    SplitSettings,
)

# Settings that differ by the method's preset; all others have one default, their dataclass's own.
PRESETS: dict[type, dict[str, Any]] = {
    TripletSettings: TRIPLET_PRESETS,
    DvbprSettings: DVBPR_PRESETS,
    LsganSettings: LSGAN_PRESETS,
    DesignSettings: DESIGN_PRESETS,
}
PRESET_NAMES = ("paper", "kang2017", "modern")
# The preset whose values hold where another has none of its own: `modern` renews only some stages.
FALLBACK = "paper"
# Fields that the environment decides, not a run.
FROM_ENVIRONMENT = {"allow_hosts", "device"}
# (settings, field) that the data decides: how many classes the garments have.
FROM_DATA = {(LsganSettings, "classes")}


def described(settings: type) -> dict[str, str]:
    """The comment behind each field of a settings dataclass, which the launchpad shows as its meaning."""
    # The class is cut out of its module here: `inspect.getsource` of a class parses the whole module each time, a tenth
    # of a second for all settings, in every process that loads the definitions.
    module = inspect.getsource(sys.modules[settings.__module__])
    [own] = re.findall(rf"^class {settings.__name__}\b.*?(?=^\S|\Z)", module, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^    (\w+): .*?#\s*(.+)$", own, re.MULTILINE))


def _config_type(annotation: Any) -> Any:
    """The type Dagster's config knows for a dataclass field: tuples become lists, `| None` goes."""
    if typing.get_origin(annotation) is typing.Literal:
        return type(typing.get_args(annotation)[0])
    arguments = [a for a in typing.get_args(annotation) if a is not types.NoneType]
    if typing.get_origin(annotation) in (tuple, list):
        return list[arguments[0]]  # ty: ignore[invalid-type-form]
    return _config_type(arguments[0]) if arguments else annotation


def config_of(*settings: type) -> type[dg.Config]:
    """A Dagster Config with every field of the settings dataclasses, each optional.

    Raises:
        TypeError: two of them share a field name.
    """
    fields: dict[str, Any] = {}
    for cls in settings:
        hints, meanings = typing.get_type_hints(cls), described(cls)
        for field in dataclasses.fields(cls):  # ty: ignore[invalid-argument-type]
            if field.name in FROM_ENVIRONMENT or (cls, field.name) in FROM_DATA:
                continue
            if field.name in fields:
                raise TypeError(f"{field.name} is a setting of two of {[s.__name__ for s in settings]}")
            meaning = meanings.get(field.name, field.name.replace("_", " "))
            description = f"{meaning}. When not set: the profile's value, else {unless_set(cls, field.name)}."
            fields[field.name] = (_config_type(hints[field.name]) | None, pydantic.Field(None, description=description))
    return pydantic.create_model("+".join(s.__name__ for s in settings), __base__=dg.Config, **fields)


def unless_set(settings: type, name: str) -> str:
    """A field's value where neither run nor profile sets it; by preset where the presets differ."""
    values = {preset: repr(getattr(made, name)) for preset, made in PRESETS.get(settings, {"": settings()}).items()}
    alike = len(set(values.values())) == 1
    return next(iter(values.values())) if alike else ", ".join(f"{preset} {value}" for preset, value in values.items())


class IngestConfig(config_of(IngestSettings)):
    """Ingest."""


class FiveCoreConfig(config_of(FiveCoreSettings)):
    """The 5-core."""


class ImageUrlsConfig(config_of(ImageUrlSettings)):
    """Pictures wanted."""


class ImageLedgerConfig(config_of(FetchSettings, LedgerSettings)):
    """Pictures fetched."""


class ImageBankConfig(config_of(BankSettings)):
    """Pictures decoded."""


class NearDuplicatesConfig(config_of(NearDuplicateSettings)):
    """When two pictures count as the same."""


class ImageFeaturesConfig(config_of(FeatureSettings)):
    """Frozen features."""


class SplitsConfig(config_of(SplitSettings)):
    """The hold-out."""


class TripletsConfig(config_of(TripletSettings)):
    """Triplet sampling."""


class ModernConfig(config_of(ModernSettings, RefreshSettings)):
    """The recommender of preset `modern`, on frozen features."""


class DvbprConfig(config_of(DvbprSettings, RefreshSettings)):
    """DVBPR, from pixels."""


class BaselinesConfig(config_of(BprSettings)):
    """Baselines."""


class EvaluationConfig(config_of(EvaluationSettings)):
    """Ranking metrics."""


class ChampionConfig(config_of(ChampionSettings)):
    """The recommender's champion."""


class GeneratorChampionConfig(config_of(GeneratorChampionSettings)):
    """The generator's champion."""


class RecommendationsConfig(config_of(RecommendationSettings)):
    """Recommendations."""


class GarmentsConfig(config_of(GarmentSettings, RelevanceSettings)):
    """The generator's pictures."""


class LsganConfig(config_of(LsganSettings)):
    """The LSGAN."""


class GenerationMetricsConfig(config_of(GenerationMetricSettings)):
    """The generator's metrics."""


class DesignsConfig(config_of(DesignSettings, DesignTargetSettings)):
    """Preference maximisation."""


class DesignTradeoffConfig(config_of(DesignTradeoffSettings)):
    """The trade-off."""


class LookbookConfig(config_of(LookbookSettings)):
    """The lookbook."""


# op name -> its Config: what a profile's `ops` section may hold.
CONFIGS: dict[str, type[dg.Config]] = {
    "ingest": IngestConfig,
    "five_core": FiveCoreConfig,
    "image_urls": ImageUrlsConfig,
    "image_ledger": ImageLedgerConfig,
    "image_bank": ImageBankConfig,
    "near_duplicates": NearDuplicatesConfig,
    "image_features": ImageFeaturesConfig,
    "splits": SplitsConfig,
    "triplets": TripletsConfig,
    "dvbpr": DvbprConfig,
    "modern": ModernConfig,
    "baselines": BaselinesConfig,
    "recommender_evaluation": EvaluationConfig,
    "recommender_comparison": EvaluationConfig,
    "recommender_champion": ChampionConfig,
    "recommendations": RecommendationsConfig,
    "garments": GarmentsConfig,
    "lsgan": LsganConfig,
    "generator_evaluation": GenerationMetricsConfig,
    "generator_champion": GeneratorChampionConfig,
    "personal_designs": DesignsConfig,
    "restyled_products": DesignsConfig,
    "designs_tradeoff": DesignTradeoffConfig,
    "lookbook": LookbookConfig,
}

# op name -> the settings its asset makes of the three layers; checked as a whole before a run begins.
OP_SETTINGS: dict[str, tuple[type, ...]] = {
    "ingest": (IngestSettings,),
    "five_core": (FiveCoreSettings,),
    "image_urls": (ImageUrlSettings,),
    "image_ledger": (FetchSettings, LedgerSettings),
    "image_bank": (BankSettings,),
    "near_duplicates": (NearDuplicateSettings,),
    "image_features": (FeatureSettings,),
    "splits": (SplitSettings,),
    "triplets": (TripletSettings,),
    "dvbpr": (DvbprSettings, RefreshSettings),
    "modern": (ModernSettings, RefreshSettings),
    "baselines": (BprSettings,),
    "recommender_evaluation": (EvaluationSettings,),
    "recommender_comparison": (EvaluationSettings,),
    "recommender_champion": (ChampionSettings,),
    "recommendations": (RecommendationSettings,),
    "garments": (GarmentSettings, RelevanceSettings),
    "lsgan": (LsganSettings,),
    "generator_evaluation": (GenerationMetricSettings,),
    "generator_champion": (GeneratorChampionSettings,),
    "personal_designs": (DesignSettings, DesignTargetSettings),
    "restyled_products": (DesignSettings, DesignTargetSettings),
    "designs_tradeoff": (DesignTradeoffSettings,),
    "lookbook": (LookbookSettings,),
}
