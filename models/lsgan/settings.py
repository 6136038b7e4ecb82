"""Settings of the LSGAN and their presets: two published (docs/method.md) and our own."""

from dataclasses import dataclass, replace
from typing import Annotated

from typing_extensions import Doc

from models.data.augment_policy import check_policy

Z_DISTRIBUTIONS = ("uniform", "normal")
LOSSES = ("least_squares", "relativistic")
SELECTIONS = ("last", "best")
# Settings that a resumed run may change: its length, when it reports, where its pictures are kept. Changing any other
# setting would make it a different run.
MAY_CHANGE = (
    "epochs", "steps", "tick_steps", "picture_ticks", "metric_ticks", "select", "patience", "vanished_loss",
    "alike_spread", "resident",
)  # fmt: skip


@dataclass(frozen=True)
class LsganSettings:
    """Settings of the networks and their training; the defaults are the `paper` preset."""

    z_dim: Annotated[int, Doc("Numbers in a latent z.")] = 256
    z_distribution: Annotated[str, Doc("uniform: U(-1, 1); normal: N(0, 1).")] = "uniform"
    classes: Annotated[int, Doc("Number of garment classes, set by the data.")] = 6
    width: Annotated[float, Doc("Factor on every filter count; under 1 for machines without a GPU.")] = 1.0
    input_batch_norm: Annotated[bool, Doc("Add batch norm after G's linear layer, as in the released code.")] = False

    lr_generator: Annotated[float, Doc("Adam's learning rate of the generator.")] = 1e-5
    lr_discriminator: Annotated[float, Doc("Adam's learning rate of the discriminator.")] = 1e-5
    rates_by_width: Annotated[bool, Doc("Treat both rates as those of the full networks: use rate / width.")] = False
    beta1: Annotated[float, Doc("Adam's decay of the mean gradient; from 0 to under 1.")] = 0.9
    beta2: Annotated[float, Doc("Adam's decay of the squared gradient; from 0 to under 1.")] = 0.999
    weight_decay: Annotated[float, Doc("Coupled L2, as Adam's weight_decay.")] = 1e-5
    batch_size: Annotated[int, Doc("Pictures per batch, at least 2 for batch norm.")] = 64
    epochs: Annotated[float, Doc("Passes over the pictures.")] = 55
    steps: Annotated[int | None, Doc("Number of steps; if given, it replaces epochs.")] = None

    loss: Annotated[str, Doc("least_squares; or relativistic, to the other side's mean.")] = "least_squares"
    smooth_upsampling: Annotated[
        bool, Doc("Start G's stride-2 layers as bilinear upsampling, and scale their updates alike.")
    ] = False
    spectral_norm: Annotated[bool, Doc("Divide every weight of D by its largest singular value.")] = False
    r1: Annotated[float, Doc("Weight of half the squared gradient of D at real pictures; 0 for none.")] = 0.0
    r1_every: Annotated[int, Doc("Steps between two such penalties; each is multiplied by this number.")] = 16
    joint_batches: Annotated[
        bool, Doc("Show D reals and fakes in one batch: otherwise batch norm hides what all fakes share.")
    ] = False
    balanced: Annotated[bool, Doc("Draw every class equally often, whatever its share of the pictures.")] = False
    augment: Annotated[str, Doc('DiffAugment policy, e.g. "color,translation,cutout"; empty: none.')] = ""
    augment_target: Annotated[
        float | None,
        Doc("Adapt how often to augment so that D's overfitting is this, from 0 to under 1; None: always augment."),
    ] = None
    augment_ramp: Annotated[int, Doc("Pictures within which adaptation can go from never to always.")] = 100_000
    watched_share: Annotated[
        float, Doc("Share of each class kept out to measure overfitting, if adaptive; at most 0.5.")
    ] = 0.05
    ema_half_life: Annotated[
        float | None, Doc("Half-life in pictures of the averaged weights, which samples use; None: no average.")
    ] = None
    ema_ramp: Annotated[float, Doc("Limit the half-life to this share of the pictures seen so far.")] = 0.05

    bf16: Annotated[bool, Doc("Use bfloat16 where the processor supports it.")] = False
    channels_last: Annotated[bool, Doc("Keep weights and activations in channels_last memory order.")] = True
    compile: Annotated[
        bool, Doc("torch.compile both networks: for a GPU; on a CPU, it made starting and running slower.")
    ] = False
    resident: Annotated[bool, Doc("Keep the pictures on the device if they fit.")] = True

    minimum_class: Annotated[int, Doc("Minimum pictures of a class; with fewer, training refuses to start.")] = 32
    tick_steps: Annotated[
        int, Doc("Steps between ticks, which read the losses, save a checkpoint and draw pictures.")
    ] = 200
    picture_ticks: Annotated[int, Doc("Ticks between two drawings of the fixed grid.")] = 1
    metric_ticks: Annotated[int, Doc("Ticks between two computations of the metric, if any; also at the end.")] = 5
    select: Annotated[str, Doc("Checkpoint that becomes the finished generator: last, or best by the metric.")] = "last"
    patience: Annotated[int, Doc("Consecutive ticks of a vanished D loss or of identical fakes that end the run.")] = 10
    vanished_loss: Annotated[float, Doc("Below this mean D loss, D has won and G learns nothing.")] = 1e-5
    alike_spread: Annotated[
        float, Doc("Fakes are identical below this mean sd of a pixel on [-1, 1] (1/4 grey level).")
    ] = 0.002
    grid_columns: Annotated[int, Doc("Pictures of each class in the fixed grid.")] = 8
    seed: Annotated[int, Doc("Seed of the initial weights, the batches and the latents.")] = 0

    def __post_init__(self) -> None:
        """Raise ValueError naming the invalid field."""
        for name, allowed in (("z_distribution", Z_DISTRIBUTIONS), ("loss", LOSSES), ("select", SELECTIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}")
        for name in (
            "z_dim", "classes", "tick_steps", "picture_ticks", "metric_ticks", "patience", "grid_columns",
            "minimum_class", "r1_every", "augment_ramp",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr_generator", "lr_discriminator", "epochs", "width", "ema_ramp"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must lie in [0, 1)")
        for name in ("weight_decay", "r1"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for wrong, message in (
            (self.batch_size < 2, f"batch_size is {self.batch_size}; batch norm needs at least 2"),
            (self.steps is not None and self.steps < 1, f"steps is {self.steps}; give at least 1, or None for epochs"),
            (
                self.ema_half_life is not None and not self.ema_half_life > 0,
                f"ema_half_life is {self.ema_half_life}; give a number of pictures, or None for no EMA",
            ),
            (
                self.augment_target is not None and not 0 <= self.augment_target < 1,
                f"augment_target is {self.augment_target}; it must lie in [0, 1), or be None to augment always",
            ),
            (
                not 0 < self.watched_share <= 0.5,
                f"watched_share is {self.watched_share}; it must be over 0 and at most 0.5",
            ),
        ):
            if wrong:
                raise ValueError(message)
        check_policy(self.augment)

    def rate(self, rate: float) -> float:
        """Convert a learning rate of the full network to this width."""
        return rate / self.width if self.rates_by_width else rate

    @property
    def adaptive(self) -> bool:
        """Return whether the rate of augmentation adapts to the discriminator's overfitting."""
        return bool(self.augment) and self.augment_target is not None

    def filters(self, count: int) -> int:
        """Scale a filter count of the full network by `width` (at least 4)."""
        return max(4, round(count * self.width))


_KANG2017 = LsganSettings(
    z_distribution="normal",
    input_batch_norm=True,
    lr_generator=1e-4,
    lr_discriminator=1e-4,
    beta1=0.5,
    beta2=0.99,
    weight_decay=0.0,
    batch_size=16,
    epochs=30,
)

PRESETS: dict[str, LsganSettings] = {
    "paper": LsganSettings(),
    "kang2017": _KANG2017,
    # The networks of kang2017 with later training techniques; each can be set separately.
    "modern": replace(
        _KANG2017,
        # Two time scales (Heusel et al. 2017), with SAGAN's rates. With closer rates, the discriminator ends up at 0.5
        # for every picture, and the fakes show a grid pattern that it does not see.
        lr_generator=1e-4,
        lr_discriminator=4e-4,
        rates_by_width=True,  # Adam's steps do not shrink with the number of inputs (Yang et al. 2021)
        batch_size=32,
        epochs=55,
        joint_batches=True,
        smooth_upsampling=True,
        balanced=True,
        augment="color,translation,cutout",  # DiffAugment, Zhao et al. 2020
        augment_target=0.5,  # as in ADA, for its r_v (Karras et al. 2020)
        ema_half_life=10_000,  # as in StyleGAN2-ADA, for batches of 32 to 64
        ema_ramp=0.1,
        bf16=True,
        select="best",
    ),
}
