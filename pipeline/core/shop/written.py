"""Write a shop.toml for a person to edit, and notice an edit, so that none is overwritten or ignored."""

import hashlib
from pathlib import Path

from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError

NAME = "shop.toml"  # in the home: what a run recognised
_STAMP = "\n# Atelier wrote this file, and replaces it as long as nobody changes it: "


def write_to_edit(path: Path, text: str) -> None:
    """Write the text of a shop.toml with a digest of itself.

    Raises:
        InputError: there is a file that somebody changed, or another one.
    """
    if is_changed(path):
        raise InputError(
            f"{path}: was written or changed by hand, so it is not replaced; name another file, or delete it"
        )
    stamped = f"{text.rstrip()}\n{_STAMP}{_digest(text)}\n"
    write_whole(path, lambda temporary: temporary.write_text(stamped, "utf-8"))


def is_changed(path: Path) -> bool:
    """Return whether there is a file other than `write_to_edit` left it."""
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return False
    written, stamp, digest = text.partition(_STAMP)
    return not stamp or digest.strip() != _digest(written)


def refuse_ignored(home: Path) -> None:
    """Raise InputError if a person edited the shop.toml of a home, which counts only if ATELIER_SHOP names it."""
    path = home / NAME
    if is_changed(path):
        raise InputError(
            f"{path}: was changed by hand (or an earlier version wrote it), and it counts only if it is named. Set"
            f" ATELIER_SHOP={path} to use it, or delete it to have the columns recognised"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.rstrip().encode()).hexdigest()[:16]
