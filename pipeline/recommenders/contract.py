"""The contract of a recommender: its names and descriptions, inputs and settings, and its operations.

The rest of the pipeline uses recommenders through this class only. Importing it must not load torch: a recommender's
methods import the modules that they compute with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.training.search import Space
from pipeline.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.data.dataset import Dataset
    from models.data.item_facts import ItemFacts
    from models.design.preference import PictureTaste
    from models.metrics.scoring import ScoringModel

# What a recommender can learn from besides the interactions.
TRIPLETS, FEATURES, PIXELS, FACTS = "triplets", "image_features", "image_bank", "item_facts"
FACTS_FILE = "item_facts.npz"  # in the folder of a model: what makes facts of a new product, without the shop's items


class NotApplicableError(InputError):
    """The recommender cannot be trained on this data or this machine; the message is the reason.

    Studies and baselines skip it and show the reason.
    """


@dataclass(frozen=True)
class FitProgress:
    """The progress of a training. `epoch` and `validation_value` are set at the end of an epoch."""

    done: int
    total: int
    note: str = ""
    epoch: int | None = None
    validation_value: float | None = None  # the figure that models are chosen by: `models/metrics/selection.py`


@dataclass(frozen=True)
class FitContext:
    """The inputs of one training. `folder` is for this training alone: empty, or as an interrupted run left it."""

    data: "Dataset"  # with triplets where the recommender needs them
    features: "np.ndarray | None"  # [images, F], frozen features of the data's pictures
    feature_size: int  # pixels a side of the pictures that the features were made from
    folder: Path
    device: "torch.device"
    seed: int
    home: Path
    ranks: int = 1  # processes that train together
    begin_from: Path | None = None  # folder of an earlier model to begin from
    facts: "ItemFacts | None" = None  # text and categories of the data's items, where the recommender needs them
    held_out_later: bool = False  # whether every held-out pair is known to be later than every train pair
    report: Callable[[FitProgress], None] = lambda _: None


@dataclass(frozen=True)
class Fitted:
    """A trained model and the record of its training. Recommenders that train by epochs fill all fields."""

    model: "ScoringModel"
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    validation_auc: float | None = None
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)  # for a study's manifest: the grid, epochs resumed from
    selected_by: str | None = None  # figure on validation that chose the model: `models/metrics/selection.py`
    # Part of the score -> its weight, and the ends of its 95% interval, None if unknown.
    weights: dict[str, tuple[float, float | None, float | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Taste:
    """A trained recommender as the search for designs needs it."""

    name: str
    recommender: "PictureTaste"  # phi of any picture, and theta of all users
    users: "np.ndarray"  # [U] int32, their global ids
    catalogue: "np.ndarray"  # [images, K], phi of the mode's pictures without factors of item ids


@dataclass(frozen=True)
class NewItem:
    """A product that is not in the catalogue."""

    picture: "np.ndarray"  # uint8 [S, S, 3], sized like the bank's
    title: str | None = None
    categories: tuple[str, ...] | None = None  # the category path, broad to narrow


class NewItemError(ValueError):
    """A field of a new item cannot be used; the message is the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True)
class PixelNetwork:
    """A network from pixels to factors, for explaining a score by parts of a picture."""

    network: Any  # the nn.Module
    theta: "torch.Tensor"  # [U, K]
    users: "np.ndarray"  # [U] int32, global ids
    input_size: int
    resize_filter: str


@dataclass(frozen=True)
class PartWeight:
    """The weight of a part of the score, where all parts have the same spread."""

    name: str  # in words
    weight: float
    low: float | None  # the ends of its 95% interval; None if it is unknown
    high: float | None

    @property
    def ends(self) -> tuple[float, float]:
        """Return the ends of the interval; the weight itself where it is unknown."""
        return (self.weight, self.weight) if self.low is None or self.high is None else (self.low, self.high)


