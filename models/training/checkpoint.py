"""State on disk: written whole or not at all, and read without running anything in it.

A checkpoint is a dict of tensors, numbers, strings, lists and dicts. What the keys mean belongs to
the loop that writes them (`train_dvbpr.py`, `train_lsgan.py`); nothing here knows a model.
"""

import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` atomically: a reader sees the old file or the new one, never a part.

    The file is flushed to the disk before it takes its name, so that a crash of the machine cannot
    leave an empty file under the name of a good one. Raises OSError when the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load(path: Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The state that `save` wrote, its tensors on `map_location`; unpickles tensors and plain values only.

    Raises FileNotFoundError when there is none, ValueError when the file is damaged or holds more than that.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint there; train first, or name the folder that training wrote")
    try:
        state = torch.load(path, map_location=map_location, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"{path}: not a checkpoint of ours, or damaged ({error}); delete it and train again, or restore it"
        ) from error
    if type(state) is not dict:
        raise ValueError(f"{path}: holds a {type(state).__name__}, not a checkpoint's dict; delete it and train again")
    return state


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a crash. Where a folder cannot be opened (Windows), the rename stays atomic."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the file itself is on the disk already
    finally:
        os.close(handle)
