"""Recommenders without training: chance, two counts, and the planted tastes."""

from typing import Any

from pipeline.recommenders.contract import FitContext, Fitted, NotApplicableError, Recommender


class Random(Recommender):
    """Gaussian factors."""

    name = "random"
    title = "Random"
    hint = "a coin"
    may_lead = False
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
    """The number of users who have the item in train; an unseen item gets the mean."""

    name = "popularity"
    title = "Popularity"
    hint = "the same list for all"
    floor = True
    in_group_charts = True


class PopularityZero(Count):
    """The same count with 0 for an unseen item, as it is often reported: too easy to beat where items are new."""

    name = "popularity_zero"
    title = "Popularity, unseen last"
    hint = "the same list for all, new items at its end"
    usual = False


class PopularityRecent(Recommender):
    """The same count, in which a purchase weighs less the older it is."""

    name = "popularity_recent"
    title = "Recent popularity"
    hint = "the same list for all, recent purchases first"
    usual = True
    baseline = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Tune the decay on validation."""
        from models.baselines.popularity_recent import popularity_recent
        from models.data import priors

        if not priors.has_times(context.data):
            raise NotApplicableError("the data gives no times of purchases")
        model, tau, values = popularity_recent(context.data)
        grid = [{"tau_days": point, "validation": value} for point, value in values.items()]
        return Fitted(model, details={"tau_days": tau, "grid": grid})


class PictureCount(Count):
    """The item's number of pictures: a leak, shown beside every visual model."""

    name = "picture_count"
    title = "Picture count"
    hint = "items with more pictures first"
    may_lead = False


class PlantedBest(Recommender):
    """The tastes from which the embedded catalogue's purchases were drawn. Evaluated, never trained."""

    name = "planted_best"
    title = "Planted tastes"
    hint = "the truth the shoppers were drawn with"
    in_studies = False
    may_lead = False
    oracle = True
