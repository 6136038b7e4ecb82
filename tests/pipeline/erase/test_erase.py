"""A reviewer, a product and a picture's URL are erased, and after the next run the home holds no trace of them."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.champions import served_model
from pipeline.core.erasure import Erasures
from pipeline.core.images.bank import open_bank
from pipeline.core.images.ledger import PictureStore
from pipeline.erase import erase, traces
from pipeline.home.partitions import image_modes
from pipeline.runtime.exits import DONE, WRONG_CALL
from tests.pipeline.conftest import Home, made, materialise

SELECT = "+key:recommendations"
pytestmark = pytest.mark.slow
MODES = image_modes.get_partition_keys()


@dataclass
class Erased:
    """A home whose erasures and next run are done, with what was recorded before, between and after."""

    home: Home
    store: Path  # its copy
    names: dict[str, str]  # by kind
    urls: set[str]  # all that had to be erased
    pictures: set[str]  # sha256 of all that had to be erased
    user: int
    item: int
    held_before: dict[str, list[Path]]
    output: dict[str, str]
    marked: list[Path]
    output_after: dict[str, str]


def call(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    sink = io.StringIO()
    monkeypatch.setattr(erase, "Console", lambda: Console(file=sink, width=400))
    return erase.main([f"--{kind}", name]), sink.getvalue()


def only_theirs(home: Home, reviewer: str, asin: str) -> set[str]:
    """Find the URLs of the reviewer's reviews and of the product that no other row has."""
    theirs: set[str] = set()
    others: set[str] = set()
    for row in home.table("reviews").to_pylist():
        (theirs if reviewer == row["reviewer_id"] or asin == row["asin"] else others).update(row["image_urls"])
    for row in home.table("products").to_pylist():
        (theirs if asin == row["asin"] else others).update([*row["vendor_urls"], *row["vendor_urls_high"]])
    return theirs - others


@pytest.fixture(scope="module")
def erased(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Erased]:
    store = tmp_path_factory.mktemp("store")
    home = made(environment, tmp_path_factory.mktemp("erase"), SELECT, ATELIER_STORE=str(store))
    users, items = home.table("users").to_pylist(), home.table("items").to_pylist()
    photos = {
        row["reviewer_id"]: set(row["image_urls"]) for row in home.table("reviews").to_pylist() if row["image_urls"]
    }
    reviewer = next(row for row in users if row["reviewer_id"] in photos)
    image_urls = home.table("image_urls").to_pandas()
    ok = dict(home.table("image_ledger").select(["url", "sha256"]).to_pandas().dropna().itertuples(index=False))
    product = items[-1]
    others = image_urls[(image_urls["source"] == "vendor") & (image_urls["asin"] != product["asin"])]
    picture = others[others["url"].isin(ok)].iloc[0]
    names = {"reviewer": reviewer["reviewer_id"], "asin": product["asin"], "url": picture["url"]}
    urls = {*only_theirs(home, names["reviewer"], names["asin"]), names["url"]}
    pictures = {ok[url] for url in urls if url in ok} - {ok[url] for url in set(ok) - urls}
    scratch = home.folder / "staged" / "five_core" / "reviews-0.arrow"
    scratch.parent.mkdir()  # left by a killed 5-core of an earlier version
    scratch.write_text(" ".join(names.values()))
    held = {kind: traces.find(home.folder, [name]) for kind, name in names.items()}
    output = {kind: call(kind, name, environment)[1] for kind, name in names.items()}
    marked = [path.parent for path in home.folder.rglob("erased.json") if path.parent != home.folder]
    materialise(SELECT)
    after = {}
    for kind, name in names.items():
        code, after[kind] = call(kind, name, environment)
        assert code == DONE, after[kind]
    yield Erased(home, store, names, urls, pictures, reviewer["user"], product["item"], held, output, marked, after)


def test_before_the_erasure_tables_store_and_the_uis_database_hold_the_names(erased: Erased):
    of_reviewer = {str(path) for path in erased.held_before["reviewer"]}
    assert {"tables/reviews.parquet", "tables/users.parquet"} <= of_reviewer
    assert {"tables", "pictures", "dagster"} <= {path.parts[0] for path in erased.held_before["url"]}


def test_after_the_next_run_a_search_of_the_whole_home_finds_no_trace(erased: Erased):
    assert erased.pictures and len(erased.urls) > 3
    assert traces.find(erased.home.folder, [*erased.names.values(), *erased.urls]) == []
    for output in erased.output_after.values():
        assert "no trace is left under the home" in output


def test_a_search_of_the_homes_copy_finds_no_trace(erased: Erased):
    assert len(list((erased.store / "objects").iterdir())) > 10
    assert traces.find(erased.store, [*erased.names.values(), *erased.urls]) == []


