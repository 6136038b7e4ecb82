"""The models of one mode that can become champion: those that its evaluation compared, and still the newest."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import InputError
from pipeline.home.storage import BASELINES, ModelFolder, Storage
from pipeline.recommenders import registry
from pipeline.recommenders.trained import trained

FACTORS = "factors.npz"


def evaluated(storage: Storage, mode: str, metadata: Mapping[str, Any]) -> dict[str, ModelFolder]:
    """Map every main recommender and baseline of the mode's evaluation to its model's folder, in the registry's order.

    Args:
        storage: the home.
        mode: the image mode.
        metadata: of the mode's newest evaluation.

    Raises:
        InputError: a model was trained anew since, or is gone; the message names it, and what to do.
    """
    runs: dict[str, str] = dict(metadata.get("runs", {}))
    newest = {name: folder.run for name, folder in trained(storage, mode).items()}
    whole = storage.current(BASELINES, mode).run
    differing = [name for name, run in runs.items() if newest.get(name) != run]
    differing += ["baselines"] if metadata.get("baselines") != whole else []
    if not runs or differing:
        raise InputError(
            f"image mode {mode}: the evaluation is not of the newest models ({', '.join(differing) or 'none named'}): "
            "materialise recommender_evaluation again."
        )
    found = {name: storage.recommender(mode, runs.get(name, f"{whole}/{name}")) for name in registry.RECOMMENDERS}
    return {name: folder for name, folder in found.items() if folder is not None}


def servable(models: Mapping[str, ModelFolder]) -> list[str]:
    """List the models that can be served: their lists may be shown, and they are stored as factors."""
    return [n for n, folder in models.items() if registry.get(n).may_lead and (folder.path / FACTORS).is_file()]


def sees(models: Mapping[str, ModelFolder]) -> list[str]:
    """List the models that can be served and score a new picture.

    If none does, as `modern` without its picture part, list those of a kind that could: designs say what is missing.
    """
    could = [name for name in servable(models) if registry.get(name).new_pictures]
    return [name for name in could if registry.get(name).sees(models[name].path)] or could
