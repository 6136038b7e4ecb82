"""Settings of the generator on frozen features, and their presets. Importable without torch."""

from dataclasses import asdict, dataclass
from typing import Annotated

from typing_extensions import Doc

from models.training.plain_settings import PlainSettings

SIZES = (32, 64, 128, 256)
# Settings that a resumed run may change: when it reports, and how much memory it takes. The schedules are shares of
# `steps`, so another number of steps would be another run.
MAY_CHANGE = ("tick_steps", "picture_ticks", "patience", "alike_spread", "cache_gigabytes")


@dataclass(frozen=True)
class GarmentModelSettings(PlainSettings):
    """Settings of the networks and their training; the defaults are the preset. ValueError names the field."""

    size: Annotated[int, Doc(f"Side of the pictures in pixels: {', '.join(map(str, SIZES))}.")] = 64
    upscale: Annotated[bool, Doc("Enlarge smaller pictures to `size`, instead of refusing them.")] = False
    classes: Annotated[int, Doc("Number of garment classes, set by the data.")] = 6
    z_dim: Annotated[int, Doc("Numbers in a latent z and in a code.")] = 64
    class_dim: Annotated[int, Doc("Numbers that a class is embedded in.")] = 32
    width: Annotated[float, Doc("Factor on the channels of G.")] = 1.0
    mixed: Annotated[int, Doc("Channels of each scale of the frozen features after their random mixing.")] = 64
    hidden: Annotated[int, Doc("Units of the encoder's hidden layer.")] = 256

    steps: Annotated[int, Doc("Steps of the run; the schedules below are shares of it.")] = 10_000
    batch_size: Annotated[int, Doc("Pictures in a batch, at least 4; every class is drawn equally often.")] = 32
    free_share: Annotated[
        float, Doc("Share of a batch that G makes from z ~ N(0, I) once the heads train; the rest it reconstructs.")
    ] = 0.25
    lr: Annotated[float, Doc("Adam's learning rate of generator and encoder.")] = 2e-3
    lr_heads: Annotated[float, Doc("Adam's learning rate of the heads.")] = 1e-3
    beta1: Annotated[float, Doc("Adam's decay of the mean gradient; from 0 to under 1.")] = 0.5
    beta2: Annotated[float, Doc("Adam's decay of the squared gradient; from 0 to under 1.")] = 0.99
    warm_up: Annotated[int, Doc("Steps over which the learning rates rise.")] = 20
    decay_from: Annotated[float, Doc("Share of the run after which the learning rates fall to 0, linearly.")] = 0.6
    ema_share: Annotated[float, Doc("Half-life of the averaged weights, as a share of the pictures seen so far.")] = 0.1

    pixel_weight: Annotated[float, Doc("Weight of the mean absolute error of pixels on [-1, 1].")] = 20.0
    feature_weight: Annotated[float, Doc("Weight of the mean squared error of the features, summed over scales.")] = 2.0
    kl: Annotated[float, Doc("Weight of the divergence of a picture's codes from N(0, I), in nats.")] = 0.005
    heads_weight: Annotated[float, Doc("Weight of the adversarial loss, once it has risen.")] = 1.0
    heads_from: Annotated[float, Doc("Share of the run after which the heads train.")] = 0.45
    heads_ramp: Annotated[float, Doc("Share of the run over which the adversarial loss rises to its weight.")] = 0.2

    bf16: Annotated[bool, Doc("Use bfloat16 where the processor multiplies in it.")] = True
    cache_gigabytes: Annotated[
        float, Doc("Most memory for the training pictures' features; if they need more, every step computes its own.")
    ] = 4.0
    minimum_class: Annotated[int, Doc("Minimum pictures of a class; with fewer, training refuses to start.")] = 32
    tick_steps: Annotated[
        int, Doc("Steps between ticks, which read the losses, save a checkpoint and draw pictures.")
    ] = 200
    picture_ticks: Annotated[int, Doc("Ticks between two drawings of the fixed grid.")] = 1
    patience: Annotated[int, Doc("Consecutive ticks of identical fakes that end the run.")] = 10
    alike_spread: Annotated[
        float, Doc("Fakes are identical below this mean sd of a pixel on [-1, 1] (1/4 grey level).")
    ] = 0.002
    grid_columns: Annotated[int, Doc("Pictures of each class in the fixed grid.")] = 8
    seed: Annotated[int, Doc("Seed of the weights, the mixing of features, the batches and the latents.")] = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the invalid field."""
        self._require("size", self.size in SIZES, f"one of {', '.join(map(str, SIZES))}")
        for name in (
            "classes", "z_dim", "class_dim", "mixed", "hidden", "steps", "minimum_class", "tick_steps",
            "picture_ticks", "patience", "grid_columns",
        ):  # fmt: skip
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 4, "at least 4, for batch norm")
        for name in ("width", "lr", "lr_heads", "ema_share", "pixel_weight"):
            self._require(name, getattr(self, name) > 0, "positive")
        for name in ("warm_up", "feature_weight", "kl", "heads_weight", "heads_ramp", "cache_gigabytes", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("beta1", "beta2", "decay_from", "free_share"):
            self._require(name, 0 <= getattr(self, name) < 1, "from 0 to under 1")
        self._require("heads_from", 0 <= self.heads_from <= 1, "from 0 to 1; 1 trains without heads")

    def plain(self) -> dict[str, object]:
        """Convert the settings to a dict of plain values, for manifests and reports."""
        return asdict(self)

    @property
    def reconstructed(self) -> int:
        """Return how many rows of a batch are reconstructed while the heads train."""
        return self.batch_size - int(self.batch_size * self.free_share)

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates at a step, from 0."""
        rising = 1.0 if not self.warm_up else min(1.0, (step + 1) / self.warm_up)
        left = (self.steps - step) / (self.steps * (1 - self.decay_from))
        return rising * min(1.0, left)

    def adversarial(self, step: int, *, warm: bool = False) -> float:
        """Return the weight of the adversarial loss at a step, from 0; 0 means that the heads do not train.

        A `warm` run starts from a trained generator and its heads, so it has the whole weight from the start.
        """
        if warm:
            return self.heads_weight
        past = (step + 1) / self.steps - self.heads_from
        if past <= 0:
            return 0.0
        return self.heads_weight * (min(1.0, past / self.heads_ramp) if self.heads_ramp else 1.0)

    def _require(self, name: str, right: bool, wanted: str) -> None:
        if not right:
            raise ValueError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")


PRESETS: dict[str, GarmentModelSettings] = {"modern": GarmentModelSettings()}
