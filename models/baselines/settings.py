"""Settings of BPR-MF and VBPR, and the spaces that a hyperparameter search draws them from."""

from dataclasses import dataclass
from typing import Annotated

from typing_extensions import Doc

from models.training.search import Choice, Space, Span


@dataclass(frozen=True)
class BprSettings:
    """Settings of BPR-MF and VBPR. The grid's values are tuned, the others are fixed. ValueError names the field."""

    k: Annotated[int, Doc("Latent factors; VBPR has as many visual ones.")] = 64
    learning_rate: Annotated[float, Doc("Learning rate of VBPR; BPR-MF uses MF_RATE times as much.")] = 0.001
    regularisation: Annotated[float, Doc("L2 on the rows used by a batch, averaged over the batch.")] = 0.01
    item_bias: Annotated[bool, Doc("Give each item a bias, since some items sell to everybody.")] = True
    visual_bias: Annotated[bool, Doc("Give VBPR its visual bias beta'.")] = True
    id_factors: Annotated[
        bool, Doc("Learn factors gamma by id; without them and item_bias, cold items equal warm ones.")
    ] = True
    batch_size: Annotated[int, Doc("Triplets per batch; larger batches gave a worse VBPR on validation.")] = 128
    max_epochs: Annotated[int, Doc("Maximum number of epochs, each of as many triplets as train interactions.")] = 60
    patience: Annotated[int, Doc("Evaluations not better on validation before stopping; it may fall first.")] = 6
    evaluate_every: Annotated[int, Doc("Epochs between evaluations.")] = 1
    seed: Annotated[int, Doc("Seed of the initial weights and the triplets.")] = 0

    def __post_init__(self) -> None:
        for name in ("k", "batch_size", "max_epochs", "patience", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"BprSettings.{name}={getattr(self, name)}; it must be at least 1")
        if self.learning_rate <= 0 or self.regularisation < 0:
            raise ValueError(
                f"BprSettings: learning_rate={self.learning_rate} must be above 0, "
                f"regularisation={self.regularisation} 0 or more"
            )


# For a wider search around the grid. Values that the grid varies are tuned inside every trial, so they are not listed.
MF_SPACE: Space = {"k": Choice((8, 16, 32, 64, 128)), "learning_rate": Span(1e-4, 5e-3, log=True)}
VBPR_SPACE: Space = {**MF_SPACE, "visual_bias": Choice((True, False))}
