"""Write a generator as a registered version in MLflow's PyTorch format, and read it back."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from models.data.pictures import to_pixels
from models.design.networks import AnyGenerator
from pipeline.champions.model_registry import pinned

if TYPE_CHECKING:
    from mlflow.models import Model

SERVED = Path(__file__).with_name("served_generator.py")
NEEDS = ("mlflow", "numpy", "torch")  # its imports, pinned to the versions that wrote it


class OneInputGenerator(nn.Module):
    """A generator with a single input, rows of (class number, z), as MLflow's PyTorch flavour requires."""

    def __init__(self, generator: AnyGenerator):
        super().__init__()
        self.generator = generator

    def forward(self, rows: Tensor) -> Tensor:
        """Draw float32 [n, 1 + z_dim] as pictures, uint8 [n, size, size, 3]."""
        return to_pixels(self.generator(rows[:, 1:], rows[:, 0].long()))


def write(generator: AnyGenerator, about: Path, out: Path, model: "Model") -> None:
    """Save a generator, in eval mode on the CPU, in MLflow's PyTorch format (torch.export), with the file `about`.

    Loaded as a pyfunc, as for HTTP, it is served by the copy of `served_generator.py` in the folder.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    example = np.zeros((2, 1 + generator.z_dim), np.float32)  # two rows: a size of one would become constant
    mlflow.pytorch.save_model(
        OneInputGenerator(generator),
        path=str(out),
        mlflow_model=model,
        input_example=example,
        signature=ModelSignature(
            Schema([TensorSpec(example.dtype, (-1, example.shape[1]))]),
            Schema([TensorSpec(np.dtype(np.uint8), (-1, generator.size, generator.size, 3))]),
        ),
        pip_requirements=pinned(NEEDS),
        extra_files=[str(about)],
        code_paths=[str(SERVED)],
    )
    saved = Model.load(str(out))
    saved.flavors["python_function"]["loader_module"] = SERVED.stem
    saved.save(str(out / "MLmodel"))


def read(folder: Path) -> nn.Module:
    """Load the `OneInputGenerator` of a version, on the CPU."""
    import mlflow

    return mlflow.pytorch.load_model(str(folder))
