"""The pretrained network that computes the features, for when `modern` also trains its last layers, from pixels.

The caller passes the network in; nothing here may know which one it is or where its weights come from.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.data.augment import diff_augment
from models.data.dataset import Dataset
from models.data.pictures import Pictures, squashed

_CHECKED = 8  # pictures to embed when checking that given features come from the trunk
_EMBED = 64  # pictures at a time when embedding without gradients


@dataclass(frozen=True, eq=False)
class Trunk:
    """A network from pictures [B, 3, size, size] in [-1, 1] to features [B, F]. Only copies of it are ever trained."""

    network: nn.Module
    size: int  # side of the input, in pixels

    def digest(self) -> str:
        """Compute the sha256 of its weights and its input size."""
        digest = hashlib.sha256(f"{self.size} ".encode())
        for name, value in self.network.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class Pixels:
    """The pictures of a data set and a copy of the trunk whose last layers are trained on them.

    Batch norms stay in eval mode and their scales stay frozen, because small batches would make both drift.
    """

    def __init__(self, trunk: Trunk, layers: int, augment: str, data: Dataset, device: torch.device) -> None:
        """Train the last `layers` of the layers with a matrix or a kernel."""
        self.network = copy.deepcopy(trunk.network).to(device).eval().requires_grad_(False)
        trainable = [
            name
            for name, module in self.network.named_modules()
            if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.ndim > 1
        ]
        for name in trainable[max(len(trainable) - layers, 0) :]:
            self.network.get_submodule(name).requires_grad_(True)
        self.augment, self.size = augment, trunk.size
        self.pictures = Pictures(data.bank, data.bank_row, data.bank.shape[1], device)

    def learning(self) -> dict[str, nn.Parameter]:
        """Return the trainable weights by name."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    def weights(self) -> dict[str, Tensor]:
        """Return the current values of the trainable weights by name."""
        return {name: weight.detach() for name, weight in self.learning().items()}

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Set the trainable weights to values that `weights()` returned."""
        for name, value in self.learning().items():
            value.copy_(weights[name])

    def features(self, picture: Tensor) -> Tensor:
        """Compute features [n, F] of image numbers [n], with augmentation; gradients reach the trainable layers."""
        pixels = next(iter(self.pictures.batches(picture, len(picture))))
        changed = diff_augment(squashed(pixels, self.size), self.augment)
        return self.network(changed.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def embedded(self, images: int | None = None) -> np.ndarray:
        """Compute features of the first `images` pictures, or of all, without augmentation: [images, F] float32."""
        rows = np.arange(len(self.pictures) if images is None else images)
        batches = self.pictures.batches(rows, _EMBED)
        features = [self.network(squashed(pixels, self.size)).float() for pixels in batches]
        return torch.cat(features).cpu().numpy()

    def check(self, features: np.ndarray) -> None:
        """Raise ValueError unless the trunk computes these `features` [images, F] for the pictures."""
        given = features[:_CHECKED].astype(np.float32)
        own = self.embedded(len(given))
        off = float(np.linalg.norm(own - given) / max(np.linalg.norm(given), 1e-12)) if own.shape == given.shape else 1
        if not off < 0.01:  # another device or precision changes the last bits
            raise ValueError(
                f"the trunk makes other features of these pictures than the given ones ({own.shape[1]} and "
                f"{given.shape[1]} of each, off by {off:.0%}): pass the trunk, and the size, that made them"
            )


def retrained(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Copy a trunk and set the weights that training changed; ValueError if they belong to another trunk."""
    own = dict(network.named_parameters())
    wrong = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise ValueError(
            f"the model was trained with another trunk: {', '.join(wrong[:4])} not there, or of another shape"
        )
    trained = copy.deepcopy(network)
    with torch.no_grad():
        for name, value in weights.items():
            trained.get_parameter(name).copy_(value)
    return trained
