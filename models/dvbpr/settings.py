"""Settings of DVBPR and their two published presets (docs/method.md says of which publications)."""

from dataclasses import asdict, dataclass
from typing import Annotated

from typing_extensions import Doc

from models.data.resize_filters import RESIZE_FILTERS
from models.dvbpr.cnnf_input import PADDINGS, Padding, feature_size
from models.training.plain_settings import PlainSettings
from models.training.search import Choice, Space, Span

PRECISIONS = ("auto", "float32", "bfloat16")
# Settings that determine the shapes of the weights: a checkpoint with other values cannot be resumed.
ARCHITECTURE = ("k", "input_size", "padding", "width", "hidden")
# Settings that may change when a run is resumed: how long and how fast it runs, not what it computes.
MAY_CHANGE = ("epochs", "early_stopping_patience", "compile", "embed_batch")


@dataclass(frozen=True)
class DvbprSettings(PlainSettings):
    """Settings of a run of DVBPR. The defaults are the `paper` preset. ValueError names the invalid field."""

    k: Annotated[int, Doc("Latent factors.")] = 50
    input_size: Annotated[int, Doc("Side of the resized picture in pixels.")] = 224
    padding: Annotated[Padding, Doc("same, as in K17's code; valid, as in NAF's figure.")] = "valid"
    width: Annotated[float, Doc("Factor on CNN-F's filter counts; under 1 for machines without a GPU.")] = 1.0
    hidden: Annotated[float, Doc("Factor on the 4,096 units of each of the two hidden layers.")] = 1.0
    dropout: Annotated[float, Doc("Dropout of the two hidden layers in training; from 0 to under 1.")] = 0.5
    epochs: Annotated[int, Doc("Maximum number of passes over the triplets.")] = 14
    batch_size: Annotated[int, Doc("Triplets per batch.")] = 128
    learning_rate: Annotated[float, Doc("Adam's learning rate.")] = 1e-4
    betas: Annotated[tuple[float, float], Doc("Adam's decay of its two moments.")] = (0.9, 0.999)
    eps: Annotated[float, Doc("Adam's epsilon in the divisor.")] = 1e-8
    weight_decay: Annotated[float, Doc("lambda1: coupled L2 on the eight weight tensors.")] = 1e-3
    theta_decay: Annotated[float, Doc("lambda2: L2 on theta_u, once for each triplet of u.")] = 1.0
    resize_filter: Annotated[
        str, Doc("Filter used if the bank's size is not input_size: bicubic (Pillow's default today) or nearest.")
    ] = "bicubic"
    precision: Annotated[str, Doc("float32, bfloat16, or auto: bfloat16 if the device multiplies in it.")] = "auto"
    compile: Annotated[bool, Doc("torch.compile the network: takes a minute; pays on a GPU at paper size.")] = False
    embed_batch: Annotated[int, Doc("Pictures per batch when embedding without gradients.")] = 256
    early_stopping_patience: Annotated[
        int | None, Doc("Epochs that are not better on validation before stopping; None: never stop early.")
    ] = None
    seed: Annotated[int, Doc("Seed of the initial weights and of dropout.")] = 0

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