def test_before_the_next_run_the_command_lists_the_tables_that_still_hold_a_name(erased: Erased):
    assert "until the next run: tables/reviews.parquet" in erased.output["reviewer"]
    assert "Run the pipeline now" in erased.output["reviewer"]


def test_the_erased_pictures_are_in_no_shard_and_no_bank(erased: Erased):
    store = PictureStore(erased.home.folder / "pictures")
    assert not any(sha in store for sha in erased.pictures)
    assert not erased.pictures & set(open_bank(erased.home.folder / "bank").index["sha256"].to_pylist())
    shards = b"".join(path.read_bytes() for path in (erased.home.folder / "pictures").glob("*.parquet"))
    assert not any(sha.encode() in shards for sha in erased.pictures)


def test_models_trained_on_erased_data_were_marked_and_replaced(erased: Erased):
    assert {path.relative_to(erased.home.folder).parts[:2] for path in erased.marked} >= {
        ("recommender", mode) for mode in MODES
    }
    assert not any(path.exists() for path in erased.marked)
    for mode in MODES:
        folder = erased.home.model("recommender", mode)
        with np.load(folder / "factors.npz") as factors:
            assert erased.user not in factors["users"] and erased.item not in factors["items"]
        catalogue = pq.read_table(folder / "catalogue.parquet")
        assert not erased.pictures & set(catalogue["sha256"].to_pylist())


def test_no_table_has_the_erased_numbers_and_all_other_numbers_stay(erased: Erased):
    home = erased.home
    assert erased.user not in home.table("interactions")["user"].to_pylist()
    assert erased.item not in home.table("interactions")["item"].to_pylist()
    users = home.table("users").to_pylist()
    assert users[erased.user] == {"user": erased.user, "reviewer_id": f"(erased {erased.user})"}
    assert [row["user"] for row in users] == list(range(len(users)))
    for mode in MODES:
        assert erased.user not in home.table("splits", mode)["user"].to_pylist()
        assert erased.user not in home.table("recommendations", mode)["user"].to_pylist()
        assert erased.item not in home.table("recommendations", mode)["item"].to_pylist()


def test_the_record_has_the_time_and_digest_of_each_erasure(erased: Erased):
    entries = json.loads((erased.home.folder / "erased.json").read_text())["erased"]
    assert {entry["kind"] for entry in entries} == {"reviewer", "asin", "url"} and all(entry["at"] for entry in entries)
    found = Erasures.of(erased.home.folder)
    assert all(found.holds(kind, name) for kind, name in erased.names.items())


def test_mlflow_keeps_the_runs_without_their_files(erased: Erased):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{erased.home.folder}/mlflow/mlflow.db")
    withdrawn = client.search_runs(["1"], "tags.`atelier.erased` LIKE '2%'")
    assert len(withdrawn) >= len(MODES)
    assert all(client.list_artifacts(run.info.run_id) == [] for run in withdrawn)


def test_no_registered_model_serves_the_erased_names(erased: Erased):
    found = list((erased.home.folder / "mlflow").rglob(served_model.SHOP))
    assert len(found) == len(MODES), "files of the old models are left, or of the new ones are missing"
    for path in found:
        with np.load(path) as served:
            assert erased.names["asin"] not in served["asin"]
            assert not np.isin(served_model.hashed([erased.names["reviewer"]]), served["reviewer"]).any()


def test_a_longer_name_with_the_same_beginning_is_not_found(tmp_path: Path):
    (tmp_path / "a.txt").write_text("B00COAT1 and XB00COAT")
    (tmp_path / "b.txt").write_text('{"asin":"B00COAT"}')
    assert traces.find(tmp_path, ["B00COAT"]) == [Path("b.txt")]


def test_a_name_is_found_across_two_blocks_and_inside_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import gzip

    monkeypatch.setattr(traces, "BLOCK", 16)
    (tmp_path / "raw").write_bytes(b"." * 12 + b"A2REVIEWER" + b"." * 12)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(b'{"reviewerID": "A2REVIEWER"}'))
    (tmp_path / "other").write_bytes(b"." * 12 + b"A2REVIEWE" + b"." * 12)
    assert traces.find(tmp_path, ["A2REVIEWER"]) == [Path("packed.gz"), Path("raw")]


def test_nothing_is_erased_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pipeline.home import command_lock

    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    with command_lock.hold(tmp_path):
        code, said = call("reviewer", "A2REVIEWER", monkeypatch)
    assert code == WRONG_CALL and "wait until it ends" in said
    assert not (tmp_path / "erased.json").exists()
