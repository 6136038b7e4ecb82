"""The format and the location of a home. Opening a home updates both.

MLflow and Dagster store absolute paths. A home that was moved, renamed, copied or restored would therefore write to its
old location. The first command that opens it elsewhere rewrites those paths in the SQLite files inside the home, never
in a database outside it.
"""

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.core.durable import held, write_whole
from pipeline.core.errors import InputError
from pipeline.home import command_lock, sqlite_files

FORMAT = 1  # 0: made before the format was recorded
RECORD = "format.json"
LOCK = "opening.lock"
CACHE = "cache"
# Dagster and MLflow do not escape paths in SQLAlchemy URLs, where a question mark ends the file name. Dagster treats
# the path of its configuration as a glob pattern, and uses no configuration if it matches nothing. fsspec chains URLs
# by two colons.
_REFUSED = re.compile(r"[?*\[\x00-\x1f\x7f]|::|[\ud800-\udfff]")
_WITHIN = re.compile(r"[\w.%/\\-]$")  # precedes a path that is the end of a longer one
LONGEST = 400  # bytes of a path: SQLite opens none of more than 500, and its files lie up to 90 deeper
# Cache folders of libraries, which would otherwise be in the user's home directory.
CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
}


def check(home: Path) -> None:
    """Check that this version can use a home, before anything is written.

    Raises:
        InputError: Dagster or MLflow cannot use its path, or a newer Atelier made it.
    """
    if found := _REFUSED.search(str(home)):
        raise InputError(f"ATELIER_HOME {home}: Dagster and MLflow cannot use a path with {found[0]!r}: name another.")
    if (length := len(os.fsencode(home))) > LONGEST:
        shown = f"{str(home)[:60]}..."
        raise InputError(f"ATELIER_HOME {shown}: the path is too long, {length} bytes; name one of at most {LONGEST}.")
    known = _record(home).get("format", 0)
    if known > FORMAT:
        raise InputError(
            f"{home} has format {known}, which a newer Atelier made; this one knows formats to {FORMAT}. Use the newer "
            "one (git pull, make setup), or name another ATELIER_HOME. Nothing was changed."
        )


def bring_up_to_date(home: Path, artifacts: str) -> None:
    """Update the home's recorded location and format, and every stored path, if they have changed.

    Args:
        home: an existing folder, absolute and resolved.
        artifacts: where MLflow stores files, in the home or elsewhere.

    Raises:
        InputError: as `check`; or the home was moved while a command is still running in it.
    """
    check(home)
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str(home / CACHE / name))
    wanted = {"format": FORMAT, "place": str(home)}
    if _record(home) == wanted:
        return
    for path in (home / LOCK, home / command_lock.LOCK):  # otherwise a hard-linked copy shares the original's lock
        if path.is_file():
            sqlite_files.break_hard_links(path)
    with held(home / LOCK):
        known = _record(home)
        if known == wanted:
            return
        check(home)
        before = recorded(home) or _location_of_format_0(home, artifacts)
        if before is not None and before != home:
            if command_lock.is_held(home):
                raise InputError(
                    f"{home} was moved here from {before} while a command is running in it: wait until it ends."
                )
            _rewrite_paths(home, before)
        if not known:
            _set_default_artifacts(home, artifacts)
        text = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        write_whole(home / RECORD, lambda temporary: temporary.write_text(text))


def recorded(home: Path) -> Path | None:
    """Read where the home was last opened; None if that is not recorded."""
    known = _record(home).get("place")
    return Path(known) if known else None


