"""Recommenders that learn from pairs of items in the same histories: ItemKNN and EASE."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.recommenders.contract import FitContext, Fitted, NotApplicableError, Recommender

if TYPE_CHECKING:
    from models.metrics.scoring import ScoringModel


class ItemKnnRecommender(Recommender):
    """Cosine similarity of items by the users who have both."""

    name = "item_knn"
    title = "ItemKNN"
    hint = "what those who have the same items also have"
    baseline = True
    takes_prior = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Tune neighbourhood size and shrinkage on validation."""
        from models.baselines.item_knn import item_knn

        model, (neighbours, shrinkage), values = item_knn(context.data)
        grid = [{"neighbours": n, "shrinkage": s, "validation": value} for (n, s), value in values.items()]
        return Fitted(model, details={"neighbours": neighbours, "shrinkage": shrinkage, "grid": grid})

    def load(self, folder: Path) -> "ScoringModel":
        """Load histories and weights."""
        from models.baselines.item_knn import ItemKnn

        return ItemKnn.load(folder / "item_knn.npz")

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write histories and weights."""
        model.save(folder / "item_knn.npz")  # ty: ignore[missing-attribute]


class EaseRecommender(Recommender):
    """EASE^R (Steck 2019)."""

    name = "ease"
    title = "EASE"
    hint = "a linear model from the history to all items"
    takes_prior = True
    seeded = False

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Tune lambda on validation."""
        from models.baselines import ease

        if (items := len(context.data.items)) > ease.LIMIT:
            raise NotApplicableError(f"{items:,} items; its matrix items x items is limited to {ease.LIMIT:,}")
        model, value, values = ease.ease(context.data)
        grid = [{"regularisation": point, "validation": validation} for point, validation in values.items()]
        return Fitted(model, details={"regularisation": value, "grid": grid})

    def load(self, folder: Path) -> "ScoringModel":
        """Load histories and lambda."""
        from models.baselines.ease import Ease

        return Ease.load(folder / "ease.npz")

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write histories and lambda; the weights follow from them."""
        model.save(folder / "ease.npz")  # ty: ignore[missing-attribute]
