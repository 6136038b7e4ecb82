"""The metrics of a study's tables: their columns in the cells' files, and which of them get intervals."""

from dataclasses import dataclass

from pipeline.views.metric_titles import TITLES


@dataclass(frozen=True)
class Measure:
    """One metric. `table` is the table that shows it: ranking or lists."""

    name: str  # of its column, and of its titles
    table: str
    interval: bool = False  # whether the table shows its interval
    compared: bool = False  # whether it is compared with the reference, pair by pair
    digits: int = 3

    @property
    def title(self) -> str:
        """Return the title in tables."""
        return TITLES[self.name].title


# Column of per_user.parquet -> the metric.
PER_USER_MEASURES: dict[str, Measure] = {
    one.name: one
    for one in (
        Measure("auc", "ranking", interval=True, compared=True),
        Measure("auc_warm_seen", "ranking", interval=True, compared=True),
        Measure("auc_cold_unseen", "ranking", interval=True, compared=True),
        Measure("auc_category", "ranking", interval=True),
        Measure("auc_warm", "ranking"),
        Measure("auc_cold", "ranking"),
        Measure("ndcg_at_10", "lists", interval=True, compared=True, digits=4),
        Measure("ndcg_at_50", "lists", digits=4),
        Measure("ndcg_at_100", "lists", interval=True, compared=True, digits=4),
        Measure("recall_at_10", "lists", compared=True, digits=4),
        Measure("recall_at_50", "lists", compared=True, digits=4),
        Measure("hit_at_10", "lists", digits=4),
        Measure("hit_at_50", "lists", digits=4),
        Measure("map_at_10", "lists", digits=4),
        Measure("map_at_12", "lists", compared=True, digits=4),
        Measure("map_at_50", "lists", digits=4),
        Measure("reciprocal_rank", "lists", digits=4),
        Measure("novelty_at_10", "lists", digits=2),
    )
}
# Key of `lists` in a cell's manifest -> the metric: of all users' lists together, so that no user has a value.
OF_LISTS: dict[str, Measure] = {name: Measure(name, "lists") for name in ("coverage_at_10", "gini_at_10")}
MEASURES = {**PER_USER_MEASURES, **OF_LISTS}
COMPARED = tuple(name for name, one in PER_USER_MEASURES.items() if one.compared)
