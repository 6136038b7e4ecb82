"""Registered models on a real MLflow store: versions, the champion's alias, and the recommender served over HTTP."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.compute as pc
import pytest

from pipeline.champions import model_registry, succession
from pipeline.champions.model_registry import Registry
from pipeline.champions.succession import Succession
from pipeline.core.errors import InputError
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import ChampionSettings
from tests.pipeline.champions.serving import ask, post, serving
from tests.pipeline.little_shop import CPU, MODE, LittleShop, little_shop, moved_hold_out

NAME = model_registry.model_name("recommender", MODE)
SETTINGS = ChampionSettings(minimum=20)


def with_a_numeric_id(shop: LittleShop) -> LittleShop:
    """Give the fifth reviewer an id of digits alone."""
    names = ["104" if name == "R104" else name for name in shop.users["reviewer_id"].to_pylist()]
    users = shop.users.set_column(shop.users.column_names.index("reviewer_id"), "reviewer_id", [names])
    return replace(shop, users=users.cast(shop.users.schema))


class RegistryShop:
    """A shop with its MLflow store, where models are registered."""

    def __init__(self, folder: Path, artifacts: str = "") -> None:
        self.shop: LittleShop = with_a_numeric_id(little_shop(folder / "home"))
        uri = f"sqlite:///{folder}/mlflow.db"
        self.tracker = Tracker(tracking_uri=uri, artifact_root=artifacts or str(folder / "artifacts"))
        self.client = self.tracker.client()

    @property
    def store(self) -> Registry:
        return Registry(self.client, self.tracker.tracking_uri)

    def enter(self, run: str, **changes: Any) -> Succession:
        """Finish a model with this folder name, register it and decide on it."""
        trained = self.shop.finish(run, **changes)
        outcomes: list[Succession] = []

        @dg.asset
        def recommender_champion(context: dg.AssetExecutionContext) -> None:
            with self.tracker.run(context) as tracked:
                args = (self.shop.storage, MODE, trained, self.shop.names, SETTINGS, CPU)
                outcomes.append(succession.recommender(tracked, *args))

        dg.materialize([recommender_champion])
        return outcomes[0]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> RegistryShop:
    return RegistryShop(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def first(desk: RegistryShop) -> Succession:
    return desk.enter("first", factors=desk.shop.taste(0.3, seed=1))


def champion(desk: RegistryShop) -> int:
    found = desk.store.champion(NAME)
    assert found is not None
    return found.number


def test_without_registered_models_there_is_no_champion(desk: RegistryShop):
    assert desk.store.champion("atelier-recommender-none") is None and desk.store.versions("nothing") == []


def test_the_alias_moves_by_the_rule_and_by_hand(desk: RegistryShop, first: Succession):
    """All steps in one test, because each model meets the champion that the steps before left."""
    shop = desk.shop
    assert first.decision is not None and first.decision.result == "first"
    assert first.version.number == champion(desk) == 1

    again = desk.enter("first", factors=shop.taste(0.3, seed=1))
    assert again.decision is None and len(desk.store.versions(NAME)) == 1  # registered once, decided on once

    better = desk.enter("better", factors=shop.taste(3.0, seed=2))
    assert better.decision is not None and better.decision.result == "better" and better.decision.low > 0
    assert champion(desk) == better.version.number == 2

    worse = desk.enter("worse", factors=shop.taste(0.3, seed=3))
    assert worse.decision is not None and worse.decision.result == "not better" and worse.decision.high < 0
    assert champion(desk) == 2 and worse.version.number == 3 and worse.champion.number == 2

    # A person restores an old version; models that were decided on before do not take the alias back.
    desk.client.set_registered_model_alias(NAME, "champion", "1")
    assert desk.enter("better", factors=shop.taste(3.0, seed=2)).decision is None
    assert champion(desk) == 1
    desk.client.set_registered_model_alias(NAME, "champion", "2")

    # Newer data: one user's hold-outs moved. There a model may equal the champion, but not be much worse.
    moved = moved_hold_out(shop.splits)
    equal = desk.enter("newer", splits=moved, factors=shop.taste(3.0, seed=2))
    assert equal.decision is not None and equal.decision.same_data is False
    assert equal.decision.result == "not worse" and equal.decision.left_out["trained on by the champion"] == 1
    assert champion(desk) == 4
    bad = desk.enter("newer-bad", splits=moved, factors=shop.taste(0.3, seed=3))
    assert bad.decision is not None and bad.decision.same_data is True and champion(desk) == 4


def test_a_decision_is_recorded_in_the_registry(desk: RegistryShop, first: Succession):
    version = desk.client.get_model_version(NAME, "1")
    assert version.description == f"{NAME} had no champion." and version.tags["atelier.verdict"] == "first"
    assert version.tags["data.splits"] and version.tags["trained_by"] == "mlflow-first"
    assert version.tags["dagster.run_id"] and version.run_id == first.version.run_id
    model = desk.client.get_logged_model(first.version.model_id)
    assert model.status == "READY" and model.source_run_id == first.version.run_id
    run = desk.client.get_run(first.version.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [first.version.model_id]


def test_a_champion_without_its_decision_tag_is_not_compared_with_itself(desk: RegistryShop, first: Succession):
    number = str(champion(desk))
    desk.client.delete_model_version_tag(NAME, number, "atelier.verdict")
    made = desk.client.get_model_version(NAME, number).tags["atelier.model"]
    before = len(desk.store.versions(NAME))
    trained = desk.shop.storage.model("recommender", made, MODE)
    manifest_splits = trained.manifest()["inputs"]["splits"]
    changes = {"splits": moved_hold_out(desk.shop.splits)} if made.startswith("newer") else {}
    outcome = desk.enter(made, factors=desk.shop.taste(3.0, seed=2), **changes)
    assert trained.manifest()["inputs"]["splits"] == manifest_splits
    assert outcome.decision is None and champion(desk) == int(number) and len(desk.store.versions(NAME)) == before


def test_a_model_that_cannot_be_written_leaves_no_version(
    desk: RegistryShop, first: Succession, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    before = [version.number for version in desk.store.versions(NAME)]
    with monkeypatch.context() as patch:
        patch.setattr(model_registry, "write_recommender", fails)
        with pytest.raises(OSError, match="no space left"):
            desk.enter("unlucky", factors=desk.shop.taste(9.0))
    assert [version.number for version in desk.store.versions(NAME)] == before
    models = desk.client.search_logged_models([desk.client.get_experiment_by_name("atelier").experiment_id])
    assert sorted(str(model.status) for model in models if model.tags["atelier.model"] == "unlucky") == ["FAILED"]


def test_a_champion_without_its_files_is_reported_with_the_remedy(desk: RegistryShop, first: Succession):
    folder = desk.store.folder(first.version)
    aside = folder.rename(folder.with_name("aside"))
    with pytest.raises(InputError, match=rf"files of models:/{NAME}/1 cannot be read .* to another version"):
        desk.store.folder(first.version)
    aside.rename(folder)


def test_requirements_are_pinned_and_the_imported_packages_are_copied(desk: RegistryShop, first: Succession):
    folder = desk.store.folder(first.version)
    needed = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in needed} == set(model_registry.RECOMMENDER_NEEDS)
    assert all("==" in line and "+" not in line for line in needed)
    assert (folder / "code" / "models" / "data" / "factors.py").is_file() and (
        folder / "code" / "pipeline" / "champions" / "served_model.py"
    ).is_file()
    assert not list(folder.rglob("*.pkl"))


@pytest.fixture(scope="module")
def server(desk: RegistryShop, first: Succession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(first.version.uri, desk.tracker.tracking_uri, tmp_path_factory.mktemp("serve")) as address:
        yield address


def test_served_over_http_it_ranks_for_one_person(desk: RegistryShop, server: str):
    user = desk.shop.users["reviewer_id"][3].as_py()
    rows = ask(server, {"user_id": user, "k": 4})
    factors = desk.shop.taste(0.3, seed=1)
    scores = factors.theta[3] @ factors.item.T
    own = set(desk.shop.splits.filter(pc.equal(desk.shop.splits["user"], int(factors.users[3])))["item"].to_pylist())
    best = [int(factors.items[row]) for row in np.argsort(-scores) if int(factors.items[row]) not in own][:4]
    assert [row["item"] for row in rows] == [f"B{item:04}" for item in best]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert {(row["row"], row["user_id"], row["known"]) for row in rows} == {(0, user, True)}
    of_item = dict(zip(factors.items.tolist(), scores.tolist(), strict=True))
    assert [row["score"] for row in rows] == pytest.approx([of_item[item] for item in best], rel=1e-4)


def test_served_over_http_one_request_holds_several_users_and_options(desk: RegistryShop, server: str):
    user = desk.shop.users["reviewer_id"][0].as_py()
    picture = base64.b64encode(desk.shop.png[0]).decode()
    rows = ask(
        server,
        {"user_id": user, "k": 2, "class": "women_tops"},
        {"user_id": "nobody"},
        {"picture": picture},
        {"user_id": user, "picture": picture},
        {"user_id": user, "k": 60, "exclude_seen": False},
        {"user_id": user, "k": 60, "exclude_seen": None},
    )
    by_row = {number: [row for row in rows if row["row"] == number] for number in range(6)}
    kind = dict(
        zip(desk.shop.products["asin"].to_pylist(), desk.shop.products["garment_class"].to_pylist(), strict=True)
    )
    assert [kind[row["item"]] for row in by_row[0]] == ["women_tops"] * 2
    assert len(by_row[1]) == 10 and not any(row["known"] for row in by_row[1])
    assert len(by_row[2]) == 1 and by_row[2][0]["user_id"] is None and not by_row[2][0]["known"]
    assert len(by_row[3]) == 1 and by_row[3][0]["item"] is None and by_row[3][0]["rank"] >= 1
    assert len(by_row[4]) == 60 and by_row[4][0]["known"]
    assert len(by_row[5]) == 60 - 5  # without the user's own items


R = {"user_id": "R100"}
PICTURE = base64.b64encode(b"<html>").decode()
WRONG = [
    ([{**R, "class": "hats"}], "row 0: class 'hats' is unknown; there are: men_tops, women_tops"),
    ([{**R, "class": 5}], "row 0: class=5: a garment class's name was expected"),
    ([R, {**R, "k": 0}], "row 1: k=0.0: a number from 1 to 10,000"),
    ([{**R, "k": 0}], "row 0: k=0: a number from 1 to 10,000"),
    ([{**R, "k": -3}], "row 0: k=-3: a number from 1"),
    ([{**R, "k": 10**30}], "row 0: k=1000000000000000000000000000000: a number from 1"),
    ([{**R, "k": 2.5}], "row 0: k=2.5: a whole number"),
    ([{**R, "k": float("inf")}], "row 0: k=inf: a whole number"),
    ([{**R, "k": True}], "row 0: k=True: a whole number"),
    ([{**R, "k": "5"}], "row 0: k='5': a whole number"),
    ([{**R, "k": [5]}], "row 0: k=[5]: a whole number"),
    ([{**R, "picture": PICTURE}], "row 0: not_a_picture"),
    ([{**R, "picture": "http://127.0.0.1/new.jpg"}], "row 0: picture: not base64"),
    ([{**R, "picture": ""}], "row 0: picture: base64 text was expected"),
    ([{**R, "picture": 7}], "row 0: picture: base64 text was expected"),
    ([{**R, "exclude_seen": "no"}], "row 0: exclude_seen='no': true or false"),
    ([{**R, "exclude_seen": 1}], "row 0: exclude_seen=1: true or false"),
    ([{"userId": "R100"}], "'userId': no column of a request; there are: user_id, k"),
    ([{"userId": "R100", "k": None}], "'userId': no column of a request"),
    ([{**R, "clas": "men_tops"}], "'clas': no column of a request"),
    ([{}], "row 0: user_id: missing or null"),
    ([R, {}], "row 1: user_id: missing or null"),
    ([{"k": 3}], "row 0: user_id: missing or null"),
    ([{"user_id": None}], "row 0: user_id: missing or null"),
    ([{"user_id": 123}, {"user_id": None}], "row 1: user_id: missing or null"),
    ([{"user_id": float("nan"), "k": 1}], "row 0: user_id: missing or null"),
    ([{"user_id": 1.5}], "row 0: user_id=1.5: text or a whole number"),
    ([{"user_id": 2**53 + 1}, {"picture": PICTURE}], "row 0: user_id=9007199254740992.0: came as a float"),
    ([{"user_id": True}], "row 0: user_id=True: text or a whole number"),
    ([R, {"user_id": ["R100"]}], "row 1: user_id=['R100']: text or a whole number"),
    ([{"user_id": {"id": "R100"}}], "row 0: user_id={'id': 'R100'}: text or a whole number"),
    ([{"user_id": " "}], "row 0: user_id=' ': it is empty"),
    ([{"user_id": "\ud800"}], "surrogates not allowed"),
    ([], "the request has no row"),
    (["R100"], "0: no column of a request"),
]


@pytest.mark.parametrize(("records", "said"), WRONG)
def test_served_over_http_an_invalid_row_is_a_400_with_its_number_and_the_reason(
    server: str, records: list[Any], said: str
):
    status, answer = post(server, json.dumps({"dataframe_records": records}))
    assert status == 400 and said in answer["message"]


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ('{"instances": ["R100"]}', "application/json", "rows with named columns were expected"),
        # MLflow would turn these into columns that mix up the rows.
        ('{"instances": [{"user_id": "R100"}, {"k": 1}]}', "application/json", "rows with named columns were expected"),
        ('{"instances": [{"user_id": "R100"}]}', "application/json", "rows with named columns were expected"),
        ('{"inputs": "R100"}', "application/json", "rows with named columns were expected"),
        ('{"inputs": {"user_id": "R100"}}', "application/json", "rows with named columns were expected"),
        ('{"dataframe_split": {"data": [["R100"]]}}', "application/json", "0: no column of a request"),
        (
            '{"dataframe_split": {"columns": ["user_id", "user_id"], "data": [["R100", "R101"]]}}',
            "application/json",
            "'user_id': each column may occur once",
        ),
        ('{"prompt": "R100"}', "application/json", "rows with named columns were expected"),
        ('["R100"]', "application/json", "Received a list"),
        ("R100", "application/json", "valid JSON"),
        ("userId,k\nR100,1\n", "text/csv", "'userId': no column of a request"),
        ("user_id,k\nR100,1\n,2\n", "text/csv", "row 1: user_id: missing or null"),
        ("user_id,k\nR100,few\n", "text/csv", "row 0: k='few': a whole number"),
        ("user_id,k\n", "text/csv", "the request has no row"),
        ("", "text/csv", "valid CSV"),
    ],
)
def test_served_over_http_another_form_of_request_is_a_400(server: str, body: str, kind: str, said: str):
    status, answer = post(server, body, kind)
    assert status == 400 and said in answer["message"], answer


def test_served_over_http_a_number_is_matched_to_the_users_text_id(desk: RegistryShop, server: str):
    assert desk.shop.users["reviewer_id"][4].as_py() == "104"
    asked = [
        json.dumps({"dataframe_records": [{"user_id": 104, "k": 1}]}),
        json.dumps({"dataframe_records": [{"user_id": 104.0, "k": 1}]}),
        json.dumps({"dataframe_records": [{"user_id": "104", "k": 1}]}),
        json.dumps({"inputs": [{"user_id": 104, "k": 1}]}),
    ]
    answers = [post(server, body) for body in asked]
    answers.append(post(server, "user_id,k\n104,1\n", "text/csv"))
    assert [status for status, _ in answers] == [200] * 5
    rows = [answer["predictions"] for _, answer in answers]
    assert rows[0][0]["known"] and rows[0][0]["user_id"] == "104" and all(row == rows[0] for row in rows)


def test_served_over_http_csv_with_gaps_is_answered(desk: RegistryShop, server: str):
    user = desk.shop.users["reviewer_id"][3].as_py()
    status, answer = post(server, f"user_id,k,exclude_seen\n{user},2,\nnobody,,false\n", "text/csv")
    assert status == 200
    assert [row["row"] for row in answer["predictions"]] == [0] * 2 + [1] * 10
    assert [row["known"] for row in answer["predictions"]] == [True] * 2 + [False] * 10
