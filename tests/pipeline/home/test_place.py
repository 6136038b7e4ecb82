"""Homes that were moved, copied or made by another version; each has one MLflow run and one Dagster run."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from pipeline.core.errors import InputError
from pipeline.home import command_lock, environment, instance, place
from pipeline.home.storage import write_json
from pipeline.runtime.tracking import EXPERIMENT, Tracker
from tests.pipeline.conftest import isolate

PAGE = "lookbook/index.html"


def tracker_of(home: Path) -> Tracker:
    return Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))


def log_text(home: Path, text: str) -> None:
    """Log a file in a new run."""
    tracker = tracker_of(home)
    client = tracker.client()
    run = client.create_run(tracker._experiment(client), tags={"model_folder": str(home / "recommender" / "m")})
    client.log_text(run.info.run_id, text, "said.txt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose path has a space and an umlaut."""
    home = tmp_path_factory.mktemp("shop") / "my höme"
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, home)
        environment.writable_home()
        with instance.open_instance(home) as opened:
            page = {"page": dg.MetadataValue.path(str(home / PAGE))}
            opened.report_runless_asset_event(dg.AssetMaterialization("lookbook", metadata=page))
        instance.remember(home, profile="demo", ATELIER_REVIEWS=str(home / "catalogue" / "reviews.json.gz"))
        write_json(home / "summary.json", {"lookbook": str(home / PAGE)})
        log_text(home, "before")
    yield home


@pytest.fixture
def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which ATELIER_HOME names."""
    home = Path(shutil.copytree(made, tmp_path / "copy #1 of 100%", symlinks=True))
    isolate(monkeypatch, home)
    return home


def texts(home: Path) -> str:
    """Read every text in the home's SQLite and JSON files."""
    found = [path.read_text() for path in home.glob("*.json")]
    for path in place._databases(home):
        with closing(sqlite3.connect(path)) as opened:
            found += ["\n".join(opened.iterdump())]
    return "\n".join(found)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_moved_home_forgets_its_old_location_and_writes_to_the_new_one(copied: Path, made: Path):
    before = contents(made)
    assert environment.writable_home() == copied
    found = texts(copied)
    assert str(made) not in found and made.as_uri() not in found and json.dumps(str(made))[1:-1] not in found
    log_text(copied, "after")
    client = tracker_of(copied).client()
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert {Path(client.download_artifacts(run.info.run_id, "said.txt")).read_text() for run in runs} == {
        "before",
        "after",
    }
    assert all(run.info.artifact_uri.startswith((copied / "mlflow" / "artifacts").as_uri()) for run in runs)
    assert all(run.data.tags["model_folder"].startswith(str(copied)) for run in runs)
    with instance.open_instance(copied) as opened:
        event = opened.get_latest_materialization_event(dg.AssetKey("lookbook"))
    assert event.asset_materialization.metadata["page"].value == str(copied / PAGE)
    assert instance.recall(copied)["ATELIER_REVIEWS"] == str(copied / "catalogue" / "reviews.json.gz")
    assert contents(made) == before  # opening and using a copy does not change the original


def test_a_home_made_before_locations_were_recorded_is_updated(copied: Path, made: Path):
    (copied / place.RECORD).unlink()
    with closing(sqlite3.connect(copied / "mlflow" / "mlflow.db")) as opened:
        opened.execute("UPDATE experiments SET artifact_location = '/somewhere/mlruns/0' WHERE experiment_id = 0")
        opened.commit()
    environment.writable_home()
    assert str(made) not in texts(copied) and "/somewhere" not in texts(copied)
    assert json.loads((copied / place.RECORD).read_text()) == {"format": place.FORMAT, "place": str(copied)}


def test_a_hard_linked_copy_is_separated_from_the_original_when_it_is_opened(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home, before = tmp_path / "linked", contents(made)
    shutil.copytree(made, home, copy_function=os.link)
    isolate(monkeypatch, home)
    with command_lock.hold(made):  # the copy does not share the original's lock
        environment.writable_home()
        log_text(home, "after")
        with instance.open_instance(home) as opened, command_lock.hold(home):
            opened.report_runless_asset_event(dg.AssetMaterialization("coats"))
    (made / command_lock.LOCK).unlink()
    assert contents(made) == before


def test_a_database_that_is_linked_from_outside_the_home_is_not_changed(copied: Path, tmp_path: Path):
    elsewhere, database = tmp_path / "elsewhere.db", copied / "mlflow" / "mlflow.db"
    database.replace(elsewhere)
    database.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    environment.writable_home()
    assert elsewhere.read_bytes() == before


def test_an_outside_database_with_the_old_location_is_refused_before_anything_is_written(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    elsewhere, gone = tmp_path / "elsewhere.db", tmp_path / "gone"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    (copied / "mlflow" / "mlflow.db").replace(elsewhere)
    with closing(sqlite3.connect(elsewhere)) as opened:
        opened.execute("UPDATE experiments SET artifact_location = ?", ((gone / "mlflow" / "artifacts").as_uri(),))
        opened.commit()
    environment.writable_home()
    with pytest.raises(InputError, match="gone/mlflow/artifacts, which is not there"):
        log_text(copied, "after")
    assert not gone.exists()


def test_a_home_of_a_newer_format_is_refused_and_not_changed(copied: Path):
    (copied / place.RECORD).write_text(json.dumps({"format": place.FORMAT + 1, "place": "/elsewhere"}))
    before = contents(copied)
    for opening in (environment.writable_home, lambda: instance.open_instance(copied)):
        with pytest.raises(InputError, match=f"has format {place.FORMAT + 1}, which a newer Atelier made.*make setup"):
            opening()
    assert contents(copied) == before


def test_a_home_is_not_rewritten_while_a_command_runs_in_it(copied: Path):
    with command_lock.hold(copied), pytest.raises(InputError, match="while a command is running in it"):
        environment.writable_home()
    environment.writable_home()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("what?", "Dagster and MLflow cannot use a path with '\\?'"),
        ("any*", "with '\\*'"),
        ("a[1]", "with '\\['"),
        ("two\nlines", "cannot use a path with"),
        ("chained::path", "with '::'"),
        ("/".join(["long" * 50] * 6), "too long"),
        ("~nobody-of-this-name/home", "Name another folder"),
    ],
)
def test_a_path_that_a_library_cannot_use_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
):
    isolate(monkeypatch, Path(name) if name.startswith("~") else tmp_path / name)
    with pytest.raises(InputError, match=reason):
        environment.writable_home()
    assert not list(tmp_path.iterdir())


def test_only_the_exact_path_is_rewritten():
    change = place.path_rewriter(Path("/a/home"), Path("/b/new home"))
    for same in ("/a/home2/x", "/x/a/home/x", "file:///x/a/home", "/a/home-old/x", "/a/homes"):
        assert change(same) == same
    assert change("sqlite:////a/home/mlflow.db and file:///a/home/x") == (
        "sqlite:////b/new home/mlflow.db and file:///b/new%20home/x"
    )
    below = place.path_rewriter(Path("/a"), Path("/a/b"))
    assert below(below("/a/x")) == "/a/b/x"  # an interrupted rewrite is repeated
