"""Recommenders that learn nothing: chance, and two counts."""

from typing import Any

from pipeline.recommenders.contract import FitContext, Fitted, Recommender


class Random(Recommender):
    """Gaussian factors."""

    name = "random"
    title = "Random"
    hint = "a coin"
    usual = True
    baseline = True

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Draw factors by the context's seed."""
        from models.baselines import simple

        return Fitted(simple.random(context.data, seed=context.seed))


class Popularity(Recommender):
    """How many users have the item in training."""

    name = "popularity"
    title = "Popularity"
    hint = "the same list for all"
    usual = True
    baseline = True
    seeded = False
    in_group_charts = True

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Count users by item."""
        from models.baselines import simple

        return Fitted(simple.popularity(context.data))


class PictureCount(Recommender):
    """How many pictures the item has: a leak that every visual model is shown beside."""

    name = "picture_count"
    title = "Picture count"
    hint = "items with more pictures first"
    usual = True
    baseline = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Count pictures by item."""
        from models.baselines import simple

        return Fitted(simple.picture_count(context.data))


class PlantedBest(Recommender):
    """The tastes that the embedded catalogue's shoppers were drawn with. Evaluated, never trained."""

    name = "planted_best"
    title = "Planted tastes"
    hint = "the truth the shoppers were drawn with"
    in_studies = False
    oracle = True
