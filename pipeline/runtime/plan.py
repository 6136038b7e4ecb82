"""The order in which one command materialises everything: a few Dagster runs, each over one kind of partitioning.

Dagster runs a partitioned and an unpartitioned asset in one run only under one partition key, so the chain
is cut where the partitioning changes: ingest to pictures, then each image mode, then what reads all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.home.partitions import image_modes

# Down the page of the design; partitioned assets of a group come before its unpartitioned ones.
GROUPS = ("ingest", "images", "dataset", "recommender", "generator", "report")
# What can be made from products alone.
WITHOUT_REVIEWS = (
    "reviews", "products", "rejects", "interactions", "users", "items", "image_urls", "image_ledger",
    "garments", "lsgan", "generator_evaluation", "generator_champion", "generated_garments", "model_cards",
    "lookbook",
)  # fmt: skip


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
) -> list[Segment]:
    """The runs that materialise the selected assets, every image mode of each, in dependency order.

    Args:
        definitions: the whole of Atelier.
        select: Dagster's selection syntax; `*` is everything.
        with_reviews: without them only the generator's assets are planned.
        leaves_out: whether the run's method does not use an asset; it is planned only where `select` names it alone.

    Raises:
        InputError: the selection is not understood, or selects nothing.
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
            segments += _segments(run, graph.get(run[-1]).is_partitioned)
            run = []
        run.append(key)
    return segments + _segments(run, graph.get(run[-1]).is_partitioned)


def _segments(keys: Sequence[dg.AssetKey], partitioned: bool) -> list[Segment]:
    if not partitioned:
        return [Segment(tuple(keys))]
    return [Segment(tuple(keys), mode) for mode in image_modes.get_partition_keys()]


def names(definitions: dg.Definitions) -> list[str]:
    """The names of all assets."""
    return sorted(key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys())
