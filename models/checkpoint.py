"""State on disk: written whole or not at all, and read without running anything in it.

A checkpoint is a dict of tensors, numbers, strings, lists and dicts. What the keys mean belongs to
the loop that writes them (`train_dvbpr.py`, `train_lsgan.py`); nothing here knows a model.
"""

import contextlib
import os
import uuid
import warnings
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

import torch

from models.files import UnusableFileError


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


def load(path: Path, map_location: str | torch.device = "cpu", needs: Collection[str] = ()) -> dict[str, Any]:
    """The state that `save` wrote, its tensors on `map_location`; unpickles tensors and plain values only.

    Raises FileNotFoundError when there is none, UnusableFileError, a ValueError, when the file is damaged, holds more
    than that, or lacks one of `needs`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no checkpoint there; train first, or name the folder that training wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what a foreign file may be
            state = torch.load(path, map_location=map_location, weights_only=True)
    except (MemoryError, PermissionError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # what a cut or foreign file raises is pickle's, zip's, torch's own: nearly anything
        raise UnusableFileError(
            f"{path}: not a checkpoint of ours, or cut off or damaged ({path.stat().st_size:,} bytes); delete it and "
            "train again, or restore it"
        ) from error
    if type(state) is not dict:
        raise UnusableFileError(
            f"{path}: holds a {type(state).__name__}, not a checkpoint's dict; delete it and train again"
        )
    if missing := sorted(set(needs) - set(state)):
        raise UnusableFileError(
            f"{path}: a checkpoint without {', '.join(missing)}, so not one of ours; delete it and train again"
        )
    return state


@contextlib.contextmanager
def restoring(path: Path) -> Generator[None]:
    """What does not fit in the block is the fault of the checkpoint at `path`. Raises UnusableFileError, naming it."""
    try:
        yield
    except (torch.OutOfMemoryError, UnusableFileError):
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableFileError(
            f"{path}: a checkpoint whose weights do not fit the network it names; delete it and train again, or "
            "restore it"
        ) from error


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
