"""The metrics of a study's tables: their columns in the cells' files, their titles, and which of them get intervals."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One metric. `table` is the table that shows it: ranking or lists."""

    title: str
    table: str
    interval: bool = False  # whether the table shows its interval
    compared: bool = False  # whether it is compared with the reference, pair by pair
    digits: int = 3


# Column of per_user.parquet -> the metric.
PER_USER_MEASURES: dict[str, Measure] = {
    "auc": Measure("AUC", "ranking", interval=True, compared=True),
    "auc_warm_seen": Measure("warm among seen", "ranking", interval=True, compared=True),
    "auc_cold_unseen": Measure("cold among unseen", "ranking", interval=True, compared=True),
    "auc_category": Measure("within type", "ranking", interval=True),
    "auc_warm": Measure("warm among all", "ranking"),
    "auc_cold": Measure("cold among all", "ranking"),
    "ndcg_at_10": Measure("NDCG@10", "lists", interval=True, compared=True, digits=4),
    "ndcg_at_50": Measure("NDCG@50", "lists", digits=4),
    "ndcg_at_100": Measure("NDCG@100", "lists", interval=True, compared=True, digits=4),
    "recall_at_10": Measure("R@10", "lists", compared=True, digits=4),
    "recall_at_50": Measure("R@50", "lists", compared=True, digits=4),
    "hit_at_10": Measure("hit@10", "lists", digits=4),
    "hit_at_50": Measure("hit@50", "lists", digits=4),
    "map_at_10": Measure("MAP@10", "lists", digits=4),
    "map_at_12": Measure("MAP@12", "lists", compared=True, digits=4),
    "map_at_50": Measure("MAP@50", "lists", digits=4),
    "reciprocal_rank": Measure("MRR", "lists", digits=4),
    "novelty_at_10": Measure("novelty", "lists", digits=2),
}
# Key of `lists` in a cell's manifest -> the metric: of all users' lists together, so that no user has a value.
OF_LISTS: dict[str, Measure] = {
    "coverage_at_10": Measure("coverage", "lists"),
    "gini_at_10": Measure("Gini", "lists"),
}
MEASURES = {**PER_USER_MEASURES, **OF_LISTS}
COMPARED = tuple(name for name, one in PER_USER_MEASURES.items() if one.compared)
