"""Category shares: the user's share of each category against the catalogue's, plus the popularity prior."""

from dataclasses import asdict
from typing import Any

from pipeline.recommenders.contract import FACTS, FitContext, Fitted, NotApplicableError, Recommender


class Shares(Recommender):
    """Untrained counts over the levels of the category path, with a few weights tuned on validation."""

    name = "shares"
    title = "Category shares"
    hint = "the categories that the user buys more of, popular items first"
    usual = True
    needs = frozenset({FACTS})
    baseline = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Count, and tune the weights of the levels and the prior."""
        from models.baselines.shares import shares

        assert context.facts is not None
        if not (context.facts.categories >= 0).any():
            raise NotApplicableError("no item has a category that differs from the others'")
        model, weights, values = shares(context.data, context.facts.categories)
        return Fitted(model, details={**asdict(weights), "validation": values[weights]})
