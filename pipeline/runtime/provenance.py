"""The version of the code: the git commit, and whether files have uncommitted changes."""

import functools
import subprocess
from pathlib import Path


@functools.cache
def commit() -> str:
    """Read the git commit, with a note on uncommitted changes; `unknown` outside a checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head} with uncommitted changes" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, timeout=5, cwd=Path(__file__).parent, check=True
    )
    return done.stdout.strip()
