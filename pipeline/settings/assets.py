"""Settings of assets that have no settings class in `core/` or `models/`: names, types, defaults, checks.

The comment behind a field is its meaning; the launchpad and docs/reference.md show it.
"""

from dataclasses import dataclass

from models.metrics.poolings import POOLINGS
from pipeline.core.dataset.splits import HOLD_OUTS, SPLIT_UNITS


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
    seed: int = 0  # of the cap's draw and the hold-out


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

    etas: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # weights of realism tried
    sweep_users: int = 8  # people designed for, at each weight
    sweep_starts: int = 4  # latents that each search begins from

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
    seed: int = 0  # of the draw of people
