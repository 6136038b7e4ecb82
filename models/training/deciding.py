"""Which figure on validation models are chosen by. Computing it does not belong here; importable without torch.

NDCG@100 sees only the top of the lists, where recommendations come from, but needs many held-out pairs: a few hits
decide nothing. With fewer pairs the exact AUC decides, which every pair moves.
"""

AUC, NDCG = "auc", "ndcg_at_100"
TITLES = {AUC: "AUC", NDCG: "NDCG@100"}
ENOUGH_PAIRS = 1000  # held-out pairs for which NDCG@100 decides


def name_of(pairs: int) -> str:
    """Return the name of the figure that decides with this many held-out pairs: ndcg_at_100, or auc if too few."""
    return NDCG if pairs >= ENOUGH_PAIRS else AUC
