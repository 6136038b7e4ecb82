"""The generator as MLflow serves it: rows of (class number, z) checked, then drawn.

MLflow loads this file by itself from the folder that was registered (a `loader_module`), so it imports nothing of ours.
What lies behind it is MLflow's PyTorch format, written and read by `registered_generator.py`.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

ABOUT = "extra_files/about.json"


class ServedGenerator:
    """Draws a picture a row; refuses rows that the network would take and draw nonsense from."""

    def __init__(self, drawing: torch.nn.Module, about: dict[str, Any]):
        self._drawing, self._classes = drawing, list(about["classes"])

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """float32 [n, 1 + z_dim], of which MLflow's schema has checked the width, to uint8 [n, 64, 64, 3].

        Raises:
            MlflowException: a row cannot be drawn; says which and why (over HTTP: 400).
        """
        given = np.asarray(rows, np.float32)
        if not len(given):
            raise _refused("the request has no row: send rows of a class number and z (docs/serving.md)")
        for number, row in enumerate(given):
            if not np.isfinite(row).all():
                at = int(np.flatnonzero(~np.isfinite(row))[0])
                what = "class" if at == 0 else f"z[{at - 1}]"
                raise _refused(f"row {number}: {what}={row[at]}: missing, null or no finite number")
            if not row[0].is_integer() or not 0 <= row[0] < len(self._classes):
                there = ", ".join(f"{n} {name}" for n, name in enumerate(self._classes))
                raise _refused(f"row {number}: class={row[0]:g}: no class's number; there are: {there}")
        with torch.no_grad():
            return self._drawing(torch.from_numpy(given)).numpy()


def _refused(why: str) -> MlflowException:
    return MlflowException(why, error_code=INVALID_PARAMETER_VALUE)


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ServedGenerator:
    """MLflow's way in: `path` is the data folder of its PyTorch format."""
    folder = Path(path).parent
    return ServedGenerator(mlflow.pytorch.load_model(str(folder)), json.loads((folder / ABOUT).read_text()))
