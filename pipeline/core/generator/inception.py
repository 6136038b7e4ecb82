"""FID and inception score, for those who have the weights: through torch-fidelity, never required, never downloaded.

Figures that can be held against published ones; on a few hundred pictures FID is far above its limit, so the number of
pictures stands in the name. Everything else rests on features whose weights come in a package (`features.py`).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.core.raw.sources import BadInput

_SPLITS = 10  # of the inception score (Salimans et al. 2016), as far as there are pictures


class _Pictures(Dataset):
    """Pictures as torch-fidelity asks for them: uint8 [3, H, W] one by one."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        """How many."""
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        """One picture."""
        return torch.from_numpy(np.ascontiguousarray(self._pixels[index].transpose(2, 0, 1)))


def scores(fakes: np.ndarray, reals: np.ndarray, weights: str, device: torch.device) -> dict[str, float]:
    """FID of fakes against reals, uint8 [n, H, W, 3] each, and the inception score of fakes with its sd over splits.

    `weights` is the file of torch-fidelity's InceptionV3 (weights-inception-2015-12-05-6726825d.pth).

    Raises:
        BadInput: the file or the package is missing; says how to get it.
    """
    if not Path(weights).is_file():
        raise BadInput(
            f"inception_weights: {weights} is missing. It is the file weights-inception-2015-12-05-6726825d.pth of "
            "torch-fidelity's releases; without it leave ops.generator_evaluation.config.inception_weights empty."
        )
    try:
        from torch_fidelity import calculate_metrics  # ty: ignore[import-not-found]
    except ImportError as error:
        raise BadInput(
            "inception_weights is set, but torch-fidelity is not installed: .venv/bin/uv pip install '.[fid]'."
        ) from error
    found = calculate_metrics(
        input1=_Pictures(fakes),
        input2=_Pictures(reals),
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
        f"fid_n{n}": float(found["frechet_inception_distance"]),
        f"inception_score_n{n}": float(found["inception_score_mean"]),
        f"inception_score_sd_n{n}": float(found["inception_score_std"]),
    }
