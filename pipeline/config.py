"""What can be set at a run, asset by asset: Dagster Config classes made from the settings of `core/` and `models/`.

The settings dataclasses stay the single source of names, types and defaults; here each becomes a Config in which
every field is optional. What is not set comes from the run's profile, then from the preset (see `Method` in
`resources.py`). Assets without a settings class of their own have one here.
"""

import dataclasses
import inspect
import re
import types
import typing
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pydantic

from models.bpr import BprSettings
from models.lsgan_settings import PRESETS as LSGAN_PRESETS
from models.lsgan_settings import LsganSettings
from models.modern_settings import ModernSettings
from models.preference import PRESETS as DESIGN_PRESETS
from models.preference import DesignSettings
from models.scoring import POOLINGS
from models.train_dvbpr import PRESETS as DVBPR_PRESETS
from models.train_dvbpr import DvbprSettings
from pipeline.core.irrelevant import RelevanceSettings
from pipeline.core.near_duplicates import NearDuplicateSettings
from pipeline.core.splits import HOLD_OUTS, SPLIT_UNITS
from pipeline.core.transfer import FetchSettings
from pipeline.core.triplets import PRESETS as TRIPLET_PRESETS
from pipeline.core.triplets import TripletSettings


@dataclass(frozen=True)
class IngestSettings:
    """How raw files are read."""

    vintage: str = "auto"  # 2014, 2018 or 2023; auto finds it by looking
    classes: str = ""  # a TOML file of garment classes and their words; empty: ATELIER_CLASSES, else the built-in six


@dataclass(frozen=True)
class FiveCoreSettings:
    """The filter on activity."""

    k: int = 5  # the least number of reviews, then of distinct items, a user must have
    iterative: bool = False  # the k-core of users and items both, instead of the paper's one pass over users


@dataclass(frozen=True)
class ImageUrlSettings:
    """Which pictures are wanted."""

    vendor_resolution: str = "low"  # low: imageURL, as in the paper; high: imageURLHighRes
    extra_per_class: int = 2000  # pictures of products outside the 5-core, a garment class, for the generator
    seed: int = 0  # chooses those products


@dataclass(frozen=True)
class LedgerSettings:
    """What counts as a placeholder."""

    placeholder_items: int = 10  # one content behind so many items is no product picture; 0 turns the rule off
    known_placeholders: tuple[str, ...] = ()  # sha256 of pictures that are none, such as a shop's "no image yet"


@dataclass(frozen=True)
class BankSettings:
    """The decoded pictures."""

    size: int = 224  # pixels a side, squashed as the paper does
    resample: str = "bicubic"  # the resize filter: bicubic (Pillow's default today) or nearest (K17's Pillow)
    workers: int | None = None  # decoding threads; not set: one a core


