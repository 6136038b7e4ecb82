"""The knobs of `modern`, a recommender on frozen features: what each does, and why it is there.

Values only: the network and its loss are in `modern.py`, the loop in `train_modern.py`, what each knob is worth in
docs/recommender-study.md.
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
# What may change between the parts of a resumed run. Not `epochs`: the cosine's length depends on them.
MAY_CHANGE = ("early_stopping_patience",)


@dataclass(frozen=True)
class ModernSettings:
    """One run of `modern`. Defaults are the preset, chosen on validation. ValueError names the field that is wrong."""

    # The features' space, fitted on train items alone: held-out items must not shape what they are measured in.
    centre: bool = True  # ImageNet features all point one way; what tells items apart is what is left
    components: int | None = 256  # principal components kept: the rest is noise to fit, and time; None keeps all
    whiten: float = 0.5  # components divided by their spread to this power: 0 leaves it, 1 makes all alike

    k: int = 128  # latent factors
    start: str = "neighbours"  # first scores are the visual neighbours'; random: nothing is known at first

    user: str = "history"  # from the pictures of the history: a new user has one at once; free; or both, added
    pooling: str = "mean"  # of the history's pictures; attention learns which of them tell most
    leave_one_out: bool = True  # a positive in its own history would be found by looking like itself

    loss: str = "softmax"  # against all negatives at once, the hard ones weigh most; bpr: each alone
    negatives: int = 1024  # shared by a batch: one product of matrices scores them all
    negative_power: float = 1.0  # negatives drawn by count ** power: popularity is left to the prior; 0 is uniform
    log_q: bool = False  # takes a popularity draw back out of the softmax, so that popular items keep their lead
    unseen_negatives: bool = False  # an item that is only ever a negative is pushed down for being new

    item_id: bool = True  # what an item has beside its looks; needs to be dropped for items that have only looks
    item_bias: bool = True  # that some items sell, whoever looks
    visual_bias: bool = True  # that some looks sell, whoever looks
    id_dropout: float = 0.5  # share of occurrences in which an item's or a user's id part is taken away in training

    # The best on validation is kept; an unseen item gets the mean over the seen.
    popularity_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # tried, as w * log(1 + count)

    train_picture: str = "random"  # item first, then one of its pictures: many pictures teach no more than one
    score_picture: str = "mean"  # an item is the mean of its pictures, or its first
    feature_noise: float = 0.0  # standard deviation added to features whose mean square is one
    feature_dropout: float = 0.2  # an item must not be known by a few components

    user_uniform: bool = True  # users drawn alike, as AUC averages them; else each interaction once an epoch
    epochs: int = 4  # passes over the interactions, at most; the cosine is as long
    batch_size: int = 512  # interactions
    learning_rate: float = 3e-4  # AdamW's, at its highest
    schedule: str = "cosine"  # down to nothing at the last step
    warm_up: float = 0.05  # share of all steps in which the rate rises from nothing
    weight_decay: float = 0.01  # AdamW's, decoupled, on matrices
    early_stopping_patience: int | None = 2  # epochs without a better validation AUC; None: never stop early

    # Then, from the best of these epochs on, the trunk that made the features is trained too, from pixels.
    trunk_epochs: int = 0  # 0: its features stay as they are
    trunk_layers: int = 4  # of its convolutions and products, the last so many; 0: none; more than there are: all
    trunk_rate: float = 1e-4  # the trunk's learning rate, small: it knows more than a shop can teach; same schedule
    trunk_batch: int = 128  # interactions a step, then: every one is a picture to go through the trunk
    trunk_negatives: int = 128  # and so is every negative
    trunk_augment: str = ""  # changes of the pictures that go through it, of models/data/augment.py: "mirror,crop"
    seed: int = 0  # of the first weights and every draw

    def __post_init__(self) -> None:
        object.__setattr__(self, "popularity_weights", tuple(float(w) for w in self.popularity_weights))
        for name, choices in _CHOICES.items():
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        check_policy(self.trunk_augment)
        for name in ("k", "epochs", "batch_size", "negatives", "trunk_batch", "trunk_negatives"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("components", "early_stopping_patience"):
            self._require(name, getattr(self, name) is None or getattr(self, name) >= 1, "None or at least 1")
        # A mean over an item's pictures would send all of them through the trunk in every step.
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
        """The settings as a dict of plain values, for checkpoints and reports."""
        return {**asdict(self), "popularity_weights": list(self.popularity_weights)}

    @classmethod
    def from_plain(cls, values: dict) -> "ModernSettings":
        """Settings from what `plain` gave."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def _require(self, name: str, holds: object, allowed: str) -> None:
        if not holds:
            raise ValueError(f"ModernSettings.{name}={getattr(self, name)!r}; it must be {allowed}")


PRESETS: dict[str, ModernSettings] = {"modern": ModernSettings()}

# What a search may turn: how far training moves from its starting point, and the space that it starts in.
SPACE: Space = {
    "learning_rate": Span(3e-5, 1e-2, log=True),
    "weight_decay": Span(1e-4, 1.0, log=True),
    "whiten": Span(0.0, 1.0),
    "feature_dropout": Span(0.0, 0.5),
    "negative_power": Span(0.0, 1.0),
    "start": Choice(("neighbours", "random")),
}
