"""Settings of the peers. Values only; a tuple holds what is tried on validation."""

import itertools
from dataclasses import dataclass
from typing import Annotated, Any

from typing_extensions import Doc


@dataclass(frozen=True)
class PeerSettings:
    """What all peers have. A subclass adds fields; `points` lists the settings that its worker gets."""

    epochs: Annotated[tuple[int, ...], Doc("Numbers of epochs (of trees, for a ranker) to choose from.")] = (5, 10, 20)
    most_minutes: Annotated[float, Doc("Minutes after which one training is ended as hanging.")] = 60.0

    def __post_init__(self) -> None:
        if not self.epochs or min(self.epochs) < 1:
            raise ValueError(f"epochs: {self.epochs}; give numbers of at least 1")
        if not self.most_minutes > 0:
            raise ValueError(f"most_minutes: {self.most_minutes}; it must be above 0")

    def points(self) -> list[dict[str, Any]]:
        """List the settings to train with, each with every number of epochs."""
        return [{}]


@dataclass(frozen=True)
class CornacSettings(PeerSettings):
    """Settings of Cornac's VBPR as released. Epochs are chosen on validation: the default of 50 overfits small data."""


@dataclass(frozen=True)
class TunedCornacSettings(CornacSettings):
    """Settings tuned on validation: those that our VBPR also tunes, in similar ranges (`models/baselines/bpr.py`)."""

    epochs: tuple[int, ...] = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
    k: Annotated[int, Doc("Latent factors, and as many visual ones.")] = 64
    batch_size: Annotated[int, Doc("Triplets a step.")] = 128
    learning_rate: Annotated[tuple[float, ...], Doc("Step sizes of Adam.")] = (0.001,)
    # Per triplet, as in our VBPR. Cornac's loss counts a batch of B triplets B times, so `points` multiplies this by B.
    regularisation: Annotated[tuple[float, ...], Doc("Penalty on the squared weights.")] = (0.1, 0.3, 1.0)

    def points(self) -> list[dict[str, Any]]:
        """List every rate with every regulariser, which is the same for factors, biases and projection."""
        fixed = {"k": self.k, "k2": self.k, "batch_size": self.batch_size}
        return [
            {**fixed, "learning_rate": rate} | dict.fromkeys(("lambda_w", "lambda_b", "lambda_e"), l2 * self.batch_size)
            for rate, l2 in itertools.product(self.learning_rate, self.regularisation)
        ]


@dataclass(frozen=True)
class LightGcnSettings(PeerSettings):
    """Settings of LightGCN."""

    epochs: tuple[int, ...] = (10, 20, 40)
    k: Annotated[int, Doc("Size of the embeddings.")] = 64
    layers: Annotated[tuple[int, ...], Doc("Numbers of rounds of propagation.")] = (2,)
    batch_size: Annotated[int, Doc("Pairs a step.")] = 2048
    learning_rate: Annotated[float, Doc("Step size of Adam.")] = 0.005
    l2: Annotated[tuple[float, ...], Doc("Penalties on the squared embeddings.")] = (1e-4, 1e-2)

    def points(self) -> list[dict[str, Any]]:
        """List every number of layers with every penalty."""
        fixed = {"k": self.k, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        return [{**fixed, "layers": layers, "l2": l2} for layers, l2 in itertools.product(self.layers, self.l2)]


@dataclass(frozen=True)
class SasRecSettings(PeerSettings):
    """Settings of SASRec, those of RecTools but smaller, as a shop's histories are short."""

    epochs: tuple[int, ...] = (10, 20, 40)
    n_factors: Annotated[int, Doc("Size of the embeddings.")] = 64
    n_blocks: Annotated[int, Doc("Layers of the transformer.")] = 2
    n_heads: Annotated[int, Doc("Heads of attention in each layer.")] = 2
    session_max_len: Annotated[int, Doc("Last items of a history that are read.")] = 30
    dropout_rate: Annotated[tuple[float, ...], Doc("Shares of units dropped in training.")] = (0.2,)
    lr: Annotated[float, Doc("Step size of Adam.")] = 0.001

    def points(self) -> list[dict[str, Any]]:
        """List every dropout."""
        names = ("n_factors", "n_blocks", "n_heads", "session_max_len", "lr")
        fixed = {name: getattr(self, name) for name in names}
        return [{**fixed, "dropout_rate": rate} for rate in self.dropout_rate]


@dataclass(frozen=True)
class LightFmSettings(PeerSettings):
    """Settings of LightFM."""

    epochs: tuple[int, ...] = (20, 40, 80)
    no_components: Annotated[int, Doc("Latent factors.")] = 64
    learning_rate: Annotated[tuple[float, ...], Doc("Step sizes of Adagrad.")] = (0.02,)
    alpha: Annotated[tuple[float, ...], Doc("Penalties on the embeddings of users and of features.")] = (1e-5,)
    text: Annotated[bool, Doc("Whether items have their text features, beside their categories.")] = True
    identity: Annotated[bool, Doc("Whether each item also has an embedding of its own.")] = False

    def points(self) -> list[dict[str, Any]]:
        """List every rate with every penalty."""
        fixed = {"no_components": self.no_components, "text": self.text, "identity": self.identity}
        return [
            {**fixed, "learning_rate": rate, "user_alpha": alpha, "item_alpha": alpha}
            for rate, alpha in itertools.product(self.learning_rate, self.alpha)
        ]


@dataclass(frozen=True)
class HmRecipeSettings(PeerSettings):
    """Settings of the recipe; `epochs` are numbers of trees. Nothing is tried: candidates are few for an AUC."""

    epochs: tuple[int, ...] = (50,)
    weeks: Annotated[tuple[int, ...], Doc("Numbers of the last weeks of train that the trees learn from.")] = (52,)
    nearest: Annotated[int, Doc("Candidates of each source.")] = 100
    num_leaves: Annotated[int, Doc("Leaves of a tree.")] = 7
    min_data_in_leaf: Annotated[int, Doc("Candidates in a leaf, at least.")] = 100
    learning_rate: Annotated[float, Doc("Shrinkage of each tree.")] = 0.05

    def points(self) -> list[dict[str, Any]]:
        """List every number of weeks."""
        names = ("nearest", "num_leaves", "min_data_in_leaf", "learning_rate")
        fixed = {name: getattr(self, name) for name in names}
        return [{**fixed, "weeks": weeks} for weeks in self.weeks]
