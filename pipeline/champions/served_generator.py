"""Serve the generator through MLflow: check rows of (class number, z), then draw them.

MLflow loads this file alone from the registered folder (as a `loader_module`): never import this project's packages
here. `registered_generator.py` writes the folder.
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
    """Draws one picture per row; refuses invalid rows, from which the network would draw nonsense."""

    def __init__(self, network: torch.nn.Module, about: dict[str, Any]):
        self._network, self._classes = network, list(about["classes"])

    def predict(self, rows: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Draw float32 [n, 1 + z_dim], whose width MLflow's schema has checked, as uint8 [n, 64, 64, 3].

        Raises:
            MlflowException: a row is invalid; the message names it and the reason (over HTTP: 400).
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
                known = ", ".join(f"{n} {name}" for n, name in enumerate(self._classes))
                raise _refused(f"row {number}: class={row[0]:g}: not a class number; there are: {known}")
        with torch.no_grad():
            return self._network(torch.from_numpy(given)).numpy()


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> ServedGenerator:
    """Load the model; MLflow calls this with the data folder of its PyTorch format."""
    folder = Path(path).parent
    return ServedGenerator(mlflow.pytorch.load_model(str(folder)), json.loads((folder / ABOUT).read_text()))
