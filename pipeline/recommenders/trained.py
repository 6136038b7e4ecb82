"""Find the trained main recommenders of an image mode."""

from pipeline.core.errors import InputError
from pipeline.home.storage import ModelFolder, Storage
from pipeline.recommenders.registry import main


def trained(storage: Storage, mode: str) -> dict[str, ModelFolder]:
    """Map each main recommender that was trained in a mode to its newest model, in the registry's order."""
    found = {one.name: storage.newest_of(one.name, mode) for one in main()}
    return {name: folder for name, folder in found.items() if folder is not None}


def on_tables(storage: Storage, mode: str, **inputs: str) -> tuple[dict[str, ModelFolder], dict[str, ModelFolder]]:
    """Divide a mode's main recommenders into those trained on these tables, and the others.

    Args:
        storage: the home.
        mode: the image mode.
        inputs: table -> its digest.

    Raises:
        InputError: none was trained on these tables, or there is none; the message says which asset makes one.
    """
    every = trained(storage, mode)
    present = {name: folder for name, folder in every.items() if _made_from(folder, inputs)}
    if not present:
        storage.current("recommender", mode).expect(**inputs)
        raise InputError(f"no finished recommender for image mode {mode}: materialise one of {_assets()} first.")
    return present, {name: folder for name, folder in every.items() if name not in present}


def _made_from(folder: ModelFolder, inputs: dict[str, str]) -> bool:
    made_from = folder.manifest()["inputs"]
    return all(made_from.get(name) == value for name, value in inputs.items())


def _assets() -> str:
    return ", ".join(one.op for one in main())
