"""Visual neighbours: items similar to the user's items, by frozen features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.recommenders.contract import FEATURES, FitContext, Fitted, Recommender

if TYPE_CHECKING:
    from models.metrics.scoring import ScoringModel


class VisualNeighbours(Recommender):
    """The mean cosine similarity to the user's items."""

    name = "visual_neighbours"
    title = "Visual neighbours"
    hint = "looks like what the user has"
    usual = True
    needs = frozenset({FEATURES})
    baseline = True
    takes_prior = True
    prior_is_baseline = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Average the features of each user's items; without items, all scores are equal."""
        from models.baselines import simple

        assert context.features is not None
        return Fitted(simple.visual_neighbours(context.data, context.features))


class BestNeighbour(Recommender):
    """The largest cosine similarity to any of the user's items; a maximum, so it cannot be stored as factors."""

    name = "visual_neighbours_best"
    title = "Best neighbour"
    hint = "looks like one thing that the user has"
    needs = frozenset({FEATURES})
    baseline = True
    in_studies = False  # a study keeps factors
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Keep the history and the features."""
        from models.baselines import simple

        assert context.features is not None
        return Fitted(simple.visual_neighbours_best(context.data, context.features))

    def load(self, folder: Path) -> "ScoringModel":
        """Load the history and the features."""
        from models.baselines.neighbours import Neighbours

        return Neighbours.load(folder / "neighbours.npz")

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write the history and the features."""
        model.save(folder / "neighbours.npz")  # ty: ignore[missing-attribute]
