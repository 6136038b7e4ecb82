"""`modern`: computes users from the frozen features of the pictures in their history."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.modern.settings import SPACE, ModernSettings
from pipeline.recommenders.contract import FEATURES, FitContext, Fitted, Recommender, Taste
from pipeline.recommenders.loops import fitted, step_reporter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.data.factors import Factors
    from models.modern.model import ModernNetwork


class ModernRecommender(Recommender):
    """The recommender of preset `modern`."""

    name = "modern"
    title = "Modern"
    hint = "a taste read off the pictures of the history"
    description = "a taste read off frozen ImageNet features of the pictures of a person's history"
    settings_class = ModernSettings
    op = "modern"
    presets = ("modern",)
    needs = frozenset({FEATURES})
    space = SPACE
    reports_epochs = True
    needs_feature_size = True

    def fit(self, context: FitContext, settings: ModernSettings) -> Fitted:
        """Train on frozen features; if the settings also train the trunk, continue on pixels."""
        import numpy as np
        import torch

        from models.modern import train
        from models.modern.trunk import Trunk
        from pipeline.core.images import features

        assert context.begin_from is None and context.features is not None
        trunk = Trunk(features.trunk(torch.device("cpu")), context.feature_size) if settings.trunk_epochs else None
        found = np.asarray(context.features)
        return fitted(
            train.train(
                context.data, found, settings, context.folder, context.device, step_reporter(context), trunk=trunk
            )
        )

    def taste(self, folder: Path, manifest: Mapping[str, Any], device: "torch.device") -> Taste:
        """Load the trunk and the model behind it."""
        import torch

        from models.data.factors import Factors
        from models.design import preference
        from models.modern import train
        from models.modern.pictures import PhiOfPictures
        from models.modern.trunk import retrained
        from pipeline.core.images import features

        factors = Factors.load(folder / "factors.npz")
        model, meta = train.load(folder, device)
        trunk = features.trunk(device)
        recommender = preference.PictureTaste(
            PhiOfPictures(retrained(trunk, meta["trunk"]) if meta["trunk"] else trunk, model),
            manifest["feature_size"],
            torch.from_numpy(factors.theta).to(device),
            resample="bilinear",  # as in `core/images/features.py`, which made the features it was trained on
        )
        return Taste(self.name, recommender, factors.users, _looks(folder, model, factors))

    def picture_embedder(self, folder: Path) -> Any:
        """Raise ValueError: a served version has no trunk."""
        raise ValueError(
            f"this model is {self.name}, which needs frozen features of pictures, and the network that computes them "
            "is not served: a new item cannot be scored. Serve a model of preset paper for that"
        )

    def about(self, feature_size: int) -> dict[str, Any]:
        """Return the size of the pictures that its features were made from."""
        return {"feature_size": feature_size}


def _looks(folder: Path, model: "ModernNetwork", factors: "Factors") -> "np.ndarray":
    """Compute phi of the catalogue's pictures by their looks alone, [images, K]."""
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from models.modern.model import looks

    if model.item_id is None:
        return factors.phi
    splits = pq.read_table(folder / "splits.parquet", columns=["item", "split"])
    train = splits.filter(pc.equal(splits["split"], "train"))["item"].to_numpy()
    return looks(model, factors, np.isin(factors.items, train))
