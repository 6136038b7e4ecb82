"""The score of a picture by `modern`, differentiable: trunk, then model."""

from torch import Tensor, nn

from models.modern.model import Modern


class PhiOfPictures(nn.Module):
    """Map pictures [B, 3, S, S] in [-1, 1] to what theta scores [B, K + 1], through the trunk."""

    def __init__(self, trunk: nn.Module, model: Modern) -> None:
        super().__init__()
        self.trunk, self.model = trunk, model

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, K + 1]."""
        return self.model.looks_of(self.trunk(pictures))
