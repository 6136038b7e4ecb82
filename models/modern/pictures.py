"""The Phi of `modern` as a differentiable function of a picture: trunk, then model."""

from torch import Tensor, nn

from models.modern.model import ModernNetwork


class PhiOfPictures(nn.Module):
    """Phi of pictures: [B, 3, S, S] in [-1, 1] to [B, K + 1], through the trunk."""

    def __init__(self, trunk: nn.Module, model: ModernNetwork) -> None:
        super().__init__()
        self.trunk, self.model = trunk, model

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute Phi of pictures: [B, K + 1]."""
        return self.model.looks_of(self.trunk(pictures))
