"""Settings classes of assets that have none in `core/` or `models/`: names, types, defaults, help texts, checks.

The launchpad and docs/reference.md show the `Doc` text of every field.
"""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from models.metrics.poolings import POOLINGS
from pipeline.core.dataset.candidates import BOUGHT, CANDIDATES
from pipeline.core.dataset.extent import Sample
from pipeline.core.dataset.splits import check_options
from pipeline.core.schemas import IMAGE_MODES


@dataclass(frozen=True)
class IngestSettings:
    """Settings for reading raw files."""

    vintage: Annotated[str, Doc("Layout of the raw files: 2014, 2018 or 2023; auto detects it.")] = "auto"
    classes: Annotated[
        str, Doc("TOML file of garment classes and their words. Empty: ATELIER_CLASSES, else the built-in six.")
    ] = ""


@dataclass(frozen=True)
class FiveCoreSettings:
    """Settings of the 5-core filter, and of a sample of its users."""

    k: Annotated[int, Doc("Minimum number of reviews, then of distinct items, per user.")] = 5
    iterative: Annotated[
        bool, Doc("Compute the k-core of users and items; else the paper's single pass over users.")
    ] = False
    sample_users: Annotated[
        int, Doc("Users to draw from those with k distinct items, with all their reviews; 0: no sample, all users.")
    ] = 0
    sample_seed: Annotated[int, Doc("Seed of that draw.")] = 0
    candidates: Annotated[
        str, Doc("Items that can be recommended: bought by a user of the k-core; or all products with a picture.")
    ] = BOUGHT

    def __post_init__(self) -> None:
        if self.candidates not in CANDIDATES:
            raise ValueError(f"candidates: {self.candidates!r} is not one of {', '.join(CANDIDATES)}")
        if self.k < 1:
            raise ValueError(f"k is {self.k}; a user needs at least 1 item (--min-interactions)")
        if self.sample_users < 0:
            raise ValueError(f"sample_users is {self.sample_users}; draw at least 1 user (--users), or 0 for no sample")

    @property
    def sample(self) -> Sample | None:
        """Return the sample to draw; None: all users."""
        return Sample(self.sample_users, self.sample_seed) if self.sample_users else None


@dataclass(frozen=True)
class ImageUrlSettings:
    """Settings for choosing which pictures to fetch."""

    vendor_resolution: Annotated[str, Doc("low: imageURL, as in the paper; high: imageURLHighRes.")] = "low"
    extra_per_class: Annotated[int, Doc("Pictures per garment class from outside the 5-core, for lsgan.")] = 2000
    seed: Annotated[int, Doc("Seed that chooses those products.")] = 0
    modes: Annotated[
        tuple[str, ...], Doc("Image modes whose pictures to list; vendor_single alone: one picture per product.")
    ] = IMAGE_MODES

    def __post_init__(self) -> None:
        for mode in self.modes or ("",):
            if mode not in IMAGE_MODES:
                raise ValueError(f"modes: {mode!r} is not one of {', '.join(IMAGE_MODES)}")
        object.__setattr__(self, "modes", tuple(mode for mode in IMAGE_MODES if mode in self.modes))


@dataclass(frozen=True)
class LedgerSettings:
    """Settings for recognising placeholder pictures."""

    placeholder_items: Annotated[
        int, Doc("Items that must share a picture to make it a placeholder, at least 2; 0: rule off.")
    ] = 10
    known_placeholders: Annotated[
        tuple[str, ...], Doc("SHA-256 of known placeholders, as 64 lower-case hex digits.")
    ] = ()


@dataclass(frozen=True)
class BankSettings:
    """Settings of the bank of decoded pictures."""

    size: Annotated[int, Doc("Side in pixels; pictures are squashed to a square, as in the paper.")] = 224
    resample: Annotated[str, Doc("Resize filter: bicubic (today's Pillow) or nearest (K17's Pillow).")] = "bicubic"
    workers: Annotated[int | None, Doc("Decoding threads; None: one per core.")] = None


@dataclass(frozen=True)
class SplitSettings:
    """Settings of the hold-out."""

    seed: Annotated[int, Doc("Seed of the order of each user's items.")] = 0
    hold_out: Annotated[
        str,
        Doc(
            "What to hold out: random, latest (one item each), basket (a user's last days), time (after one date) or "
            "auto (time where times are known and enough users remain, else random)."
        ),
    ] = "random"
    split_unit: Annotated[
        str, Doc("What to hold out: interaction; or image, which leaks, because other pictures of the item train.")
    ] = "interaction"

    cut: Annotated[str, Doc("With time: first day of test, as YYYY-MM-DD in UTC; empty: by test_share.")] = ""
    test_share: Annotated[float, Doc("With time and no cut: least share of all purchases in test.")] = 0.1
    validation_share: Annotated[float, Doc("With time: least share of all purchases in validation.")] = 0.1

    def __post_init__(self) -> None:
        check_options(self.hold_out, self.split_unit, self.cut, self.test_share, self.validation_share)


@dataclass(frozen=True)
class LossSettings:
    """Settings of the warning about items without a picture."""

    warn_lost: Annotated[float, Doc("Share of the 5-core's items without a picture that is warned of, 0 to 1.")] = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.warn_lost <= 1:
            raise ValueError(f"warn_lost is {self.warn_lost}; it must lie in [0, 1]")


