"""A reviewer, a product and a picture's URL are erased, and after the next run nothing under the home tells of them."""

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
MODES = image_modes.get_partition_keys()


@dataclass
class Erased:
    """A home before, between and after."""

    home: Home
    store: Path  # its copy
    names: dict[str, str]  # by kind
    urls: set[str]  # all that had to go
    pictures: set[str]  # likewise, by content
    user: int
    item: int
    held_before: dict[str, list[Path]]
    said: dict[str, str]
    marked: list[Path]
    said_after: dict[str, str]


def call(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    sink = io.StringIO()
    monkeypatch.setattr(erase, "Console", lambda: Console(file=sink, width=400))
    return erase.main([f"--{kind}", name]), sink.getvalue()


def only_theirs(home: Home, reviewer: str, asin: str) -> set[str]:
    """The URLs of their reviews and of the product that nobody else's row has."""
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
    who = next(row for row in users if row["reviewer_id"] in photos)
    wanted = home.table("image_urls").to_pandas()
    ok = dict(home.table("image_ledger").select(["url", "sha256"]).to_pandas().dropna().itertuples(index=False))
    what = items[-1]
    lone = wanted[(wanted["source"] == "vendor") & (wanted["asin"] != what["asin"]) & wanted["url"].isin(ok)].iloc[0]
    names = {"reviewer": who["reviewer_id"], "asin": what["asin"], "url": lone["url"]}
    urls = {*only_theirs(home, names["reviewer"], names["asin"]), names["url"]}
    pictures = {ok[url] for url in urls if url in ok} - {ok[url] for url in set(ok) - urls}
    scratch = home.folder / "staged" / "five_core" / "reviews-0.arrow"
    scratch.parent.mkdir()  # left by a killed 5-core of an earlier version
    scratch.write_text(" ".join(names.values()))
    held = {kind: traces.find(home.folder, [name]) for kind, name in names.items()}
    said = {kind: call(kind, name, environment)[1] for kind, name in names.items()}
    marked = [path.parent for path in home.folder.rglob("erased.json") if path.parent != home.folder]
    materialise(SELECT)
    after = {}
    for kind, name in names.items():
        code, after[kind] = call(kind, name, environment)
        assert code == DONE, after[kind]
    yield Erased(home, store, names, urls, pictures, who["user"], what["item"], held, said, marked, after)


def test_before_it_stood_in_tables_store_and_the_uis_database(erased: Erased):
    of_reviewer = {str(path) for path in erased.held_before["reviewer"]}
    assert {"tables/reviews.parquet", "tables/users.parquet"} <= of_reviewer
    assert {"tables", "pictures", "dagster"} <= {path.parts[0] for path in erased.held_before["url"]}


def test_after_the_next_run_a_search_of_the_whole_home_finds_no_trace(erased: Erased):
    assert erased.pictures and len(erased.urls) > 3
    assert traces.find(erased.home.folder, [*erased.names.values(), *erased.urls]) == []
    for said in erased.said_after.values():
        assert "no trace is left under the home" in said


def test_nor_in_the_home_s_copy(erased: Erased):
    assert len(list((erased.store / "objects").iterdir())) > 10
    assert traces.find(erased.store, [*erased.names.values(), *erased.urls]) == []


def test_until_then_it_says_which_tables_still_hold_it(erased: Erased):
    assert "until the next run: tables/reviews.parquet" in erased.said["reviewer"]
    assert "Run the pipeline now" in erased.said["reviewer"]


def test_its_pictures_are_in_no_shard_and_no_bank(erased: Erased):
    store = PictureStore(erased.home.folder / "pictures")
    assert not any(sha in store for sha in erased.pictures)
    assert not erased.pictures & set(open_bank(erased.home.folder / "bank").index["sha256"].to_pylist())
    shards = b"".join(path.read_bytes() for path in (erased.home.folder / "pictures").glob("*.parquet"))
    assert not any(sha.encode() in shards for sha in erased.pictures)


def test_models_that_learnt_from_it_were_marked_and_are_gone_and_the_new_ones_do_not_know_it(erased: Erased):
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


def test_no_table_has_a_row_of_its_number_and_no_other_number_moved(erased: Erased):
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


def test_the_record_says_when_and_by_digest_what(erased: Erased):
    told = json.loads((erased.home.folder / "erased.json").read_text())["erased"]
    assert {entry["kind"] for entry in told} == {"reviewer", "asin", "url"} and all(entry["at"] for entry in told)
    found = Erasures.of(erased.home.folder)
    assert all(found.holds(kind, name) for kind, name in erased.names.items())


def test_mlflow_keeps_the_runs_without_their_files(erased: Erased):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{erased.home.folder}/mlflow/mlflow.db")
    withdrawn = client.search_runs(["1"], "tags.`atelier.erased` LIKE '2%'")
    assert len(withdrawn) >= len(MODES)
    assert all(client.list_artifacts(run.info.run_id) == [] for run in withdrawn)


def test_no_registered_model_serves_it_any_more(erased: Erased):
    found = list((erased.home.folder / "mlflow").rglob(served_model.SHOP))
    assert len(found) == len(MODES), "the files of the models that learnt from it are gone, those of the new ones there"
    for path in found:
        with np.load(path) as served:
            assert erased.names["asin"] not in served["asin"]
            assert not np.isin(served_model.hashed([erased.names["reviewer"]]), served["reviewer"]).any()


def test_somebody_whose_name_only_begins_so_is_not_found(tmp_path: Path):
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


def test_nothing_is_erased_while_a_run_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pipeline.home import at_work

    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path))
    with at_work.at_work(tmp_path):
        code, said = call("reviewer", "A2REVIEWER", monkeypatch)
    assert code == WRONG_CALL and "let it end" in said
    assert not (tmp_path / "erased.json").exists()
