"""The Dagster runs with which one command materialises everything, each with one kind of partitioning.

Dagster runs partitioned and unpartitioned assets together only under a single partition key. The chain is therefore
split where the partitioning changes: ingest to pictures, then each image mode, then the assets that read all modes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES

# In the order of the data flow; within a group, partitioned assets come first.
GROUPS = ("ingest", "images", "dataset", "recommender", "generator", "report")
# Assets that can be made from products alone.
WITHOUT_REVIEWS = (
    "reviews", "products", "customers", "rejects", "interactions", "users", "items", "image_urls", "image_ledger",
    "garments", "lsgan", "generator_evaluation", "generator_champion", "generated_garments", "model_cards",
    "lookbook",
)  # fmt: skip
# The assets of the generator, which need no user whose items have pictures.
OF_GENERATOR = ("garments", "lsgan", "generator_evaluation", "generator_champion", "generated_garments")


def generator_alone(selected: Collection[str]) -> bool:
    """Return whether these assets are the generator's, with what they are made from, and no recommender's."""
    chosen = set(selected)
    return bool(chosen & set(OF_GENERATOR)) and chosen <= set(WITHOUT_REVIEWS)


@dataclass(frozen=True)
class Segment:
    """One Dagster run: which assets, in which partition."""

    assets: tuple[dg.AssetKey, ...]
    partition: str | None = None


def plan(
    definitions: dg.Definitions,
    select: str = "*",
    with_reviews: bool = True,
    leaves_out: Callable[[str], bool] = lambda _: False,
    modes: Sequence[str] = IMAGE_MODES,
) -> list[Segment]:
    """Plan the runs that materialise the selected assets in the given image modes, in dependency order.

    Args:
        definitions: all definitions of Atelier.
        select: Dagster's selection syntax; `*` is everything.
        with_reviews: if False, plan only the assets that need no reviews.
        leaves_out: whether the run's method skips an asset; such assets are planned only if `select` names no others.
        modes: the image modes to materialise; assets that read all modes use those that the home has.

    Raises:
        InputError: the selection has a syntax error, or selects nothing.
    """
    graph = definitions.resolve_asset_graph()
    try:
        selected = dg.AssetSelection.from_string(select).required_multi_asset_neighbors().resolve(graph)
    except Exception as error:
        raise InputError(f"--select {select!r} is not understood: {error}") from error
    chosen = [key for key in graph.toposorted_asset_keys if key in selected and graph.get(key).is_materializable]
    used = [key for key in chosen if not leaves_out(key.to_user_string())]
    chosen = used or chosen
    if not with_reviews:
        chosen = [key for key in chosen if key.to_user_string() in WITHOUT_REVIEWS]
    if not chosen:
        raise InputError(f"--select {select!r} selects nothing; assets: {', '.join(names(definitions))}.")

    def rank(key: dg.AssetKey) -> tuple[int, int]:
        node = graph.get(key)
        return GROUPS.index(node.group_name), 0 if node.is_partitioned else 1

    segments: list[Segment] = []
    run: list[dg.AssetKey] = []
    for key in sorted(chosen, key=rank):  # stable: topological within a rank
        if run and graph.get(key).is_partitioned != graph.get(run[-1]).is_partitioned:
            segments += _segments(run, graph.get(run[-1]).is_partitioned, modes)
            run = []
        run.append(key)
    return segments + _segments(run, graph.get(run[-1]).is_partitioned, modes)


def _segments(keys: Sequence[dg.AssetKey], partitioned: bool, modes: Sequence[str]) -> list[Segment]:
    if not partitioned:
        return [Segment(tuple(keys))]
    return [Segment(tuple(keys), mode) for mode in IMAGE_MODES if mode in modes]


def names(definitions: dg.Definitions) -> list[str]:
    """List the names of all assets."""
    return sorted(key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys())