@dataclass(frozen=True)
class RefreshSettings:
    """Settings for training a recommender again on new data."""

    min_new_interactions: Annotated[
        int | None, Doc("Interactions added or removed before training again; None: 1% of the last model's.")
    ] = None
    warm_start: Annotated[bool, Doc("Start from the last model's weights if its settings are the same.")] = True

    def __post_init__(self) -> None:
        if self.min_new_interactions is not None and self.min_new_interactions < 0:
            raise ValueError(f"min_new_interactions: {self.min_new_interactions} is below 0")


@dataclass(frozen=True)
class FeatureSettings:
    """Settings of the frozen features for VBPR, the visual neighbours and `modern`."""

    feature_size: Annotated[int, Doc("Side in pixels of the pictures given to the frozen ImageNet network.")] = 224
    network: Annotated[
        str, Doc("Frozen network: efficientnet_lite0, whose weights are installed, or the name of any model of timm.")
    ] = "efficientnet_lite0"
    weights: Annotated[
        str, Doc("File with the weights of a network of timm (.safetensors or .pth); empty: timm downloads them.")
    ] = ""

    def __post_init__(self) -> None:
        if self.weights and self.network == "efficientnet_lite0":
            raise ValueError("weights are for another network than efficientnet_lite0: set network too")


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings for ranking held-out items and for the intervals."""

    seed: Annotated[int, Doc("Seed of the 100-sample AUC and of the bootstrap.")] = 0
    resamples: Annotated[int, Doc("Number of bootstrap draws over users.")] = 1000
    item_score: Annotated[
        str, Doc("How to pool scores over an item's pictures: mean; max and sum leak their number.")
    ] = "mean"

    def __post_init__(self) -> None:
        if self.item_score not in POOLINGS:
            raise ValueError(f"item_score: {self.item_score!r} is not one of {', '.join(POOLINGS)}")


@dataclass(frozen=True)
class ChampionSettings:
    """Settings for replacing the champion by a new recommender."""

    margin: Annotated[
        float,
        Doc("Share of the champion's NDCG@100 that a model of newer data may lose, at the interval's lower end."),
    ] = 0.2
    minimum: Annotated[int, Doc("Test users needed to compare, at least 2; with fewer, the champion stays.")] = 30
    seed: Annotated[int, Doc("Seed of the bootstrap.")] = 0
    resamples: Annotated[int, Doc("Number of bootstrap draws over users, at least 2.")] = 1000

    def __post_init__(self) -> None:
        _check_champion(self)


@dataclass(frozen=True)
class GeneratorChampionSettings:
    """Settings for replacing the champion by a new generator."""

    margin: Annotated[
        float,
        Doc("Share by which a model of newer garments may be farther from them than the champion; from 0 to under 1."),
    ] = 0.05
    minimum: Annotated[int, Doc("Garments needed to compare, at least 2; with fewer, the champion stays.")] = 30
    samples: Annotated[int, Doc("Maximum number of garments to compare.")] = 600
    judge_minimum: Annotated[
        int, Doc("Held-out pictures of each class needed to compare by a judge; with fewer, pixels are compared.")
    ] = 40
    seed: Annotated[int, Doc("Seed of the generator's draws, of the judge and of the bootstrap.")] = 0
    resamples: Annotated[int, Doc("Number of bootstrap draws over garments, at least 2.")] = 1000

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
    """Settings of the recommendations."""

    top: Annotated[int, Doc("Items recommended to each user.")] = 50


@dataclass(frozen=True)
class GarmentSettings:
    """Settings for choosing the generator's pictures."""

    cap: Annotated[int, Doc("Maximum number of pictures, stratified by class (NAF's number).")] = 10_000
    minimum: Annotated[int, Doc("Minimum number of pictures of a class.")] = 64
    held_out: Annotated[
        float, Doc("Share of products kept from the generator; half train its judge, half are compared with it.")
    ] = 0.3
    sources: Annotated[str, Doc("Whose pictures to use: vendor; or vendor_customer, as in NAF.")] = "vendor_customer"
    seed: Annotated[int, Doc("Seed of the draw under the cap and of the hold-out.")] = 0


@dataclass(frozen=True)
class DesignTargetSettings:
    """Settings for choosing users, products and the recommender of designs."""

    mode: Annotated[str, Doc("Image mode of the recommender that scores the designs.")] = "vendor_all"
    users: Annotated[int, Doc("Number of users, drawn with choice_seed; 0: all.")] = 24
    products: Annotated[int, Doc("Number of products to restyle, drawn with choice_seed.")] = 6
    choice_seed: Annotated[int, Doc("Seed of the draw of users and products.")] = 0


@dataclass(frozen=True)
class DesignTradeoffSettings:
    """Settings of the sweep over the weight of realism; everything else is as for personal designs."""

    etas: Annotated[tuple[float, ...], Doc("Weights of realism to try, 0 or more.")] = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
    sweep_users: Annotated[int, Doc("Number of users to design for at each weight.")] = 8
    sweep_starts: Annotated[int, Doc("Random latents to start from, for each user and class.")] = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "etas", tuple(self.etas))
        if not self.etas or min(self.etas) < 0:
            raise ValueError(f"etas is {self.etas}; it must be at least one weight of 0 or more")
        for name in ("sweep_users", "sweep_starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class LookbookSettings:
    """Settings of the lookbook."""

    users: Annotated[int, Doc("Number of users to show, with their purchases and recommendations.")] = 12
    picks: Annotated[int, Doc("Pictures to show per user.")] = 8
    seed: Annotated[int, Doc("Seed of the draw of users.")] = 0
