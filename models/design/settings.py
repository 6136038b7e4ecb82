"""The knobs of preference maximisation, and the ways to turn them: two published (REFERENCE.md, section 4), one ours.

Values only: what a knob does is said here, done in `preference.py`.
"""

from dataclasses import dataclass

OBJECTIVES = ("score", "distinct")


@dataclass(frozen=True)
class DesignSettings:
    """The knobs of the search. Whether tanh keeps z in [-1, 1] is the generator's: where it learnt from U(-1, 1)."""

    objective: str = "score"  # theta . Phi, the paper's; or distinct: what the user wants more than others do
    references: int = 64  # of distinct: how many others, none of them a judge of the finished design
    eta: float = 1.0  # weight of realism against preference
    lr: float = 0.05  # Adam's, on z only
    steps: int = 10  # of the ascent
    starts: int = 16  # latents that the search of a user and class begins from
    best: int = 3  # designs kept of each user and class, those of the highest objective (the paper shows 3)
    start_sd: float = 0.5  # z ~ N(0, 0.5): nearer the middle than what the generator was trained on
    every_step: bool = True  # pictures of every step; otherwise of the first and the last only
    approximation_steps: int = 200  # of the search for the z nearest to a product
    approximation_starts: int = 4  # latents that this search begins from
    approximation_lr: float = 0.05  # of that search
    rows_at_once: int = 256  # latents in one pass; bounds the memory, changes nothing else
    bf16: bool = True  # autocast in the search, on CUDA only; what is shown is scored in float32
    seed: int = 0  # of the latents

    def __post_init__(self) -> None:
        """Raise ValueError naming the field that makes no sense."""
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}; it must be one of {', '.join(OBJECTIVES)}")
        whole = ("references", "steps", "starts", "best", "approximation_steps", "approximation_starts", "rows_at_once")
        for name in whole:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr", "start_sd", "approximation_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.eta < 0:
            raise ValueError(f"eta is {self.eta}; it must not be negative")


PRESETS: dict[str, DesignSettings] = {
    "paper": DesignSettings(starts=64),  # the paper's 64 starts; the released code's 16
    "kang2017": DesignSettings(),
    "modern": DesignSettings(objective="distinct", steps=30, lr=0.1),
}
