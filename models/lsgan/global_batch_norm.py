"""Batch norm over the pictures of all ranks, so that a batch's statistics do not depend on the number of ranks.

torch's SyncBatchNorm works only on CUDA and cannot be differentiated twice, which a gradient penalty needs. This one
uses differentiable sums and works on any device. A single rank keeps `nn.BatchNorm2d`.
"""

import torch
from torch import Tensor, nn

from models.training.ranks import Ranks


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batches of all ranks, which must have equally many pictures; with the same state.

    Computes in float32 for any input type, as torch's does under autocast. The variance is computed from deviations, in
    a second exchange, because a difference of sums loses precision.
    """

    def __init__(self, like: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(like.num_features, eps=like.eps, momentum=like.momentum)
        self.ranks = ranks
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked

    def forward(self, input: Tensor) -> Tensor:
        """Normalise this rank's [B, C, H, W]; in eval mode exactly as `nn.BatchNorm2d`."""
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None and self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None
        values = input.float()
        count = values.numel() // values.shape[1] * self.ranks.count
        mean = self.ranks.sum(values.sum((0, 2, 3))) / count
        deviations = values - mean[:, None, None]
        variance = self.ranks.sum(deviations.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (deviations * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


def over_ranks(network: nn.Module, ranks: Ranks) -> None:
    """Replace every batch norm of `network` by a global one with the same parameters and statistics.

    Does nothing for a single rank.
    """
    if ranks.alone:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, GlobalBatchNorm2d(child, ranks))
