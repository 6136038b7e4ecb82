"""The knobs of BPR-MF and VBPR, and what a search may turn of them.

Values only: the models, and the small grid that every training of theirs goes through, are in `bpr.py`.
"""

from dataclasses import dataclass

from models.training.search import Choice, Space, Span


@dataclass(frozen=True)
class BprSettings:
    """How BPR-MF and VBPR are trained. What `GRID` varies is tuned; the rest is set. ValueError names the field."""

    k: int = 64  # latent factors, and in VBPR as many visual ones
    learning_rate: float = 0.001  # BPR-MF's is MF_RATE times that
    regularisation: float = 0.01  # L2 on the rows of the batch, as a mean over it
    item_bias: bool = True  # that some items sell, whoever looks
    visual_bias: bool = True  # VBPR's beta'
    id_factors: bool = True  # gamma of users and items: without them and the item bias a cold item is like any other
    batch_size: int = 128  # triplets; larger batches gave a worse VBPR on validation
    max_epochs: int = 60  # an epoch: as many triplets as train interactions
    patience: int = 6  # evaluations without a better validation AUC, which may fall before it rises
    evaluate_every: int = 1  # epochs
    seed: int = 0  # of the first weights and the triplets

    def __post_init__(self) -> None:
        for name in ("k", "batch_size", "max_epochs", "patience", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"BprSettings.{name}={getattr(self, name)}; it must be at least 1")
        if self.learning_rate <= 0 or self.regularisation < 0:
            raise ValueError(
                f"BprSettings: learning_rate={self.learning_rate} must be above 0, "
                f"regularisation={self.regularisation} 0 or more"
            )


# For a wider search around that: what the grid varies is tuned inside every trial, so it does not stand here.
MF_SPACE: Space = {"k": Choice((8, 16, 32, 64, 128)), "learning_rate": Span(1e-4, 5e-3, log=True)}
VBPR_SPACE: Space = {**MF_SPACE, "visual_bias": Choice((True, False))}
