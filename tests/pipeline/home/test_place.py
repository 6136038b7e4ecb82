"""A home that was moved, copied or made by another version: small ones, with a run of MLflow's and one of Dagster's."""

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
from pipeline.home import at_work, environment, instance, place
from pipeline.home.storage import write_json
from pipeline.runtime.tracking import EXPERIMENT, Tracker
from tests.pipeline.conftest import isolate

PAGE = "lookbook/index.html"


def tracker_of(home: Path) -> Tracker:
    return Tracker(tracking_uri=environment.tracking_uri(home), artifact_root=environment.artifact_root(home))


def log_text(home: Path, text: str) -> None:
    """Log a file in a run of its own."""
    tracker = tracker_of(home)
    client = tracker.client()
    run = client.create_run(tracker._experiment(client), tags={"model_folder": str(home / "recommender" / "m")})
    client.log_text(run.info.run_id, text, "said.txt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home at a place with a space and an umlaut in its name."""
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
    """A copy of it, and ATELIER_HOME naming it."""
    home = Path(shutil.copytree(made, tmp_path / "copy #1 of 100%", symlinks=True))
    isolate(monkeypatch, home)
    return home


def texts(home: Path) -> str:
    """Every text of the home's SQLite and JSON files."""
    found = [path.read_text() for path in home.glob("*.json")]
    for path in place._databases(home):
        with closing(sqlite3.connect(path)) as opened:
            found += ["\n".join(opened.iterdump())]
    return "\n".join(found)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_moved_home_names_its_old_place_nowhere_and_writes_at_the_new_one(copied: Path, made: Path):
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
    assert contents(made) == before  # opening a copy, and working in it, leaves the original as it was


def test_what_was_made_before_places_were_recorded_is_brought_up_to_date(copied: Path, made: Path):
    (copied / place.RECORD).unlink()
    with closing(sqlite3.connect(copied / "mlflow" / "mlflow.db")) as opened:
        opened.execute("UPDATE experiments SET artifact_location = '/somewhere/mlruns/0' WHERE experiment_id = 0")
        opened.commit()
    environment.writable_home()
    assert str(made) not in texts(copied) and "/somewhere" not in texts(copied)
    assert json.loads((copied / place.RECORD).read_text()) == {"format": place.FORMAT, "place": str(copied)}


def test_a_copy_of_hard_links_parts_from_the_original_when_it_is_opened(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home, before = tmp_path / "linked", contents(made)
    shutil.copytree(made, home, copy_function=os.link)
    isolate(monkeypatch, home)
    with at_work.at_work(made):  # the original's lock is not the copy's
        environment.writable_home()
        log_text(home, "after")
        with instance.open_instance(home) as opened, at_work.at_work(home):
            opened.report_runless_asset_event(dg.AssetMaterialization("coats"))
    (made / at_work.LOCK).unlink()
    assert contents(made) == before


def test_a_database_that_only_seems_to_lie_in_the_home_is_left_alone(copied: Path, tmp_path: Path):
    elsewhere, database = tmp_path / "elsewhere.db", copied / "mlflow" / "mlflow.db"
    database.replace(elsewhere)
    database.symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    environment.writable_home()
    assert elsewhere.read_bytes() == before


def test_a_database_elsewhere_that_names_the_old_place_is_refused_before_anything_is_written_there(
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


def test_a_home_of_a_newer_format_is_refused_and_nothing_is_written(copied: Path):
    (copied / place.RECORD).write_text(json.dumps({"format": place.FORMAT + 1, "place": "/elsewhere"}))
    before = contents(copied)
    for opening in (environment.writable_home, lambda: instance.open_instance(copied)):
        with pytest.raises(InputError, match=f"has format {place.FORMAT + 1}, which a newer Atelier made.*make setup"):
            opening()
    assert contents(copied) == before


def test_a_home_is_not_rewritten_under_a_command_that_moved_with_it(copied: Path):
    with at_work.at_work(copied), pytest.raises(InputError, match="while a command is at work in it"):
        environment.writable_home()
    environment.writable_home()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("what?", "'\\?' is none that Dagster and MLflow can use"),
        ("any*", "'\\*' is none"),
        ("a[1]", "'\\[' is none"),
        ("two\nlines", "is none that"),
        ("chained::path", "'::' is none"),
        ("/".join(["long" * 50] * 6), "too long"),
        ("~nobody-of-this-name/home", "Name another folder"),
    ],
)
def test_a_place_that_a_library_cannot_use_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
):
    isolate(monkeypatch, Path(name) if name.startswith("~") else tmp_path / name)
    with pytest.raises(InputError, match=reason):
        environment.writable_home()
    assert not list(tmp_path.iterdir())


def test_only_the_place_itself_is_renamed_not_what_looks_like_it():
    change = place.mover(Path("/a/home"), Path("/b/new home"))
    for same in ("/a/home2/x", "/x/a/home/x", "file:///x/a/home", "/a/home-old/x", "/a/homes"):
        assert change(same) == same
    assert change("sqlite:////a/home/mlflow.db and file:///a/home/x") == (
        "sqlite:////b/new home/mlflow.db and file:///b/new%20home/x"
    )
    below = place.mover(Path("/a"), Path("/a/b"))
    assert below(below("/a/x")) == "/a/b/x"  # a rewriting that was cut off is done again
