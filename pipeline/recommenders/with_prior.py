"""`NAME_prior`: a peer with the popularity prior added, so that a prior is not taken for learning."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.recommenders.contract import FitContext, Fitted, Recommender

if TYPE_CHECKING:
    from models.data.dataset import Dataset
    from models.metrics.scoring import ScoringModel

_PRIOR = "prior.npz"  # scale and bias; factors have them inside


class WithPriorRecommender(Recommender):
    """A recommender whose scores get a weight, tuned on validation, times the popularity prior."""

    def __init__(self, inner: Recommender) -> None:
        self.inner = inner
        self.name = f"{inner.name}_prior"
        self.title = f"{inner.title} + prior"
        self.hint = f"{inner.hint}, popular items first"
        self.settings_class, self.op, self.preset = inner.settings_class, inner.op, inner.preset
        self.needs, self.needs_feature_size = inner.needs, inner.needs_feature_size
        self.in_studies, self.seeded = inner.in_studies, inner.seeded
        self.baseline = inner.prior_is_baseline

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Train the recommender, then tune the weight of the prior."""
        return self.added(self.inner.fit(context, settings), context.data)

    def added(self, fitted: Fitted, data: "Dataset") -> Fitted:
        """Tune the weight of the prior for a recommender that is trained already."""
        from models.baselines.prior import with_prior

        model, weight, values = with_prior(fitted.model, data)
        grid = [{"prior_weight": point, "validation": value} for point, value in values.items()]
        return Fitted(model, details={**fitted.details, "prior_weight": weight, "prior_grid": grid})

    def load(self, folder: Path) -> "ScoringModel":
        """Load the model, and its prior where it is kept apart."""
        from models.baselines.prior import WithPrior

        model = self.inner.load(folder)
        return WithPrior.load(model, folder / _PRIOR) if (folder / _PRIOR).is_file() else model

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write the model, and its prior where it is kept apart."""
        from models.baselines.prior import WithPrior

        if isinstance(model, WithPrior):
            model.save_prior(folder / _PRIOR)
            model = model.model
        self.inner.save(model, folder)
