"""Settings of BPR-MF and VBPR, and the spaces that a hyperparameter search draws them from."""

from dataclasses import dataclass

from models.training.search import Choice, Space, Span


@dataclass(frozen=True)
class BprSettings:
    """Settings of BPR-MF and VBPR. The grid's values are tuned, the others are fixed. ValueError names the field."""

    k: int = 64  # latent factors; VBPR has as many visual ones
    learning_rate: float = 0.001  # learning rate of VBPR; BPR-MF uses MF_RATE times as much
    regularisation: float = 0.01  # L2 on the rows used by the batch, averaged over the batch
    item_bias: bool = True  # give each item a bias, since some items sell to everybody
    visual_bias: bool = True  # give VBPR its visual bias beta'
    id_factors: bool = True  # learn factors gamma by id; without them and the item bias, cold items are like warm ones
    batch_size: int = 128  # triplets in a batch; larger batches gave a worse VBPR on validation
    max_epochs: int = 60  # an epoch has as many triplets as there are train interactions
    patience: int = 6  # evaluations without a better validation AUC before stopping; the AUC may fall before it rises
    evaluate_every: int = 1  # epochs between evaluations
    seed: int = 0  # seed of the initial weights and the triplets

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
