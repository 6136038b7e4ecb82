"""Compute FID and inception score with torch-fidelity, if the user has its weights; they are never downloaded.

These figures can be compared with published ones. FID of a few hundred pictures is far above its limit, so the number
of pictures is part of the figure's name.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.errors import InputError

_SPLITS = 10  # of the inception score (Salimans et al. 2016); fewer for fewer pictures


class _FidelityPictures(Dataset):
    """Pictures in torch-fidelity's format: uint8 [3, H, W] each."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        """Return one picture."""
        return torch.from_numpy(np.ascontiguousarray(self._pixels[index].transpose(2, 0, 1)))


def scores(fakes: np.ndarray, reals: np.ndarray, weights: str, device: torch.device) -> dict[str, float]:
    """Compute FID of fakes against reals, uint8 [n, H, W, 3] each, and the fakes' inception score, mean and sd.

    `weights` is the file of torch-fidelity's InceptionV3 (weights-inception-2015-12-05-6726825d.pth).

    Raises:
        InputError: the file or the package is missing; the message says how to get it.
    """
    if not Path(weights).is_file():
        raise InputError(
            f"inception_weights: {weights} is missing. It is the file weights-inception-2015-12-05-6726825d.pth of "
            "torch-fidelity's releases; without it leave ops.generator_evaluation.config.inception_weights empty."
        )
    try:
        from torch_fidelity import calculate_metrics  # ty: ignore[import-not-found]
    except ImportError as error:
        raise InputError(
            "inception_weights is set, but torch-fidelity is not installed: .venv/bin/uv pip install '.[fid]'."
        ) from error
    metrics = calculate_metrics(
        input1=_FidelityPictures(fakes),
        input2=_FidelityPictures(reals),
        isc=True,
        fid=True,
        isc_splits=min(_SPLITS, len(fakes)),
        feature_extractor_weights_path=str(weights),
        cuda=device.type == "cuda",
        save_cpu_ram=True,
        verbose=False,
    )
    n = len(fakes)
    return {
        f"fid_n{n}": float(metrics["frechet_inception_distance"]),
        f"inception_score_n{n}": float(metrics["inception_score_mean"]),
        f"inception_score_sd_n{n}": float(metrics["inception_score_std"]),
    }
