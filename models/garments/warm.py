"""Start a run from a finished one, also with other classes: a new class starts as the mean of the old ones."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.garments.state import ENCODER, GENERATOR, GarmentRun, read_meta
from models.training import checkpoint

# Weights with one row or column for each class, and the dimension that counts classes.
_BY_CLASS = {"embedding.weight": 1, "projection.parametrizations.weight.original": 1}
_PER_RUN = ("prior.",)  # fitted again
_SINGULAR = "projection.parametrizations.weight.0."  # singular vectors of such weights: found again in a few steps
_SAME = ("size", "z_dim", "class_dim", "width", "mixed", "hidden")


def source(folder: Path | None) -> str:
    """Identify the finished run that another one starts from, by its files; empty for None."""
    if folder is None:
        return ""
    read_meta(folder)  # raises if the run has not finished
    digest = hashlib.sha256()
    for name in (GENERATOR, ENCODER):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def warm_start(run: GarmentRun, folder: Path) -> None:
    """Load the networks of the finished run in `folder` into a new one, class by class by their names.

    Raises ValueError if its networks have other shapes.
    """
    meta, theirs = read_meta(folder)
    ours = run.settings
    old, new = ({name: getattr(one, name) for name in _SAME} for one in (theirs, ours))
    found = checkpoint.differences(old, new)
    if found:
        raise ValueError(f"{folder}: cannot start from this generator, its networks differ: {'; '.join(found)}")
    generator = checkpoint.load(folder / GENERATOR, map_location=run.device, needs=("generator",))["generator"]
    state = checkpoint.load(folder / ENCODER, map_location=run.device, needs=("features", "encoder", "heads"))
    rows = [meta["class_names"].index(n) if n in meta["class_names"] else None for n in run.identity["class_names"]]
    with checkpoint.restoring(folder / ENCODER):
        run.features.load_mixing(state["features"])
        for network in (run.encoder, run.averaged_encoder):
            network.load_state_dict(state["encoder"])
        _load(run.heads, state["heads"], rows)
    with checkpoint.restoring(folder / GENERATOR):
        for network in (run.generator, run.averaged_generator):
            _load(network, generator, rows)
    run.features.expect_same_trunk(ours.size)


def _load(network: nn.Module, state: Mapping[str, Tensor], rows: Sequence[int | None]) -> None:
    own = network.state_dict()
    kept = {}
    for name, value in own.items():
        classed = next((dim for end, dim in _BY_CLASS.items() if name.endswith(end)), None)
        if name.startswith(_PER_RUN) or (_SINGULAR in name and value.shape != state[name].shape):
            kept[name] = value
        elif classed is None:
            kept[name] = state[name]
        else:
            kept[name] = reordered(state[name], rows, classed)
    network.load_state_dict(kept)


def reordered(weight: Tensor, rows: Sequence[int | None], dim: int) -> Tensor:
    """Choose the slices of `weight` along `dim`, one for each class; None, a new class, gets the mean of all."""
    mean = weight.mean(dim=dim)
    return torch.stack([mean if row is None else weight.select(dim, row) for row in rows], dim=dim)
