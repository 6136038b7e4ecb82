"""The list of all recommenders, and functions that look them up. Nothing else may list them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.errors import InputError
from pipeline.recommenders.bpr import BprMf, Vbpr, VbprVisual
from pipeline.recommenders.contract import Recommender
from pipeline.recommenders.counts import PictureCount, PlantedBest, Popularity, PopularityRecent, PopularityZero, Random
from pipeline.recommenders.dvbpr import Dvbpr, Kang2017, Paper
from pipeline.recommenders.ials import Ials
from pipeline.recommenders.item_to_item import EaseRecommender, ItemKnnRecommender
from pipeline.recommenders.modern import ModernRecommender
from pipeline.recommenders.neighbours import BestNeighbour, VisualNeighbours
from pipeline.recommenders.peers.cornac import CornacVbpr, TunedCornacVbpr
from pipeline.recommenders.peers.field import LightFm, LightGcn, SasRec
from pipeline.recommenders.peers.hm_recipe import HmRecipe
from pipeline.recommenders.shares import Shares
from pipeline.recommenders.with_prior import WithPriorRecommender

# The default order of evaluations and pages. If a mode has two main recommenders, the first one is `leading`.
_LISTED: tuple[Recommender, ...] = (
    ModernRecommender(),
    Dvbpr(),
    Random(),
    Popularity(),
    PopularityZero(),
    PopularityRecent(),
    PictureCount(),
    Shares(),
    ItemKnnRecommender(),
    EaseRecommender(),
    Ials(),
    BprMf(),
    Vbpr(),
    VbprVisual(),
    VisualNeighbours(),
    BestNeighbour(),
    CornacVbpr(),
    TunedCornacVbpr(),
    LightFm(),
    LightGcn(),
    SasRec(),
    HmRecipe(),
    Paper(),
    Kang2017(),
    PlantedBest(),
)


def _with_siblings(listed: Iterable[Recommender]) -> dict[str, Recommender]:
    """Put `NAME_prior` behind each recommender that takes the popularity prior."""
    found = {}
    for one in listed:
        found[one.name] = one
        if one.takes_prior:
            sibling = WithPriorRecommender(one)
            found[sibling.name] = sibling
    return found


RECOMMENDERS = _with_siblings(_LISTED)
_BEFORE_NAMES = Dvbpr.name  # manifests of the first versions do not name their recommender


def get(name: str) -> Recommender:
    """Look up a recommender.

    Raises:
        InputError: the name is unknown; the message lists those there are.
    """
    if name not in RECOMMENDERS:
        raise InputError(f"recommender {name!r} is unknown; there are: {', '.join(RECOMMENDERS)}.")
    return RECOMMENDERS[name]


def of_manifest(manifest: Mapping[str, Any]) -> Recommender:
    """Look up the recommender that a model's manifest names."""
    return get(manifest.get("model", _BEFORE_NAMES))


def main() -> list[Recommender]:
    """List the main recommenders: each has an asset, and is the main one for its presets."""
    return [one for one in RECOMMENDERS.values() if one.presets]


def baselines() -> list[Recommender]:
    """List the recommenders that the asset `baselines` trains."""
    return [one for one in RECOMMENDERS.values() if one.baseline]


def floor() -> Recommender:
    """Look up the recommender below which none may be served: popularity."""
    return next(one for one in RECOMMENDERS.values() if one.floor)


def in_studies() -> dict[str, Recommender]:
    """Map names to the recommenders that a study can compare."""
    return {name: one for name, one in RECOMMENDERS.items() if one.in_studies}


def of_preset(preset: str) -> Recommender:
    """Look up the main recommender of a preset."""
    return next(one for one in main() if preset in one.presets)


def leading(names: Iterable[str]) -> str:
    """Return the name of the main recommender among a mode's models, which the others are compared with."""
    there = set(names)
    return next((one.name for one in main() if one.name in there), main()[-1].name)


def title(name: str) -> str:
    """Return a recommender's title for pages; an unregistered name is returned unchanged."""
    return RECOMMENDERS[name].title if name in RECOMMENDERS else name


def hint(name: str) -> str:
    """Return in a few words what a recommender ranks by; empty for an unregistered name."""
    return RECOMMENDERS[name].hint if name in RECOMMENDERS else ""


def oracle() -> Recommender:
    """Look up the recommender that knows the embedded catalogue's true tastes."""
    return next(one for one in RECOMMENDERS.values() if one.oracle)


def is_oracle(name: str) -> bool:
    """Return whether a recommender knows the truth, so that no model is expected to reach it."""
    return name in RECOMMENDERS and RECOMMENDERS[name].oracle
