"""The pretrained network behind the features, when `modern` trains it too: its last layers, from pixels.

The network is handed in: nothing here knows which one it is or where its weights come from. How long it is trained
is the business of `train_modern.py`.
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

_CHECKED = 8  # pictures that a trunk is asked for to see that the features are its own
_EMBED = 64  # pictures at a time where nothing is learned


@dataclass(frozen=True, eq=False)
class Trunk:
    """Pictures [B, 3, size, size] in [-1, 1] to features [B, F]. The network is never changed, copies of it are."""

    network: nn.Module
    size: int  # pixels a side

    def digest(self) -> str:
        """sha256 of what it does: its weights, and the size it sees."""
        digest = hashlib.sha256(f"{self.size} ".encode())
        for name, value in self.network.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class Pixels:
    """A data set's pictures through a trunk of its own, of which the last layers learn.

    Batch norms stay in eval mode, statistics and scales alike: a shop's small batches would make both drift.
    """

    def __init__(self, trunk: Trunk, layers: int, augment: str, data: Dataset, device: torch.device) -> None:
        """`layers`: how many learn, counted from the end among those that have a matrix or a kernel."""
        self.network = copy.deepcopy(trunk.network).to(device).eval().requires_grad_(False)
        found = [
            name
            for name, module in self.network.named_modules()
            if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.ndim > 1
        ]
        for name in found[max(len(found) - layers, 0) :]:
            self.network.get_submodule(name).requires_grad_(True)
        self.augment, self.size = augment, trunk.size
        self.pictures = Pictures(data.bank, data.bank_row, data.bank.shape[1], device)

    def learning(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name."""
        return {name: weight for name, weight in self.network.named_parameters() if weight.requires_grad}

    def weights(self) -> dict[str, Tensor]:
        """What they are now."""
        return {name: weight.detach() for name, weight in self.learning().items()}

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Be where `weights` were: what learns, as `weights()` gave it."""
        for name, value in self.learning().items():
            value.copy_(weights[name])

    def features(self, picture: Tensor) -> Tensor:
        """Features [n, F] of pictures [n], changed as `augment` says; gradients reach the layers that learn."""
        pixels = next(iter(self.pictures.batches(picture, len(picture))))
        changed = diff_augment(squashed(pixels, self.size), self.augment)
        return self.network(changed.contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def embedded(self, images: int | None = None) -> np.ndarray:
        """Features of the first `images` pictures, or of all, as they are: [images, F] float32."""
        rows = np.arange(len(self.pictures) if images is None else images)
        batches = self.pictures.batches(rows, _EMBED)
        found = [self.network(squashed(pixels, self.size)).float() for pixels in batches]
        return torch.cat(found).cpu().numpy()

    def check(self, features: np.ndarray) -> None:
        """Raise ValueError unless `features` [images, F] are what the trunk makes of the pictures."""
        given = features[:_CHECKED].astype(np.float32)
        own = self.embedded(len(given))
        off = float(np.linalg.norm(own - given) / max(np.linalg.norm(given), 1e-12)) if own.shape == given.shape else 1
        if not off < 0.01:  # another device or precision is another last bit
            raise ValueError(
                f"the trunk makes other features of these pictures than those that were given ({own.shape[1]} and "
                f"{given.shape[1]} of each, off by {off:.0%}): give the trunk, and the size, that made them"
            )


def retrained(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A copy of a trunk with the weights that training changed. ValueError where they are not of this trunk."""
    own = dict(network.named_parameters())
    wrong = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise ValueError(
            f"the model was trained with another trunk: {', '.join(wrong[:4])} not there, or of another shape"
        )
    made = copy.deepcopy(network)
    with torch.no_grad():
        for name, value in weights.items():
            made.get_parameter(name).copy_(value)
    return made
