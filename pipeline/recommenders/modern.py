"""`modern`: a sum of parts, from pictures, text, categories and purchases, with weights fitted on validation."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.modern.settings import PARTS, SPACE, ModernSettings
from pipeline.core.errors import InputError
from pipeline.recommenders import part_names
from pipeline.recommenders.contract import (
    FACTS,
    FACTS_FILE,
    FEATURES,
    FitContext,
    Fitted,
    NewItem,
    NewItemError,
    PartWeight,
    PixelNetwork,
    Recommender,
    Taste,
)
from pipeline.recommenders.loops import fitted, step_reporter

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.modern.model import ModernModel

RESIZED = "bilinear"  # as in `core/images/features.py`, which made the features that it is fitted on
SHOWN = 10  # categories in the reason for refusing unknown ones


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
    usual = True
    weights = "modern.npz"
    new_pictures = True

    def fit(self, context: FitContext, settings: ModernSettings) -> Fitted:
        """Compute the parts and fit their weights."""
        import dataclasses
        import math

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
        weights = {
            name: (weight, None if math.isnan(low) else low, None if math.isnan(high) else high)
            for name, (weight, low, high) in trained.weights.items()
        }
        details = {**found.details, "weights": trained.weights, "notes": trained.notes}
        return dataclasses.replace(found, details=details, weights=weights)

    def ablations(self) -> Mapping[str, Mapping[str, Any]]:
        """Map each part to the settings without it, and with nothing else."""
        without = {f"without {part}": {"parts": [one for one in PARTS if one != part]} for part in PARTS}
        return without | {f"{part} alone": {"parts": [part]} for part in PARTS}

    def taste(self, folder: Path, manifest: Mapping[str, Any], device: "torch.device") -> Taste:
        """Load the picture part and the trunk before it.

        Raises:
            ValueError: the model has no picture part, or an earlier version made it.
        """
        from models.data.factors import Factors
        from models.design import preference

        seen, model = self._pixel_network(folder, manifest, device)
        _, phi = model.looks(Factors.load(folder / "factors.npz"))
        taste = preference.PictureTaste(seen.network, seen.input_size, seen.theta, resample=seen.resize_filter)
        return Taste(self.name, taste, seen.users, phi)

    def sees(self, folder: Path) -> bool:
        """Return whether the model has a picture part: settings or pictures that are all alike may leave it out."""
        from models.modern.model import IMAGE, ModernModel

        return (folder / self.weights).is_file() and IMAGE in ModernModel.load(folder).spaces

    def pixel_network(self, folder: Path, manifest: Mapping[str, Any]) -> PixelNetwork | None:
        """Load the picture part and the trunk before it; None without one."""
        import torch

        try:
            return self._pixel_network(folder, manifest, torch.device("cpu"))[0]
        except ValueError:
            return None

    def _pixel_network(
        self, folder: Path, manifest: Mapping[str, Any], device: "torch.device"
    ) -> "tuple[PixelNetwork, ModernModel]":
        import torch

        from models.data.factors import Factors
        from models.modern.model import IMAGE, ModernModel
        from models.modern.pictures import PhiOfPictures
        from pipeline.core.images import trunks

        if not (folder / self.weights).is_file():
            raise ValueError(f"{folder}: an earlier version made it, without {self.weights}: materialise modern again")
        factors, model = Factors.load(folder / "factors.npz"), ModernModel.load(folder)
        if IMAGE not in model.spaces:
            raise InputError(
                f"{folder}: this model of {self.name} has no picture part and cannot score a picture: add image to its"
                " setting `parts`, give pictures that differ, or train dvbpr too (--with dvbpr), which sees"
            )
        theta = torch.from_numpy(model.looks(factors)[0].copy()).to(device)
        network = PhiOfPictures(trunks.load(trunks.kept_in(folder), device), model.spaces[IMAGE]).to(device)
        return PixelNetwork(network, theta, factors.users, manifest["feature_size"], RESIZED), model

    def pack(self, trained: Path, out: Path) -> None:
        """Write the parts, the network before the picture part, and the facts that titles and categories become."""
        import shutil

        from pipeline.core.images import trunks

        super().pack(trained, out)
        if not (out / self.weights).is_file():
            return
        kept = trunks.kept_in(trained)
        if kept is None:
            trunks.packaged().save(out / trunks.FILE)
        else:
            shutil.copyfile(kept, out / trunks.FILE)
        if (trained / FACTS_FILE).is_file():
            shutil.copyfile(trained / FACTS_FILE, out / FACTS_FILE)

    def served_packages(self, trained: Path) -> tuple[str, ...]:
        """List the packages of the network, and of what turns a title into features."""
        from pipeline.core.item_facts import ShopFacts
        from pipeline.core.text_features import TextModel

        path = trained / FACTS_FILE
        by_model = path.is_file() and isinstance(ShopFacts.load(path).space, TextModel)
        return ("timm", "torchvision", "sentence-transformers" if by_model else "scikit-learn")

    def new_item_encoder(
        self, folder: Path, about: Mapping[str, Any]
    ) -> "Callable[[NewItem], tuple[np.ndarray, float]]":
        """Load parts, network and facts: a new item gets the parts of its picture, title and categories.

        A title or categories that are not sent add nothing to the score, as for the average item.

        Raises:
            ValueError: an earlier version registered the model, without the network.
        """
        from models.modern.model import IMAGE, TEXT, ModernModel
        from pipeline.core.images import features, trunks
        from pipeline.core.item_facts import ShopFacts, written

        trunk = trunks.kept_in(folder)
        if trunk is None or "feature_size" not in about:
            raise ValueError(
                f"this version of {self.name} was registered without the network that reads pictures: materialise "
                "modern and recommender_champion again"
            )
        model = ModernModel.load(folder)
        reads_pictures = IMAGE in model.spaces
        facts = ShopFacts.load(folder / FACTS_FILE) if (folder / FACTS_FILE).is_file() else None
        reads_text = TEXT in model.spaces
        reads_categories = any(name.startswith("category ") for name in model.names)

        def encode(new: NewItem) -> "tuple[np.ndarray, float]":
            if not reads_pictures:
                raise NewItemError("picture", f"{self.title} has no picture part in this version and cannot score one")
            if new.title is not None and (facts is None or not reads_text):
                raise NewItemError("title", f"{self.title} has no text part in this version: leave it out")
            if new.categories is not None and (facts is None or not reads_categories):
                raise NewItemError("categories", f"{self.title} has no category part in this version: leave it out")
            path, codes, words = [step.strip() for step in new.categories or ()], None, None
            if facts is not None and new.categories is not None:
                codes = facts.codes(path)
                if (codes < 0).all():
                    some = ", ".join(facts.facts.names[0][:SHOWN])
                    raise NewItemError("categories", f"no item of the catalogue has one of them, but, say, {some}")
            if facts is not None and (new.title is not None or path):
                words = facts.space.features([written(new.title or "", path)])
            seen = features.embed(new.picture[None], size=about["feature_size"], trunk=trunk)
            item, bias = model.new_items(seen, words, None if codes is None else codes[None])
            return item[0], float(bias[0])

        return encode

    def lifts(self, folder: Path) -> "Callable[[int, int], dict[str, float]] | None":
        """Load the parts; None for a model of an earlier version. Parts that go by the same thing are added up."""
        from models.data.factors import Factors
        from models.modern.model import ModernModel

        if not (folder / self.weights).is_file():
            return None
        model, factors = ModernModel.load(folder), Factors.load(folder / "factors.npz")
        rows = {int(user): row for row, user in enumerate(factors.users)}
        columns = {int(item): row for row, item in enumerate(factors.items)}

        def explain(user: int, item: int) -> dict[str, float]:
            found: dict[str, float] = {}
            for name, value in model.lifts(factors, rows[user], columns[item]).items():
                found[part_names.plain(name)] = found.get(part_names.plain(name), 0.0) + value
            return found

        return explain

    def part_weights(self, manifest: Mapping[str, Any]) -> list[PartWeight]:
        """List the weights that were fitted; none for a model of an earlier version, which did not store them."""
        found = [PartWeight(part_names.exact(name), *values) for name, values in manifest.get("weights", {}).items()]
        return sorted(found, key=lambda part: -part.weight)

    def about(self, feature_size: int) -> dict[str, Any]:
        """Return the size of the pictures that its features were made from."""
        return {"feature_size": feature_size}
