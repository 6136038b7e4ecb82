"""Recommenders without training: chance, two counts, and the planted tastes."""

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
        """Draw factors with the context's seed."""
        from models.baselines import simple

        return Fitted(simple.random(context.data, seed=context.seed))


class Count(Recommender):
    """A count per item as its score: the function in `models/baselines/simple.py` with the recommender's name."""

    usual = True
    baseline = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Count by item."""
        from models.baselines import simple

        return Fitted(getattr(simple, self.name)(context.data))


class Popularity(Count):
    """The number of users who have the item in train."""

    name = "popularity"
    title = "Popularity"
    hint = "the same list for all"
    in_group_charts = True


class PictureCount(Count):
    """The item's number of pictures: a leak, shown beside every visual model."""

    name = "picture_count"
    title = "Picture count"
    hint = "items with more pictures first"


class PlantedBest(Recommender):
    """The tastes from which the embedded catalogue's purchases were drawn. Evaluated, never trained."""

    name = "planted_best"
    title = "Planted tastes"
    hint = "the truth the shoppers were drawn with"
    in_studies = False
    oracle = True
