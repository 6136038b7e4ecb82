"""DVBPR's objective: what is minimised, over which parameters, by which optimiser (K17, section III).

The network is `cnnf.py`; how batches come and what happens between the steps is `train_dvbpr.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dvbpr.cnnf import CNNF


def initial_theta(users: int, k: int, generator: torch.Generator | None = None) -> nn.Parameter:
    """The users' latent factors before training: U(0, 1) / 100 (K17's code), [users, k]."""
    return nn.Parameter(torch.rand(users, k, generator=generator) / 100)


def score(theta: Tensor, phi: Tensor) -> Tensor:
    """x_ui = theta_u . Phi(X_i), row by row: [B, k] with [B, k] to [B] (K17, equation 4: no biases)."""
    if theta.shape != phi.shape:  # (B, 1) and (B,) would broadcast to (B, B) without a word
        raise ValueError(f"theta {tuple(theta.shape)} and phi {tuple(phi.shape)} must have one shape")
    return (theta * phi).sum(-1)


def loss(theta: Tensor, positive: Tensor, negative: Tensor, theta_decay: float) -> Tensor:
    """The batch's loss without the network's weight decay, which is the optimiser's: a scalar, a sum, not a mean.

    - sum ln sigmoid(theta_u . (Phi_i - Phi_j)) + theta_decay * sum ||theta_u||^2 / 2, the second sum over the
    batch as well, so that a user who occurs twice is regularised twice (K17's code; REFERENCE section 2).

    `theta` [B, k], the rows of the batch's users; `positive` [B, k]; `negative` [B, negatives, k]. Several
    negatives of one positive weigh one triplet together (their mean). ValueError when the shapes do not fit.
    """
    batch, k = theta.shape
    if positive.shape != (batch, k) or negative.ndim != 3 or (negative.shape[0], negative.shape[2]) != (batch, k):
        raise ValueError(
            f"theta {tuple(theta.shape)}, positive {tuple(positive.shape)} and negative {tuple(negative.shape)} "
            "do not fit; they must be [B, k], [B, k] and [B, negatives, k]"
        )
    difference = (theta[:, None] * (positive[:, None] - negative)).sum(-1)  # [B, negatives]
    ranking = -F.logsigmoid(difference).mean(1).sum()
    return ranking + 0.5 * theta_decay * theta.pow(2).sum()


def optimiser(
    cnn: CNNF,
    theta: nn.Parameter,
    *,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> torch.optim.Adam:
    """Adam over everything, with coupled L2 on the eight weight tensors alone.

    `weight_decay` in Adam (not AdamW) adds weight_decay * W to the gradient, which is the gradient of K17's
    weight_decay * ||W||^2 / 2. Theta is dense, as TF1's Adam on a gathered theta is: every row's moments decay at
    every step. (TF1 adds eps before the bias correction, torch after; at eps 1e-8 no figure of ours can tell.)
    """
    groups = [
        {"params": cnn.weights(), "weight_decay": weight_decay},
        {"params": cnn.biases(), "weight_decay": 0.0},
        {"params": [theta], "weight_decay": 0.0},
    ]
    fused = theta.device.type in ("cuda", "cpu")  # one pass over the 70 M weights; the same arithmetic
    return torch.optim.Adam(groups, lr=learning_rate, betas=betas, eps=eps, fused=fused)
