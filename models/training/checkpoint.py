"""Write a training's state to disk atomically, and read it without running any code in it.

A checkpoint is a dict of tensors, numbers, strings, lists and dicts. What it holds is up to each trainer.
"""

import contextlib
import warnings
from collections.abc import Callable, Collection, Generator, Mapping
from pathlib import Path
from typing import Any

import torch

from models.training.files import UnusableFileError, write_whole

LAST, BEST = "last.pt", "best.pt"  # the whole state of training; the best model alone


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path` atomically; OSError if the folder cannot be written."""
    write_whole(path, lambda file: torch.save(state, file))


def load(path: Path, map_location: str | torch.device = "cpu", needs: Collection[str] = ()) -> dict[str, Any]:
    """Read the state that `save` wrote, with its tensors on `map_location`; unpickles tensors and plain values only.

    Raises FileNotFoundError if there is no file, UnusableFileError if it is damaged, holds other objects, or lacks one
    of the keys `needs`.
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
    except Exception as error:  # a truncated or foreign file raises errors of pickle, zip or torch: nearly any type
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
    """Turn errors of loading weights inside the block into UnusableFileError naming the checkpoint at `path`."""
    try:
        yield
    except (torch.OutOfMemoryError, UnusableFileError):
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableFileError(
            f"{path}: a checkpoint whose weights do not fit the network it names; delete it and train again, or "
            "restore it"
        ) from error


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], shown: Callable[[str], str] = str) -> list[str]:
    """Describe each value of `ours` that is missing or different in a checkpoint's; `shown` formats a name."""
    return [
        f"{shown(name)} {theirs.get(name)!r} there, {value!r} here"
        for name, value in ours.items()
        if theirs.get(name) != value
    ]


def refuse_differences(path: Path, found: Collection[str]) -> None:
    """Raise ValueError listing the differences between the checkpoint at `path` and this run, if there are any."""
    if found:
        raise ValueError(
            f"{path} is a checkpoint of another run; give the new run its own folder, or change these:\n  "
            + "\n  ".join(found)
        )


def expect_same_run(path: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Raise ValueError listing every difference between the run whose checkpoint is at `path` and this one.

    `found` and `wanted` identify the runs: values by name, and under `settings` the settings by name.
    """
    if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
        raise UnusableFileError(f"{path}: not a checkpoint of ours; delete it and train again")
    flat_found, flat_wanted = ({**identity, **identity["settings"], "settings": None} for identity in (found, wanted))
    refuse_differences(path, differences(flat_found, flat_wanted))
