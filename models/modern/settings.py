"""Settings of `modern`, a recommender on frozen features: what each one does and why it exists.

docs/recommender-study.md shows how much each setting gains.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from typing_extensions import Doc

from models.data.augment_policy import check_policy
from models.training.plain_settings import PlainSettings
from models.training.search import Choice, Space, Span

_CHOICES = {
    "user": ("history", "free", "both"),
    "pooling": ("mean", "attention"),
    "loss": ("softmax", "bpr"),
    "train_picture": ("mean", "random"),
    "score_picture": ("mean", "first"),
    "start": ("neighbours", "random"),
    "schedule": ("cosine", "constant"),
}
# Settings that may change when a run is resumed. Not `epochs`: the length of the cosine depends on them.
MAY_CHANGE = ("early_stopping_patience",)


@dataclass(frozen=True)
class ModernSettings(PlainSettings):
    """Settings of a run of `modern`. The defaults are the preset, chosen on validation. ValueError names the field."""

    # The feature space is fitted on train items only: held-out items must not shape the space they are measured in.
    centre: Annotated[bool, Doc("Subtract the mean feature: ImageNet features all point the same way.")] = True
    components: Annotated[int | None, Doc("Principal components kept; the rest is mostly noise; None: all.")] = 256
    whiten: Annotated[float, Doc("Divide components by their spread to this power, 0 to 1; 1 makes all equal.")] = 0.5

    k: Annotated[int, Doc("Latent factors.")] = 128
    start: Annotated[str, Doc("neighbours: with the scores of visual neighbours; random: at random.")] = "neighbours"

    user: Annotated[str, Doc("history: from its pictures, also if new; free: by id; both: their sum.")] = "history"
    pooling: Annotated[str, Doc("Pool the history's pictures by mean, or by attention with learnt weights.")] = "mean"
    leave_one_out: Annotated[
        bool, Doc("Leave the positive out of its history: its own picture would give it away.")
    ] = True

    loss: Annotated[str, Doc("softmax: against all negatives, so hard ones weigh most; bpr: against each.")] = "softmax"
    negatives: Annotated[int, Doc("Negatives shared by a batch, so that one matrix product scores them all.")] = 1024
    negative_power: Annotated[
        float, Doc("Draw negatives by count ** this, leaving popularity to the prior; 0: uniform.")
    ] = 1.0
    log_q: Annotated[
        bool, Doc("Correct the softmax for how often negatives are drawn: popular items keep their lead.")
    ] = False
    unseen_negatives: Annotated[
        bool, Doc("Also draw items without train interactions: their score falls for being new.")
    ] = False

    item_id: Annotated[bool, Doc("Give each item factors of its own too; see id_dropout for new items.")] = True
    item_bias: Annotated[bool, Doc("Give each item a bias, since some items sell to everybody.")] = True
    visual_bias: Annotated[bool, Doc("Give features a bias, since some looks sell to everybody.")] = True
    id_dropout: Annotated[
        float, Doc("Share of occurrences in training in which an item's or user's id part is dropped.")
    ] = 0.5

    # The weight that is best on validation is kept; an unseen item gets the mean over the seen ones.
    popularity_weights: Annotated[tuple[float, ...], Doc("Weights of log(1 + count).")] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)

    train_picture: Annotated[
        str, Doc("random: one of the item's pictures, so that many are no advantage; or mean.")
    ] = "random"
    score_picture: Annotated[str, Doc("Score an item by the mean of its pictures, or by its first.")] = "mean"
    feature_noise: Annotated[float, Doc("Standard deviation of noise on features, whose mean square is one.")] = 0.0
    feature_dropout: Annotated[
        float, Doc("Share of features dropped, so that a few components do not identify an item.")
    ] = 0.2

    user_uniform: Annotated[
        bool, Doc("Draw users uniformly, as the AUC does; else each interaction once per epoch.")
    ] = True
    epochs: Annotated[int, Doc("Maximum number of passes over the interactions; also the length of the cosine.")] = 4
    batch_size: Annotated[int, Doc("Interactions per batch.")] = 512
    learning_rate: Annotated[float, Doc("Highest learning rate of AdamW.")] = 3e-4
    schedule: Annotated[str, Doc("cosine: fall to 0 at the last step; or constant.")] = "cosine"
    warm_up: Annotated[float, Doc("Share of all steps in which the learning rate rises from 0.")] = 0.05
    weight_decay: Annotated[float, Doc("Decoupled weight decay of AdamW, on matrices only.")] = 0.01
    early_stopping_patience: Annotated[
        int | None, Doc("Epochs that are not better on validation before stopping; None: never stop early.")
    ] = 2

    # After these epochs, continue from the best one and train the trunk that made the features too, from pixels.
    trunk_epochs: Annotated[int, Doc("Further epochs that train the trunk too; 0 keeps its features frozen.")] = 0
    trunk_layers: Annotated[int, Doc("Last convolutions and linear layers to train; 0: none; too many: all.")] = 4
    trunk_rate: Annotated[float, Doc("Learning rate of the trunk, on the same schedule; small: forget little.")] = 1e-4
    trunk_batch: Annotated[int, Doc("Interactions per batch in trunk epochs; each sends one picture through it.")] = 128
    trunk_negatives: Annotated[int, Doc("Negatives per batch in trunk epochs; each sends a picture through it.")] = 128
    trunk_augment: Annotated[str, Doc('Changes to the pictures that go through the trunk, e.g. "mirror,crop".')] = ""
    seed: Annotated[int, Doc("Seed of the initial weights and of all draws.")] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "popularity_weights", tuple(float(w) for w in self.popularity_weights))
        for name, choices in _CHOICES.items():
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        check_policy(self.trunk_augment)
        for name in ("k", "epochs", "batch_size", "negatives", "trunk_batch", "trunk_negatives"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("components", "early_stopping_patience"):
            self._require(name, getattr(self, name) is None or getattr(self, name) >= 1, "None or at least 1")
        # The mean over an item's pictures would send all of them through the trunk in every step.
        mean = self.trunk_epochs and self.train_picture == "mean"
        self._require("train_picture", not mean, "random, where trunk_epochs is above 0")
        for name in ("feature_noise", "negative_power", "weight_decay", "seed", "trunk_epochs", "trunk_layers"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("id_dropout", "feature_dropout", "warm_up"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to under 1")
        self._require("whiten", 0 <= self.whiten <= 1, "from 0 to 1")
        for name in ("learning_rate", "trunk_rate"):
            self._require(name, getattr(self, name) > 0, "above 0")
        weights = self.popularity_weights
        self._require("popularity_weights", weights and all(w >= 0 for w in weights), "one or more, each 0 or more")

    def plain(self) -> dict[str, object]:
        """Convert the settings to a dict of plain values, for checkpoints and reports."""
        return {**asdict(self), "popularity_weights": list(self.popularity_weights)}

    def _require(self, name: str, holds: object, allowed: str) -> None:
        if not holds:
            raise ValueError(f"ModernSettings.{name}={getattr(self, name)!r}; it must be {allowed}")


PRESETS: dict[str, ModernSettings] = {"modern": ModernSettings()}

# What a hyperparameter search may vary: how far training moves from its start, and the space that it starts in.
SPACE: Space = {
    "learning_rate": Span(3e-5, 1e-2, log=True),
    "weight_decay": Span(1e-4, 1.0, log=True),
    "whiten": Span(0.0, 1.0),
    "feature_dropout": Span(0.0, 0.5),
    "negative_power": Span(0.0, 1.0),
    "start": Choice(("neighbours", "random")),
}