@dataclass(frozen=True)
class SplitSettings:
    """The hold-out."""

    seed: int = 0  # orders each user's items
    hold_out: str = "random"  # random, or latest by time
    split_unit: str = "interaction"  # interaction; or image, which leaks: siblings of the held-out picture train

    def __post_init__(self) -> None:
        for name, allowed in (("hold_out", HOLD_OUTS), ("split_unit", SPLIT_UNITS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(allowed)}")


@dataclass(frozen=True)
class RefreshSettings:
    """How a recommender follows new data."""

    min_new_interactions: int | None = None  # interactions come or gone that make a training; not set: 1% of the mode
    warm_start: bool = True  # begin from the last model where it has the same settings; else as new

    def __post_init__(self) -> None:
        if self.min_new_interactions is not None and self.min_new_interactions < 0:
            raise ValueError(f"min_new_interactions: {self.min_new_interactions} is below 0")


@dataclass(frozen=True)
class FeatureSettings:
    """The frozen features under VBPR and the visual neighbours."""

    feature_size: int = 224  # pixels a side given to the frozen ImageNet network


@dataclass(frozen=True)
class EvaluationSettings:
    """How held-out items are ranked and intervals drawn."""

    seed: int = 0  # of the 100-sample AUC and the bootstrap
    resamples: int = 1000  # bootstrap draws over users
    item_score: str = "mean"  # an item's score over its pictures: mean; max and sum leak the picture count

    def __post_init__(self) -> None:
        if self.item_score not in POOLINGS:
            raise ValueError(f"item_score: {self.item_score!r} is not one of {', '.join(POOLINGS)}")


@dataclass(frozen=True)
class ChampionSettings:
    """When a new recommender takes the champion's place."""

    margin: float = 0.02  # AUC by which a model of newer data may be worse, at most, at the interval's lower end
    minimum: int = 30  # held-out pairs that must be comparable; with fewer nothing is decided
    seed: int = 0  # of the bootstrap
    resamples: int = 1000  # bootstrap draws over users

    def __post_init__(self) -> None:
        _check_champion(self)


@dataclass(frozen=True)
class GeneratorChampionSettings:
    """When a new generator takes the champion's place."""

    margin: float = 0.05  # share of the champion's distance by which one of newer garments may be farther from them
    minimum: int = 30  # held-out garments that must be comparable; with fewer nothing is decided
    samples: int = 600  # garments compared, at most
    feature_size: int = 128  # pixels a side given to the frozen ImageNet network
    seed: int = 0  # of draws and bootstrap
    resamples: int = 1000  # bootstrap draws over garments

    def __post_init__(self) -> None:
        _check_champion(self)


def _check_champion(settings: ChampionSettings | GeneratorChampionSettings) -> None:
    if not 0 <= settings.margin < 1:
        raise ValueError(f"margin={settings.margin}; it must lie in [0, 1)")
    for name in ("minimum", "resamples"):
        if getattr(settings, name) < 2:
            raise ValueError(f"{name}={getattr(settings, name)}; it must be at least 2")


@dataclass(frozen=True)
class RecommendationSettings:
    """The picks."""

    top: int = 50  # items a user


@dataclass(frozen=True)
class GarmentSettings:
    """The pictures the generator learns from."""

    cap: int = 10_000  # pictures over all classes, stratified (NAF's number)
    minimum: int = 64  # pictures a class must have
    held_out: float = 0.15  # share of products kept from the generator for its evaluation
    sources: str = "vendor_customer"  # whose pictures: vendor, or vendor_customer as NAF
    seed: int = 0


@dataclass(frozen=True)
class GenerationMetricSettings:
    """The generator's evaluation."""

    samples: int = 600  # pictures compared on each side, at most
    feature_size: int = 128  # pixels a side given to the frozen ImageNet network
    inception_weights: str = ""  # torch-fidelity's InceptionV3 file, for FID and inception score; empty: neither
    seed: int = 0


@dataclass(frozen=True)
class DesignTargetSettings:
    """For whom designs are made, by which recommender."""

    mode: str = "vendor_all"  # the image mode whose recommender judges
    users: int = 24  # the first so many users by a seeded draw; 0 for all
    products: int = 6  # restyled products: how many products, chosen by the seed
    choice_seed: int = 0  # of the draw of users and products


@dataclass(frozen=True)
class DesignTradeoffSettings:
    """The sweep over the weight of realism; all else is as for personal designs."""

    etas: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
    sweep_users: int = 8
    sweep_starts: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "etas", tuple(self.etas))
        if not self.etas or min(self.etas) < 0:
            raise ValueError(f"etas is {self.etas}; it must be at least one weight of 0 or more")
        for name in ("sweep_users", "sweep_starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class LookbookSettings:
    """The lookbook."""

    users: int = 12  # people shown with their purchases and picks
    picks: int = 8  # pictures a person
    seed: int = 0


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
# Settings that stand in a section of their own in their op's config, not beside those that the op has else.
SECTIONS: dict[type, str] = {ModernSettings: "modern"}

# Fields that the environment decides, not a run.
FROM_ENVIRONMENT = {"allow_hosts", "device"}
# (settings, field) that the data decides: how many classes the garments have.
FROM_DATA = {(LsganSettings, "classes")}


def described(settings: type) -> dict[str, str]:
    """The comment behind each field of a settings dataclass, which the launchpad shows as its meaning."""
    return dict(re.findall(r"^    (\w+): .*?#\s*(.+)$", inspect.getsource(settings), re.MULTILINE))


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
            note = "the profile's or the preset's value" if cls in PRESETS else f"{field.default!r}"
            description = f"{meaning}. When not set: {note}."
            fields[field.name] = (_config_type(hints[field.name]) | None, pydantic.Field(None, description=description))
    return pydantic.create_model("+".join(s.__name__ for s in settings), __base__=dg.Config, **fields)


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


class ModernConfig(config_of(ModernSettings)):
    """The recommender of preset `modern`, on frozen features."""


class DvbprConfig(config_of(DvbprSettings, RefreshSettings)):
    """The recommender: DVBPR's knobs, and behind `modern` those of the method that preset `modern` trains instead."""

    modern: ModernConfig | None = pydantic.Field(
        None, description="knobs of the recommender that preset `modern` trains in DVBPR's place; other presets: unused"
    )


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
    "dvbpr": (DvbprSettings, RefreshSettings, ModernSettings),
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
