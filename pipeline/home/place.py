"""A home as one thing: its format, and the place it lies at. Opening it brings both up to date.

MLflow and Dagster write down absolute paths. A home that was moved, renamed, copied or restored would go on writing at
its old place, so the first command that opens it at another place rewrites them: in the SQLite files that lie in the
home, never in a database that is elsewhere. What the folders hold is `storage.py`'s.
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
from pipeline.home import at_work, sqlite_files

FORMAT = 1  # homes of before it was recorded are 0
RECORD = "format.json"
LOCK = "opening.lock"
CACHE = "cache"
# SQLAlchemy, whose addresses Dagster and MLflow write without escapes, ends a file's name at the question mark; Dagster
# takes the path of its configuration for a pattern (and goes on without one); fsspec chains addresses by two colons.
_REFUSED = re.compile(r"[?*\[\x00-\x1f\x7f]|::|[\ud800-\udfff]")
_WITHIN = re.compile(r"[\w.%/\\-]$")  # what stands before a path that is the end of a longer one
LONGEST = 400  # bytes of a path: SQLite opens none of more than 500, and its files lie up to 90 deeper
# Where what a library keeps for later goes, that would else be in the person's own folders.
CACHES = {
    "MPLCONFIGDIR": "matplotlib",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
}


def check(home: Path) -> None:
    """Find what makes a home unusable for this version, before anything is written.

    Raises:
        InputError: its path is none that Dagster and MLflow can use, or a newer Atelier has made it.
    """
    if found := _REFUSED.search(str(home)):
        raise InputError(
            f"ATELIER_HOME {home}: a path with {found[0]!r} is none that Dagster and MLflow can use: name another."
        )
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
    """Have the home's records say where it lies and which format it has; does nothing where they do.

    Args:
        home: a folder that is there, absolute and resolved.
        artifacts: where MLflow keeps files, in the home or elsewhere.

    Raises:
        InputError: as `check`; or it was moved, and a command is still at work in it.
    """
    check(home)
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str(home / CACHE / name))
    wanted = {"format": FORMAT, "place": str(home)}
    if _record(home) == wanted:
        return
    for path in (home / LOCK, home / at_work.LOCK):  # else the lock of a linked copy is the original's
        if path.is_file():
            sqlite_files.part_from_others(path)
    with held(home / LOCK):
        known = _record(home)
        if known == wanted:
            return
        check(home)
        before = recorded(home) or _place_before_it_was_recorded(home, artifacts)
        if before is not None and before != home:
            if at_work.is_at_work(home):
                raise InputError(
                    f"{home} was moved here from {before} while a command is at work in it: let that end first."
                )
            _moved(home, before)
        if not known:
            _own_default_artifacts(home, artifacts)
        text = json.dumps(wanted, indent=2, sort_keys=True) + "\n"
        write_whole(home / RECORD, lambda temporary: temporary.write_text(text))


def recorded(home: Path) -> Path | None:
    """Where a home was opened last; None where nothing says so."""
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
    """The SQLite files that lie in the home, and do not only seem to."""
    for folder in ("dagster", "mlflow"):
        for path in sorted((home / folder).rglob("*.db")):
            # One that is damaged is refused where it is used, with what to do.
            if path.is_file() and path.resolve().is_relative_to(home) and sqlite_files.is_database(path):
                yield path


def _moved(home: Path, before: Path) -> None:
    """Rewrite what names the place before."""
    for path in sorted(home.rglob("*")):
        if _written_in_place(path.relative_to(home)) and path.is_file() and not path.is_symlink():
            sqlite_files.part_from_others(path)
    change = mover(before, home)
    for path in _databases(home):
        sqlite_files.rewrite(path, change)
    for name in ("home.json", "summary.json"):
        path = home / name
        if path.is_file() and (text := path.read_text()) != (changed := change(text)):
            write_whole(path, lambda temporary, changed=changed: temporary.write_text(changed))


def _written_in_place(path: Path) -> bool:
    """Whether a file of the home is changed where it lies; all others are replaced by new ones."""
    return path.parts[0] in ("dagster", "bank", "inputs", "tuning") or path.suffix == ".db" or path.name == "lock"


def mover(before: Path, home: Path) -> Callable[[str], str]:
    """What turns a text that names the place before into one that names the home, as path, as URI or in JSON."""
    forms = {before.as_uri(): home.as_uri(), str(before): str(home)}
    forms[json.dumps(str(before))[1:-1]] = json.dumps(str(home))[1:-1]
    # Not within a longer path; and where the home lies below the place before, not what was rewritten already.
    inside = [
        f"(?!{re.escape(to[len(of) :])}(?![^/\"'\\s]))" if to.startswith(f"{of}/") else "" for of, to in forms.items()
    ]
    named = "|".join(re.escape(of) + beyond for of, beyond in zip(forms, inside, strict=True))
    pattern = re.compile(rf"({named})(?![^/\"'\s,;:)\]}}\\])")

    def new(found: re.Match[str]) -> str:
        ahead = found.string[max(0, found.start() - 10) : found.start()]
        return found[1] if _WITHIN.search(ahead) and not ahead.endswith(("sqlite:///", "file://")) else forms[found[1]]

    def change(text: str) -> str:
        return pattern.sub(new, text) if any(form in text for form in forms) else text

    return change


def _place_before_it_was_recorded(home: Path, artifacts: str) -> Path | None:
    """Where a home of format 0 was made, by where MLflow keeps its files, or by its own summary; None: nobody says."""
    database, kept = home / "mlflow" / "mlflow.db", home / "mlflow" / "artifacts"
    if kept.is_dir() and artifacts == str(kept) and database in _databases(home):
        with closing(sqlite3.connect(database, timeout=sqlite_files.PATIENCE)) as opened:
            try:
                found = opened.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
            except sqlite3.OperationalError:  # unfinished
                found = []
        for (location,) in found:
            place = Path(unquote(urlsplit(str(location)).path))
            if place.parts[-2:] == ("mlflow", "artifacts"):
                return place.parent.parent
    summary = home / "summary.json"
    page = Path(json.loads(summary.read_text()).get("lookbook") or "") if summary.is_file() else Path()
    return page.parent.parent if page.is_absolute() and page.parts[-2:] == ("lookbook", "index.html") else None


def _own_default_artifacts(home: Path, artifacts: str) -> None:
    """MLflow's own default experiment keeps its files in the working directory; here it does so beside the others'."""
    database = home / "mlflow" / "mlflow.db"
    if database in _databases(home):
        own_default_artifacts(database, artifacts)


def own_default_artifacts(database: Path, artifacts: str) -> None:
    """Point MLflow's default experiment, which no run of ours is in, to where all others keep their files."""
    root = artifacts if "://" in artifacts else Path(artifacts).as_uri()
    with closing(sqlite3.connect(database, timeout=sqlite_files.PATIENCE)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master")}
        if "experiments" in tables:
            opened.execute(
                "UPDATE experiments SET artifact_location = ? "
                "WHERE experiment_id = 0 AND artifact_location LIKE '%mlruns/0'",
                (f"{root}/0",),
            )
            opened.commit()
