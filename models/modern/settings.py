"""Settings of `modern`, a recommender on frozen features: what each one does and why it exists.

docs/recommender-study.md shows how much each setting gains.
"""

from dataclasses import asdict, dataclass, fields

from models.data.augment_policy import check_policy
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
class ModernSettings:
    """Settings of a run of `modern`. The defaults are the preset, chosen on validation. ValueError names the field."""

    # The feature space is fitted on train items only: held-out items must not shape the space they are measured in.
    centre: bool = True  # subtract the mean feature: without this, all ImageNet features point the same way
    components: int | None = 256  # principal components kept; the rest is mostly noise and costs time; None keeps all
    whiten: float = 0.5  # divide components by their spread to this power: 0 keeps the spread, 1 makes all equal

    k: int = 128  # latent factors
    start: str = "neighbours"  # neighbours: initial scores equal those of visual neighbours; random: random weights

    user: str = "history"  # history: from its pictures, also for new users; free: learnt for each id; both: their sum
    pooling: str = "mean"  # how to pool the pictures of the history; attention learns which of them matter most
    leave_one_out: bool = True  # leave the positive out of its own history, or it would be found by its own picture

    loss: str = "softmax"  # softmax: against all negatives at once, so hard ones weigh most; bpr: against each one
    negatives: int = 1024  # negatives shared by a batch, so that one matrix product scores them all
    negative_power: float = 1.0  # draw negatives by count ** power, leaving popularity to the prior; 0 is uniform
    log_q: bool = False  # correct the softmax for how often a negative is drawn, so that popular items keep their lead
    unseen_negatives: bool = False  # draw items without train interactions too; this lowers their score for being new

    item_id: bool = True  # give each item factors of its own beside its picture; see id_dropout for new items
    item_bias: bool = True  # give each item a bias, since some items sell to everybody
    visual_bias: bool = True  # give features a bias, since some looks sell to everybody
    id_dropout: float = 0.5  # share of occurrences in which the id part of an item or a user is dropped in training

    # The weight that is best on validation is kept; an unseen item gets the mean over the seen ones.
    popularity_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # weights w to try, for w * log(1 + count)

    train_picture: str = "random"  # random: one of the item's pictures, so that having many is no advantage; or mean
    score_picture: str = "mean"  # score an item by the mean of its pictures, or by its first
    feature_noise: float = 0.0  # standard deviation of noise added to features, whose mean square is one
    feature_dropout: float = 0.2  # share of features dropped, so that an item is not recognised by a few components

    user_uniform: bool = True  # draw users uniformly, as the AUC averages them; else each interaction once an epoch
    epochs: int = 4  # most passes over the interactions; also the length of the cosine
    batch_size: int = 512  # interactions in a batch
    learning_rate: float = 3e-4  # highest learning rate of AdamW
    schedule: str = "cosine"  # cosine: fall to 0 at the last step; or constant
    warm_up: float = 0.05  # share of all steps in which the learning rate rises from 0
    weight_decay: float = 0.01  # decoupled weight decay of AdamW, on matrices only
    early_stopping_patience: int | None = 2  # epochs without a better validation AUC; None: never stop early

    # After these epochs, continue from the best one and train the trunk that made the features too, from pixels.
    trunk_epochs: int = 0  # epochs that train the trunk too; 0 keeps its features frozen
    trunk_layers: int = 4  # number of last convolutions and linear layers to train; 0: none; too many: all
    trunk_rate: float = 1e-4  # learning rate of the trunk, on the same schedule; small, to keep what it has learnt
    trunk_batch: int = 128  # interactions in a batch in these epochs; each sends one picture through the trunk
    trunk_negatives: int = 128  # negatives of a batch in these epochs; each sends one picture through the trunk
    trunk_augment: str = ""  # changes to the pictures that go through the trunk, e.g. "mirror,crop"
    seed: int = 0  # seed of the initial weights and of all draws

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

    @classmethod
    def from_plain(cls, values: dict) -> "ModernSettings":
        """Rebuild settings from the dict that `plain` returned."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

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
