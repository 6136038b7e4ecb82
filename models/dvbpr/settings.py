"""Settings of DVBPR and their two published presets (REFERENCE, section 2)."""

from dataclasses import asdict, dataclass, fields

from models.data.resize_filters import RESIZE_FILTERS
from models.dvbpr.cnnf_input import PADDINGS, Padding, feature_size
from models.training.search import Choice, Space, Span

PRECISIONS = ("auto", "float32", "bfloat16")
# Settings that determine the shapes of the weights: a checkpoint with other values cannot be resumed.
ARCHITECTURE = ("k", "input_size", "padding", "width", "hidden")
# Settings that may change when a run is resumed: how long and how fast it runs, not what it computes.
MAY_CHANGE = ("epochs", "early_stopping_patience", "compile", "embed_batch")


@dataclass(frozen=True)
class DvbprSettings:
    """Settings of a run of DVBPR. The defaults are the `paper` preset. ValueError names the invalid field."""

    k: int = 50  # latent factors
    input_size: int = 224  # side of the resized picture in pixels
    padding: Padding = "valid"  # "same" as in K17's code, "valid" as in NAF's figure
    width: float = 1.0  # factor on CNN-F's filter counts; under 1 for machines without a GPU
    hidden: float = 1.0  # factor on the 4,096 units of each of the two hidden layers
    dropout: float = 0.5  # dropout of the two hidden layers in training
    epochs: int = 14  # most passes over the triplets
    batch_size: int = 128  # triplets in a batch
    learning_rate: float = 1e-4  # Adam's learning rate
    betas: tuple[float, float] = (0.9, 0.999)  # Adam's decay of its two moments
    eps: float = 1e-8  # Adam's epsilon in the divisor
    weight_decay: float = 1e-3  # lambda1: coupled L2 on the eight weight tensors
    theta_decay: float = 1.0  # lambda2: L2 on theta_u, once for each triplet of u
    resize_filter: str = "bicubic"  # used if the bank's size is not input_size; Pillow's default today
    precision: str = "auto"  # auto: bfloat16 if the device multiplies in it, else float32
    compile: bool = False  # torch.compile the network: takes a minute, which pays on a GPU at paper size
    embed_batch: int = 256  # pictures at a time when embedding without gradients
    early_stopping_patience: int | None = None  # epochs without a better validation AUC; None: never stop early
    seed: int = 0  # seed of the initial weights and of dropout

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))
        for name in ("k", "epochs", "batch_size", "embed_batch"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("width", "hidden", "learning_rate", "eps"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("weight_decay", "theta_decay", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("dropout", 0 <= self.dropout < 1, "from 0 to under 1")
        self._require("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two of 0 to under 1")
        self._require("padding", self.padding in PADDINGS, f"one of {', '.join(PADDINGS)}")
        self._require("resize_filter", self.resize_filter in RESIZE_FILTERS, f"one of {', '.join(RESIZE_FILTERS)}")
        self._require("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        patience = self.early_stopping_patience
        self._require("early_stopping_patience", patience is None or patience >= 1, "None or at least 1")
        feature_size(self.input_size, self.padding)  # raises if the pictures are too small

    def plain(self) -> dict[str, object]:
        """Convert the settings to a dict of plain values, for checkpoints and reports."""
        return {**asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_plain(cls, values: dict) -> "DvbprSettings":
        """Rebuild settings from the dict that `plain` returned."""
        return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"DvbprSettings.{name}={getattr(self, name)!r}; it must be {allowed}")


PRESETS: dict[str, DvbprSettings] = {
    "paper": DvbprSettings(),
    "kang2017": DvbprSettings(k=100, epochs=20, padding="same", resize_filter="nearest"),
}

# What a hyperparameter search may vary. None of these changes the network's size, so each trial costs one training.
SPACE: Space = {
    "learning_rate": Span(3e-5, 3e-3, log=True),
    "weight_decay": Span(1e-6, 1e-2, log=True),
    "theta_decay": Span(1e-3, 10.0, log=True),
    "dropout": Choice((0.0, 0.2, 0.5)),
}
