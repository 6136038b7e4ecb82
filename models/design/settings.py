"""Settings of preference maximisation and their presets: two published (REFERENCE.md, section 4), one ours."""

from dataclasses import dataclass

OBJECTIVES = ("score", "distinct")


@dataclass(frozen=True)
class DesignSettings:
    """Settings of the search. z is kept in [-1, 1] by tanh if the generator was trained on U(-1, 1)."""

    objective: str = "score"  # score: theta . Phi, as in the paper; distinct: what the user wants more than others do
    references: int = 64  # users that `distinct` compares with; none of them judges the finished design
    eta: float = 1.0  # weight of realism against preference
    lr: float = 0.05  # Adam's learning rate, on z only
    steps: int = 10  # steps of the ascent
    starts: int = 16  # random latents to start from, for each user and class
    best: int = 3  # designs kept for each user and class, those with the highest objective (the paper shows 3)
    start_sd: float = 0.5  # z ~ N(0, 0.5), closer to 0 than the generator's training latents
    every_step: bool = True  # keep pictures of every step; otherwise only of the first and the last
    approximation_steps: int = 200  # steps of the search for the z nearest to a product
    approximation_starts: int = 4  # latents that this search starts from
    approximation_lr: float = 0.05  # learning rate of this search
    rows_at_once: int = 256  # latents in one pass; limits the memory and changes nothing else
    bf16: bool = True  # use bfloat16 in the search, on CUDA only; pictures that are shown are scored in float32
    seed: int = 0  # seed of the latents

    def __post_init__(self) -> None:
        """Raise ValueError naming the invalid field."""
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
    "paper": DesignSettings(starts=64),  # the paper uses 64 starts, the released code 16
    "kang2017": DesignSettings(),
    "modern": DesignSettings(objective="distinct", steps=30, lr=0.1),
}
