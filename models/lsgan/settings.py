"""Settings of the LSGAN and their presets: two published (REFERENCE, section 3) and our own."""

from dataclasses import dataclass, replace

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

    z_dim: int = 256  # numbers in a latent z
    z_distribution: str = "uniform"  # uniform: U(-1, 1); normal: N(0, 1)
    classes: int = 6  # number of garment classes, set by the data
    width: float = 1.0  # factor on every filter count; under 1 for machines without a GPU
    input_batch_norm: bool = False  # batch norm after the generator's linear layer, as in the released code

    lr_generator: float = 1e-5  # Adam's learning rate of the generator
    lr_discriminator: float = 1e-5  # Adam's learning rate of the discriminator
    rates_by_width: bool = False  # treat both rates as those of the full networks, and use rate / width
    beta1: float = 0.9  # Adam's decay of the mean gradient
    beta2: float = 0.999  # Adam's decay of the squared gradient
    weight_decay: float = 1e-5  # coupled L2, as Adam's `weight_decay`
    batch_size: int = 64  # pictures in a batch
    epochs: float = 55  # passes over the pictures
    steps: int | None = None  # number of steps; if given, it replaces `epochs`

    loss: str = "least_squares"  # least_squares; or relativistic: realism relative to the mean of the other side
    smooth_upsampling: bool = False  # start G's stride-2 layers as bilinear upsampling, and scale their updates alike
    spectral_norm: bool = False  # divide every weight of the discriminator by its largest singular value
    r1: float = 0.0  # weight of half the squared gradient of D at real pictures; 0 for none
    r1_every: int = 16  # steps between two such penalties; each is multiplied by this number
    joint_batches: bool = False  # D sees reals and fakes in one batch, or batch norm hides what all fakes share
    balanced: bool = False  # draw every class equally often, whatever its share of the pictures
    augment: str = ""  # DiffAugment policy, e.g. "color,translation,cutout"; "" for none
    augment_target: float | None = None  # adapt how often to augment so that D's overfitting is this; None: always
    augment_ramp: int = 100_000  # pictures within which adaptation can go from never to always
    watched_share: float = 0.05  # share of each class kept out of training to measure overfitting, if adaptive
    ema_half_life: float | None = None  # half-life of averaged weights in pictures; samples use them; None: no average
    ema_ramp: float = 0.05  # limits the half-life to this share of the pictures seen so far

    bf16: bool = False  # use bfloat16 where the processor supports it
    channels_last: bool = True  # keep weights and activations in channels_last memory order
    compile: bool = False  # torch.compile both networks: for a GPU; on a CPU, starting and running both got slower
    resident: bool = True  # keep the pictures on the device if they fit

    minimum_class: int = 32  # fewest pictures of a class; with fewer, training refuses to start
    tick_steps: int = 200  # steps between two ticks, which read the losses, save a checkpoint and draw pictures
    picture_ticks: int = 1  # ticks between two drawings of the fixed grid
    metric_ticks: int = 5  # ticks between two computations of the metric, if there is one; also at the end
    select: str = "last"  # checkpoint that becomes the finished generator: last, or best by the metric
    patience: int = 10  # consecutive ticks of a vanished D loss, or of identical fakes, that end the run
    vanished_loss: float = 1e-5  # below this mean D loss, D has won and G learns nothing
    alike_spread: float = 0.002  # fakes are identical below this mean sd of a pixel on [-1, 1] (a quarter grey level)
    grid_columns: int = 8  # pictures of each class in the fixed grid
    seed: int = 0  # seed of the initial weights, the batches and the latents

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
