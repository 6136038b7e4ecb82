"""The LSGAN's knobs, and the ways to turn them: two published (REFERENCE, section 3) and our own.

Values only: what a knob does is said here, done in `lsgan.py` and `train_lsgan.py`.
"""

from dataclasses import dataclass, replace

from models.data.augment_policy import check_policy

Z_DISTRIBUTIONS = ("uniform", "normal")
LOSSES = ("least_squares", "relativistic")
SELECTIONS = ("last", "best")
# What a resumed run may change: how long it goes on, when it reports, where its pictures lie. All else would make it
# another run.
MAY_CHANGE = (
    "epochs", "steps", "tick_steps", "picture_ticks", "metric_ticks", "select", "patience", "vanished_loss",
    "alike_spread", "resident",
)  # fmt: skip


@dataclass(frozen=True)
class LsganSettings:
    """Every knob of the networks and their training; the defaults are the `paper` preset."""

    z_dim: int = 256  # numbers in a latent z
    z_distribution: str = "uniform"  # uniform: U(-1, 1); normal: N(0, 1)
    classes: int = 6  # of garments; the data decides
    width: float = 1.0  # multiplies every filter count; under 1 for machines without a GPU
    input_batch_norm: bool = False  # after the generator's linear layer: the released code has it, the paper not

    lr_generator: float = 1e-5  # Adam's
    lr_discriminator: float = 1e-5  # Adam's
    rates_by_width: bool = False  # the two are the full networks' rates; narrowed ones learn at rate / width
    beta1: float = 0.9  # Adam's decay of the mean gradient
    beta2: float = 0.999  # Adam's decay of the squared gradient
    weight_decay: float = 1e-5  # coupled L2, as Adam's `weight_decay`
    batch_size: int = 64  # pictures
    epochs: float = 55  # passes over the pictures
    steps: int | None = None  # when given, the length of the run instead of `epochs`

    loss: str = "least_squares"  # or relativistic: realism against the other side's mean (no absolute realism then)
    smooth_upsampling: bool = False  # G's stride-2 layers start as bilinear upsampling and learn in its proportions
    spectral_norm: bool = False  # every weight of the discriminator divided by its largest singular value
    r1: float = 0.0  # weight of the squared gradient of D at real pictures, halved; 0 for none
    r1_every: int = 16  # steps between two such penalties, each counted so many times
    joint_batches: bool = False  # reals and fakes in one batch of D: apart, batch norm hides what all fakes share
    balanced: bool = False  # every class equally often in a batch, whatever its share of the pictures
    augment: str = ""  # DiffAugment policy, e.g. "color,translation,cutout"; "" for none
    augment_target: float | None = None  # augment only as often as keeps D's overfit share at this; None: always
    augment_ramp: int = 100_000  # pictures in which that often can go from never to always
    watched_share: float = 0.05  # of each class, kept from training to see the overfit share; with a target only
    ema_half_life: float | None = None  # in pictures; samples then come from the averaged weights
    ema_ramp: float = 0.05  # of the pictures seen so far: the half-life while that is shorter

    bf16: bool = False  # autocast, where the processor computes in bfloat16
    channels_last: bool = True  # how weights and activations lie in memory
    compile: bool = False  # torch.compile both networks: for a GPU; on a CPU it took longer to run as well as to start
    resident: bool = True  # the pictures on the device, when they fit

    minimum_class: int = 32  # a class with fewer pictures is refused
    tick_steps: int = 200  # upkeep (losses read, checkpoint, pictures) comes every so many steps
    picture_ticks: int = 1  # the fixed grid is drawn every so many ticks
    metric_ticks: int = 5  # the metric, where one is given, is taken every so many ticks and at the end
    select: str = "last"  # which checkpoint is the finished generator: last, or best by the metric
    patience: int = 10  # ticks in a row of a vanished D loss, or of identical fakes, that end the run
    vanished_loss: float = 1e-5  # a mean D loss under this says that D has won and G learns nothing
    alike_spread: float = 0.002  # mean sd over the fixed grid of a pixel, on [-1, 1] (a quarter of a grey level)
    grid_columns: int = 8  # pictures a class in the fixed grid
    seed: int = 0  # of the first weights, batches and latents

    def __post_init__(self) -> None:
        """Raise ValueError naming the field that makes no sense."""
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
        for wrong, said in (
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
                raise ValueError(said)
        check_policy(self.augment)

    def rate(self, rate: float) -> float:
        """A learning rate of the full network, as it holds at this width."""
        return rate / self.width if self.rates_by_width else rate

    @property
    def adaptive(self) -> bool:
        """Whether pictures are changed only as often as the discriminator overfits."""
        return bool(self.augment) and self.augment_target is not None

    def filters(self, count: int) -> int:
        """A filter count of the full network, scaled by `width` (at least 4)."""
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
    # The networks of kang2017, and what was learnt about training since; each switch can be set apart.
    "modern": replace(
        _KANG2017,
        # Two time scales (Heusel et al. 2017), at SAGAN's rates. With nearer ones the discriminator ends at a half for
        # everything, and fakes under a lattice that it does not see.
        lr_generator=1e-4,
        lr_discriminator=4e-4,
        rates_by_width=True,  # Adam's steps do not shrink with the number of inputs: Yang et al. 2021
        batch_size=32,
        epochs=55,
        joint_batches=True,
        smooth_upsampling=True,
        balanced=True,
        augment="color,translation,cutout",  # DiffAugment, Zhao et al. 2020
        augment_target=0.5,  # ADA's for its r_v, Karras et al. 2020
        ema_half_life=10_000,  # StyleGAN2-ADA's for batches of 32 to 64
        ema_ramp=0.1,
        bf16=True,
        select="best",
    ),
}
