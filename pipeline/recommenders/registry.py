"""Every recommender, a line each: the one place that lists them."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.errors import InputError
from pipeline.recommenders.bpr import BprMf, Vbpr, VbprVisual
from pipeline.recommenders.contract import Recommender
from pipeline.recommenders.cornac_vbpr import CornacVbpr, TunedCornacVbpr
from pipeline.recommenders.counts import PictureCount, PlantedBest, Popularity, Random
from pipeline.recommenders.dvbpr import Dvbpr, Kang2017, Paper
from pipeline.recommenders.modern import Modern
from pipeline.recommenders.neighbours import BestNeighbour, VisualNeighbours

# Evaluations and pages keep this order where nothing else orders them. Of two main recommenders the first leads.
RECOMMENDERS: dict[str, Recommender] = {
    one.name: one
    for one in (
        Modern(),
        Dvbpr(),
        Random(),
        Popularity(),
        PictureCount(),
        BprMf(),
        Vbpr(),
        VbprVisual(),
        VisualNeighbours(),
        BestNeighbour(),
        CornacVbpr(),
        TunedCornacVbpr(),
        Paper(),
        Kang2017(),
        PlantedBest(),
    )
}
_BEFORE_NAMES = Dvbpr.name  # manifests of the first versions do not name their recommender


def get(name: str) -> Recommender:
    """Look up a recommender.

    Raises:
        InputError: there is none of that name; lists them.
    """
    if name not in RECOMMENDERS:
        raise InputError(f"recommender {name!r} is unknown; there are: {', '.join(RECOMMENDERS)}.")
    return RECOMMENDERS[name]


def of_manifest(manifest: Mapping[str, Any]) -> Recommender:
    """Look up the recommender that a model's manifest names."""
    return get(manifest.get("model", _BEFORE_NAMES))


def main() -> list[Recommender]:
    """List the recommenders that have an asset of their own; each leads where its preset is chosen."""
    return [one for one in RECOMMENDERS.values() if one.presets]


def baselines() -> list[Recommender]:
    """List what the asset `baselines` trains."""
    return [one for one in RECOMMENDERS.values() if one.baseline]


def in_studies() -> dict[str, Recommender]:
    """List what a study can compare, by name."""
    return {name: one for name, one in RECOMMENDERS.items() if one.in_studies}


def of_preset(preset: str) -> Recommender:
    """Look up the main recommender of a preset."""
    return next(one for one in main() if preset in one.presets)


def leading(names: Iterable[str]) -> str:
    """Name the main recommender among a mode's models: the one that the others are compared with."""
    there = set(names)
    return next((one.name for one in main() if one.name in there), main()[-1].name)


def title(name: str) -> str:
    """Name a recommender as pages do; a name that is not registered stays as it is."""
    return RECOMMENDERS[name].title if name in RECOMMENDERS else name


def hint(name: str) -> str:
    """Say in a few words what a recommender goes by; empty for a name that is not registered."""
    return RECOMMENDERS[name].hint if name in RECOMMENDERS else ""


def oracle() -> Recommender:
    """Look up the recommender that knows the embedded catalogue's truth."""
    return next(one for one in RECOMMENDERS.values() if one.oracle)