def _record(home: Path) -> dict:
    try:
        found = json.loads((home / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise InputError(f"{home / RECORD} is damaged ({error}): remove it, and call this again.") from error
    return found if isinstance(found, dict) else {}


def _databases(home: Path) -> Iterator[Path]:
    """Find the SQLite files inside the home; skip links that lead outside."""
    for folder in ("dagster", "mlflow"):
        for path in sorted((home / folder).rglob("*.db")):
            # A damaged file is refused when it is used; that message says what to do.
            if path.is_file() and path.resolve().is_relative_to(home) and sqlite_files.is_database(path):
                yield path


def _rewrite_paths(home: Path, before: Path) -> None:
    """Replace the old location with the new one in every file that stores it."""
    for path in sorted(home.rglob("*")):
        if _written_in_place(path.relative_to(home)) and path.is_file() and not path.is_symlink():
            sqlite_files.break_hard_links(path)
    change = path_rewriter(before, home)
    for path in _databases(home):
        sqlite_files.rewrite(path, change)
    for name in ("home.json", "summary.json"):
        path = home / name
        if path.is_file() and (text := path.read_text()) != (changed := change(text)):
            write_whole(path, lambda temporary, changed=changed: temporary.write_text(changed))


def _written_in_place(path: Path) -> bool:
    """Return whether a file of the home is modified in place; all others are replaced by new files."""
    return path.parts[0] in ("dagster", "bank", "inputs", "tuning") or path.suffix == ".db" or path.name == "lock"


def path_rewriter(before: Path, home: Path) -> Callable[[str], str]:
    """Make a function that replaces the old location in a text, as a path, as a URI or in JSON."""
    forms = {before.as_uri(): home.as_uri(), str(before): str(home)}
    forms[json.dumps(str(before))[1:-1]] = json.dumps(str(home))[1:-1]
    # If the new location is below the old one, do not match what was rewritten already.
    unchanged = [
        f"(?!{re.escape(to[len(of) :])}(?![^/\"'\\s]))" if to.startswith(f"{of}/") else "" for of, to in forms.items()
    ]
    named = "|".join(re.escape(of) + beyond for of, beyond in zip(forms, unchanged, strict=True))
    pattern = re.compile(rf"({named})(?![^/\"'\s,;:)\]}}\\])")

    def replacement(found: re.Match[str]) -> str:
        ahead = found.string[max(0, found.start() - 10) : found.start()]
        return found[1] if _WITHIN.search(ahead) and not ahead.endswith(("sqlite:///", "file://")) else forms[found[1]]

    def change(text: str) -> str:
        return pattern.sub(replacement, text) if any(form in text for form in forms) else text

    return change


def _location_of_format_0(home: Path, artifacts: str) -> Path | None:
    """Infer where a home of format 0 was made, from MLflow's artifact location or summary.json, or None."""
    database, kept = home / "mlflow" / "mlflow.db", home / "mlflow" / "artifacts"
    if kept.is_dir() and artifacts == str(kept) and database in _databases(home):
        with closing(sqlite3.connect(database, timeout=sqlite_files.LOCK_TIMEOUT)) as opened:
            try:
                found = opened.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
            except sqlite3.OperationalError:  # unfinished
                found = []
        for (location,) in found:
            folder = Path(unquote(urlsplit(str(location)).path))
            if folder.parts[-2:] == ("mlflow", "artifacts"):
                return folder.parent.parent
    summary = home / "summary.json"
    page = Path(json.loads(summary.read_text()).get("lookbook") or "") if summary.is_file() else Path()
    return page.parent.parent if page.is_absolute() and page.parts[-2:] == ("lookbook", "index.html") else None


def _set_default_artifacts(home: Path, artifacts: str) -> None:
    """Move the default experiment of the home's MLflow database to `artifacts`, if there is such a database."""
    database = home / "mlflow" / "mlflow.db"
    if database in _databases(home):
        set_default_artifacts(database, artifacts)


def set_default_artifacts(database: Path, artifacts: str) -> None:
    """Store the files of MLflow's default experiment under `artifacts`; MLflow would use the working directory."""
    root = artifacts if "://" in artifacts else Path(artifacts).as_uri()
    with closing(sqlite3.connect(database, timeout=sqlite_files.LOCK_TIMEOUT)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        if "experiments" in tables:
            opened.execute(
                "UPDATE experiments SET artifact_location = ? "
                "WHERE experiment_id = 0 AND artifact_location LIKE '%mlruns/0'",
                (f"{root}/0",),
            )
            opened.commit()
