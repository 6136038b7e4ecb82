"""The contract of a recommender: its name and words, its inputs and settings, and what can be asked of it.

Everything else in the pipeline knows recommenders by this class alone. Importing it loads no torch: the methods of a
recommender import what they compute with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.training.search import Space

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.data.dataset import Dataset
    from models.design.preference import PictureTaste
    from models.metrics.scoring import ScoringModel

# What a recommender learns from, beside the interactions.
TRIPLETS, FEATURES, PIXELS = "triplets", "image_features", "image_bank"


@dataclass(frozen=True)
class Step:
    """How far a training is. `epoch` and `validation_auc` are set where an epoch ended."""

    done: int
    total: int
    note: str = ""
    epoch: int | None = None
    validation_auc: float | None = None


@dataclass(frozen=True)
class FitContext:
    """What one training is given. `folder` is its own: empty, or with the checkpoints of a run that was cut off."""

    data: "Dataset"  # with triplets where the recommender needs them
    features: "np.ndarray | None"  # [images, F], frozen features of the data's pictures
    feature_size: int  # pixels a side of the pictures that the features were made from
    folder: Path
    device: "torch.device"
    seed: int
    home: Path
    ranks: int = 1  # processes that train together
    begin_from: Path | None = None  # folder of an earlier model to begin from
    report: Callable[[Step], None] = lambda _: None


@dataclass(frozen=True)
class Fitted:
    """A trained model and its training's record. Recommenders that train by epochs fill all fields."""

    model: "ScoringModel"
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    validation_auc: float | None = None
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)  # for a study's manifest: the grid, epochs found done


@dataclass(frozen=True)
class Taste:
    """A trained recommender as the search for designs needs it."""

    name: str
    recommender: "PictureTaste"  # phi of any picture, and theta of everybody
    users: "np.ndarray"  # [U] int32, their global ids
    catalogue: "np.ndarray"  # [images, K], phi of the mode's pictures by their looks alone


@dataclass(frozen=True)
class PixelNetwork:
    """A network from pixels to factors, for explaining a score by parts of a picture."""

    network: Any  # the nn.Module
    theta: "torch.Tensor"  # [U, K]
    users: "np.ndarray"  # [U] int32, global ids
    input_size: int
    resize_filter: str


class Recommender:
    """One recommender. Subclasses set the attributes and override `fit`, and what else they can do."""

    name: str = ""  # in tables, manifests and `--models`
    title: str = ""  # in pages
    hint: str = ""  # what it goes by, in a few words
    description: str = ""  # one sentence for its card
    settings_class: type | None = None
    op: str = ""  # the op whose section of a profile holds the settings; empty: no profile sets it
    preset: str = ""  # the method it follows whatever the run's is; empty: the run's
    presets: tuple[str, ...] = ()  # the presets whose main recommender it is
    needs: frozenset[str] = frozenset()  # of TRIPLETS, FEATURES, PIXELS
    space: Space = {}  # noqa: RUF012  what a search may turn; empty: nothing. Read only.
    baseline: bool = False  # whether the asset `baselines` trains it
    in_studies: bool = True
    usual: bool = False  # whether a study trains it where no models are named
    reference: bool = False  # whether a study compares the others with it where nothing else is named
    needs_feature_size: bool = False  # whether it must know the size of the pictures behind the features
    measures_seconds: bool = False  # whether `seconds` times a few steps
    seeded: bool = True  # whether another seed makes another model
    reports_epochs: bool = False  # whether it reports its validation AUC by epoch, so that a search may stop it early
    warm_starts: bool = False  # whether it can begin from an earlier model
    on_ranks: bool = False  # whether several processes can train it together
    oracle: bool = False  # whether it knows the truth, so that no model is expected to reach it
    published: bool = False  # whether the paper's Table 3 has its figures
    in_group_charts: bool = False  # whether charts by group of users show it beside the main recommender

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Train the model; go on from the checkpoints in the context's folder where the loop can."""
        raise NotImplementedError(f"{self.name} is not trained")

    def load(self, folder: Path) -> "ScoringModel":
        """Load a trained model that scores users x items."""
        from models.data.factors import Factors

        return Factors.load(folder / "factors.npz")

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write a trained model where `load` finds it."""
        model.save(folder / "factors.npz")  # ty: ignore[missing-attribute]

    def taste(self, folder: Path, manifest: Mapping[str, Any], device: "torch.device") -> Taste:
        """Load the model as a differentiable score of any picture.

        Raises:
            ValueError: it cannot score pictures that are not in its catalogue.
        """
        raise ValueError(f"{self.title or self.name} cannot score a new picture")

    def picture_embedder(self, folder: Path) -> "Callable[[np.ndarray], np.ndarray]":
        """Load what maps new pictures uint8 [n, S, S, 3], sized as the bank's are, to factors float32 [n, K].

        `folder` is that of a served version.

        Raises:
            ValueError: new pictures cannot be scored where this model is served.
        """
        raise ValueError(f"this model is {self.name}, and a new item cannot be scored by it")

    def pixel_network(self, folder: Path, manifest: Mapping[str, Any]) -> PixelNetwork | None:
        """Load the network that explains a score by parts of a picture; None where there is none."""
        return None

    def seconds(self, context: FitContext, settings: Any) -> float | None:
        """Estimate the seconds of a training from a few steps; None where nothing is measured."""
        return None

    def about(self, feature_size: int) -> dict[str, Any]:
        """What whoever uses the model must know beside its settings, for its manifest."""
        return {}

    def reads(self, need: str) -> bool:
        """Whether it learns from triplets, features or pixels."""
        return need in self.needs
