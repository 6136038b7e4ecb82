"""The Dagster instance of a home: its folder, its configuration, and the record of the profile that ran there."""

import os
import shutil
from pathlib import Path

import dagster as dg

from pipeline.storage import write_json

CONFIGURATION = Path(__file__).parent.parent / "dagster.yaml"
RECORD = "home.json"


def prepare(home: Path) -> Path:
    """Make `home/dagster` the DAGSTER_HOME of this process, configured by the project's dagster.yaml."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CONFIGURATION, folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def open_instance(home: Path) -> dg.DagsterInstance:
    """The persistent instance of a home."""
    prepare(home)
    return dg.DagsterInstance.get()


def remember(home: Path, **facts: str) -> None:
    """Keep what the home was last run with, for `make ui`."""
    write_json(home / RECORD, {**recall(home), **facts})


def recall(home: Path) -> dict[str, str]:
    """What `remember` kept; empty for a new home."""
    import json

    path = home / RECORD
    return json.loads(path.read_text()) if path.is_file() else {}
