"""The prior of each class: where its pictures' codes lie, fitted when training has ended and folded into G.

Training pulls codes towards N(0, I), but weakly; a Gaussian fitted to each class's codes covers them. With
code = factor_c z + mean_c, the generator is again driven by z ~ N(0, I).
"""

import torch
from torch import Tensor, nn


class Prior(nn.Module):
    """A Gaussian of codes for each class, as a mean and a lower triangular factor; N(0, I) until it is fitted."""

    mean: Tensor  # [classes, z_dim]
    factor: Tensor  # [classes, z_dim, z_dim]

    def __init__(self, classes: int, z_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(classes, z_dim))
        self.register_buffer("factor", torch.eye(z_dim).repeat(classes, 1, 1))

    def code(self, z: Tensor, labels: Tensor) -> Tensor:
        """Convert z ~ N(0, I) [B, z_dim] of classes int64 [B] to codes [B, z_dim]."""
        return torch.einsum("bij,bj->bi", self.factor[labels], z.float()) + self.mean[labels]

    def latent(self, code: Tensor, labels: Tensor) -> Tensor:
        """Convert codes [B, z_dim] to the z whose code they are: the inverse of `code`."""
        apart = (code.float() - self.mean[labels]).unsqueeze(2)
        return torch.linalg.solve_triangular(self.factor[labels], apart, upper=False).squeeze(2)

    @torch.no_grad()
    def fit(self, means: Tensor, variances: Tensor, labels: Tensor) -> None:
        """Fit to the posteriors of pictures: means and variances [N, z_dim], labels int64 [N]; every class has one.

        The covariance of a class is that of its means, plus its mean posterior variance on the diagonal, which also
        makes it regular for a class with few pictures.
        """
        means, variances, labels = means.double().cpu(), variances.double().cpu(), labels.cpu()
        for c in range(len(self.mean)):
            of_class = labels == c
            mean = means[of_class].mean(dim=0)
            apart = means[of_class] - mean
            covariance = apart.T @ apart / len(apart) + torch.diag(variances[of_class].mean(dim=0))
            self.mean[c].copy_(mean)
            self.factor[c].copy_(torch.linalg.cholesky(covariance))
