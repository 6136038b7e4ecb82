"""`modern`: a sum of parts, from pictures, text, categories and purchases, with weights fitted on validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.modern.settings import PARTS, SPACE, ModernSettings
from pipeline.recommenders.contract import FACTS, FEATURES, FitContext, Fitted, Recommender, Taste
from pipeline.recommenders.loops import fitted, step_reporter

if TYPE_CHECKING:
    import torch


class ModernRecommender(Recommender):
    """The recommender of preset `modern`."""

    name = "modern"
    title = "Modern"
    hint = "a taste read off the pictures, texts and categories of the history, and what sells"
    description = "a sum of what pictures, texts, categories, dates and purchases of the history say, and of what sells"
    settings_class = ModernSettings
    op = "modern"
    presets = ("modern",)
    needs = frozenset({FEATURES, FACTS})
    space = SPACE
    needs_feature_size = True
    weights = "modern.npz"
    new_pictures = True

    def fit(self, context: FitContext, settings: ModernSettings) -> Fitted:
        """Compute the parts and fit their weights."""
        import dataclasses

        import numpy as np

        from models.modern import train

        assert context.features is not None
        trained = train.train(
            context.data,
            np.asarray(context.features),
            settings,
            context.folder,
            context.device,
            step_reporter(context),
            context.facts,
        )
        found = fitted(trained)
        return dataclasses.replace(found, details={**found.details, "weights": trained.weights, "notes": trained.notes})

    def ablations(self) -> Mapping[str, Mapping[str, Any]]:
        """Map each part to the settings without it, and with nothing else."""
        without = {f"without {part}": {"parts": [one for one in PARTS if one != part]} for part in PARTS}
        return without | {f"{part} alone": {"parts": [part]} for part in PARTS}

    def taste(self, folder: Path, manifest: Mapping[str, Any], device: "torch.device") -> Taste:
        """Load the picture part and the trunk before it.

        Raises:
            ValueError: the model has no picture part, or an earlier version made it.
        """
        import torch

        from models.data.factors import Factors
        from models.design import preference
        from models.modern.model import ModernModel
        from models.modern.pictures import PhiOfPictures
        from pipeline.core.images import features

        if not (folder / self.weights).is_file():
            raise ValueError(f"{folder}: an earlier version made it, without {self.weights}: materialise modern again")
        factors, model = Factors.load(folder / "factors.npz"), ModernModel.load(folder)
        try:
            space = model.looks_space()
        except ValueError as error:
            raise ValueError(f"{self.title} cannot score a picture: {error}") from error
        theta, phi = model.looks(factors)
        recommender = preference.PictureTaste(
            PhiOfPictures(features.trunk(device), space).to(device),
            manifest["feature_size"],
            torch.from_numpy(theta.copy()).to(device),
            resample="bilinear",  # as in `core/images/features.py`, which made the features it was fitted on
        )
        return Taste(self.name, recommender, factors.users, phi)

    def picture_embedder(self, folder: Path) -> Any:
        """Raise ValueError: a served version has no trunk."""
        raise ValueError(
            f"this model is {self.name}, which needs frozen features of pictures, and the network that computes them "
            "is not served: a new item cannot be scored. Serve a model of preset paper for that"
        )

    def about(self, feature_size: int) -> dict[str, Any]:
        """Return the size of the pictures that its features were made from."""
        return {"feature_size": feature_size}