class Recommender:
    """One recommender. Subclasses set the attributes, and override `fit` and any other operation they support."""

    name: str = ""  # in tables, manifests and `--models`
    title: str = ""  # in pages
    hint: str = ""  # what it ranks by, in a few words
    description: str = ""  # one sentence for its card
    settings_class: type | None = None
    op: str = ""  # the op whose section of a profile holds the settings; empty: no profile sets it
    preset: str = ""  # the preset it always uses; empty: the run's
    presets: tuple[str, ...] = ()  # the presets for which it is the main recommender
    needs: frozenset[str] = frozenset()  # of TRIPLETS, FEATURES, PIXELS, FACTS
    space: Space = {}  # noqa: RUF012  settings that a search may change; empty: none. Read only.
    baseline: bool = False  # whether the asset `baselines` trains it
    takes_prior: bool = False  # whether `NAME_prior`, the same with the popularity prior, is a recommender too
    prior_is_baseline: bool = False  # whether the asset `baselines` trains that one
    in_studies: bool = True
    usual: bool = False  # whether a study trains it by default
    reference: bool = False  # whether a study compares the others with it by default
    needs_feature_size: bool = False  # whether it must know the size of the pictures behind the features
    measures_seconds: bool = False  # whether `seconds` times a few steps
    seeded: bool = True  # whether the model depends on the seed
    reports_epochs: bool = False  # whether it reports its value on validation by epoch, so a search may stop it
    weights: str = "best.pt"  # the file that it needs besides the factors, in the folder of a trained or served model
    warm_starts: bool = False  # whether it can begin from an earlier model
    on_ranks: bool = False  # whether several processes can train it together
    oracle: bool = False  # whether it knows the truth: an upper bound, not a competitor
    may_lead: bool = True  # whether its lists may be served to people
    floor: bool = False  # whether no model below it may be served
    new_pictures: bool = False  # whether `taste` scores a picture that it was not trained on, if settings allow: `sees`
    published: bool = False  # whether the paper's Table 3 has its figures
    in_group_charts: bool = False  # whether charts by group of users show it beside the main recommender

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Train the model; continue from checkpoints in the context's folder if the loop supports it.

        Raises:
            NotApplicableError: this data or machine does not allow it.
        """
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
            ValueError: it can only score pictures of its catalogue.
        """
        raise ValueError(f"{self.title or self.name} cannot score a new picture")

    def sees(self, folder: Path) -> bool:
        """Return whether the model in a folder scores a picture that it was not trained on."""
        return self.new_pictures

    def pack(self, trained: Path, out: Path) -> None:
        """Write into the folder of a served version what `new_item_encoder` needs, from the folder of a model."""
        import shutil

        if (trained / self.weights).is_file():  # counts and factorisations have none
            shutil.copyfile(trained / self.weights, out / self.weights)

    def served_packages(self, trained: Path) -> tuple[str, ...]:
        """List the packages that a served version of the model in a folder needs, besides those that all need."""
        return ()

    def new_item_encoder(
        self, folder: Path, about: Mapping[str, Any]
    ) -> "Callable[[NewItem], tuple[np.ndarray, float]]":
        """Load a function from a new item to its factors float32 [K] and bias: the score is theta . factors + bias.

        The function raises NewItemError for a field that the model cannot use. `folder` is that of a served version,
        `about` its about.json.

        Raises:
            ValueError: a served model of this kind cannot score new items.
        """
        raise ValueError(f"this model is {self.name}, and a new item cannot be scored by it")

    def pixel_network(self, folder: Path, manifest: Mapping[str, Any]) -> PixelNetwork | None:
        """Load the network that explains a score by parts of a picture; None if there is none."""
        return None

    def lifts(self, folder: Path) -> "Callable[[int, int], dict[str, float]] | None":
        """Load what explains a score by its parts; None for a score that has none.

        The function maps global ids of a user and an item to each part's share, by its name in words: what it adds to
        the item's score, less what it adds on average over the user's scores of all items. Both must be known.
        """
        return None

    def part_weights(self, manifest: Mapping[str, Any]) -> list[PartWeight]:
        """List the weights of the parts of the score, the largest first; none for a score without parts."""
        return []

    def seconds(self, context: FitContext, settings: Any) -> float | None:
        """Estimate the seconds of a training by timing a few steps; None if it is not measured."""
        return None

    def ablations(self) -> Mapping[str, Mapping[str, Any]]:
        """Map the name of each variant that measures a part of the model to the settings that it changes."""
        return {}

    def about(self, feature_size: int) -> dict[str, Any]:
        """Return entries for the manifest that users of the model need besides its settings."""
        return {}

    def reads(self, need: str) -> bool:
        """Return whether it learns from `need`: TRIPLETS, FEATURES, PIXELS or FACTS."""
        return need in self.needs
