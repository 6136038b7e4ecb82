"""Settings of preference maximisation and their presets: two published (docs/method.md), one ours."""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

OBJECTIVES = ("score", "distinct")


@dataclass(frozen=True)
class DesignSettings:
    """Settings of the search. z is kept in [-1, 1] by tanh if the generator was trained on U(-1, 1)."""

    objective: Annotated[
        str, Doc("score: theta . Phi, as in the paper; distinct: what the user wants more than others do.")
    ] = "score"
    references: Annotated[int, Doc("Users that distinct compares with; none of them scores the finished design.")] = 64
    eta: Annotated[float, Doc("Weight of realism against preference, 0 or more.")] = 1.0
    lr: Annotated[float, Doc("Adam's learning rate, on z only.")] = 0.05
    steps: Annotated[int, Doc("Steps of the ascent.")] = 10
    starts: Annotated[int, Doc("Random latents to start from, for each user and class.")] = 16
    best: Annotated[int, Doc("Designs kept for each user and class, highest objective first (the paper shows 3).")] = 3
    start_sd: Annotated[float, Doc("Standard deviation of the starts: closer to 0 than training latents.")] = 0.5
    every_step: Annotated[bool, Doc("Keep pictures of every step; otherwise only of the first and the last.")] = True
    approximation_steps: Annotated[int, Doc("Steps of the search for the z nearest to a product.")] = 200
    approximation_starts: Annotated[int, Doc("Latents that this search starts from.")] = 4
    approximation_lr: Annotated[float, Doc("Adam's learning rate of this search.")] = 0.05
    rows_at_once: Annotated[int, Doc("Latents in one pass; limits the memory and changes nothing else.")] = 256
    bf16: Annotated[bool, Doc("Use bfloat16 in the search, on CUDA only; shown pictures are scored in float32.")] = True
    seed: Annotated[int, Doc("Seed of the latents.")] = 0

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
