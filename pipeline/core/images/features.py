"""Compute features of pictures with a frozen network; which one, and its weights, belong in `trunks.py`.

`models/` gets the network as a callable, or its output as an array.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from models.data.pictures import squashed
from pipeline.core.images import trunks
from pipeline.core.images.bank import Bank
from pipeline.core.shards import HERE, Runner, shard_size

DIMENSIONS = 1280  # of EfficientNet-Lite0
NAME = trunks.NAME  # part of the name of every metric that uses its features


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
    trunk: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Compute the features of pictures.

    Args:
        pictures: uint8 [N, H, W, 3], an array or a memory map.
        rows: which pictures, in which order; None: all.
        size: side in pixels of the network's input; pictures of another size are resized bilinearly.
        device: where to compute.
        batch: pictures at a time; None: chosen by `size`.
        trunk: file of the network; None: EfficientNet-Lite0.
        on_progress: called with (done, total).

    Returns:
        float32 [n, F]; F is 1280 for EfficientNet-Lite0.
    """
    picked = np.arange(len(pictures)) if rows is None else np.asarray(rows)
    network = trunks.load(trunk, torch.device(device))
    batch = batch or _batch(size)
    features = np.empty((len(picked), width(trunk, size, device)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(picked), batch):
            chunk = np.ascontiguousarray(pictures[picked[start : start + batch]])
            # Pixels are scaled to [-1, 1] as in TensorFlow, because these weights were trained so.
            x = squashed(torch.from_numpy(chunk).to(device), size)
            features[start : start + len(chunk)] = network(x).cpu().numpy()
            if on_progress is not None:
                on_progress(start + len(chunk), len(picked))
    return features


def width(trunk: Path | None, size: int, device: str | torch.device = "cpu") -> int:
    """Return the number of features of a picture."""
    if trunk is None:
        return DIMENSIONS
    blank = torch.zeros(1, 3, size, size, device=device)
    with torch.inference_mode():
        return trunks.load(trunk, torch.device(device))(blank).shape[1]


def embed_bank(
    bank: Bank,
    *,
    size: int = 224,
    device: str | torch.device = "cpu",
    runner: Runner = HERE,
    trunk: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Compute the features of the bank's pictures, float32 [rows, F]; arguments as in `embed`.

    Shards are whole batches, so that the batches are the same for any number of workers.
    """
    gpu = torch.device(device).type == "cuda"
    workers = runner.workers(gpu=gpu)
    if workers == 1:
        return embed(bank.pixels, size=size, device=device, trunk=trunk, on_progress=on_progress)
    count = len(bank.pixels)
    step = shard_size(count, workers, least=_batch(size), most=4096)
    shards = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    features, done = np.empty((count, width(trunk, size)), np.float32), 0
    parts = runner.map(embed_rows, shards, bank.pixels_path, size, str(device), trunk, gpu=gpu)
    for rows, of_rows in zip(shards, parts, strict=True):
        features[rows] = of_rows
        done += len(of_rows)
        if on_progress is not None:
            on_progress(done, count)
    return features


def embed_rows(rows: slice, path: Path, size: int, device: str, trunk: Path | None = None) -> np.ndarray:
    """Compute the features of these rows of a file of pictures."""
    return embed(np.load(path, mmap_mode="r"), np.arange(rows.start, rows.stop), size=size, device=device, trunk=trunk)
