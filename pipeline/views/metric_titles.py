"""Titles of the metrics, the same wherever a metric is shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Titles:
    """The title of a metric, and a shorter one for narrow tables."""

    title: str
    short: str = ""

    @property
    def narrow(self) -> str:
        """Return the shorter title, or the title where that is short enough."""
        return self.short or self.title


# Column of RECOMMENDER_EVALUATION, or name of a figure of the whole catalogue -> the metric's titles.
TITLES = {
    "auc": Titles("AUC"),
    "auc_warm_seen": Titles("warm among seen", "warm/seen"),
    "auc_cold_unseen": Titles("cold among unseen", "cold/new"),
    "auc_category": Titles("within type", "type"),
    "auc_warm": Titles("warm among all", "warm"),
    "auc_cold": Titles("cold among all", "cold"),
    "ndcg_at_10": Titles("NDCG@10", "N@10"),
    "ndcg_at_50": Titles("NDCG@50", "N@50"),
    "ndcg_at_100": Titles("NDCG@100", "N@100"),
    "recall_at_10": Titles("R@10"),
    "recall_at_50": Titles("R@50"),
    "hit_at_10": Titles("hit@10"),
    "hit_at_50": Titles("hit@50"),
    "map_at_10": Titles("MAP@10"),
    "map_at_12": Titles("MAP@12"),
    "map_at_50": Titles("MAP@50"),
    "reciprocal_rank": Titles("MRR"),
    "novelty_at_10": Titles("novelty"),
    "coverage_at_10": Titles("coverage"),
    "gini_at_10": Titles("Gini"),
}
