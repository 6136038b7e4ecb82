"""A peer learns from train alone, its best setting is chosen on validation, and what it returns is checked."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.data.item_facts import ItemFacts
from models.data.score_matrix import MOST_SCORES, ScoreMatrix
from models.metrics import selection
from pipeline.recommenders.contract import FitContext, FitProgress, NotApplicableError
from pipeline.recommenders.peers import exchange, peer
from pipeline.recommenders.peers.environment import PeerEnvironment, PeerError
from pipeline.recommenders.peers.field import SasRec
from pipeline.recommenders.peers.hm_recipe import HmRecipe
from pipeline.recommenders.peers.peer import Peer
from pipeline.recommenders.peers.settings import (
    HmRecipeSettings,
    LightFmSettings,
    LightGcnSettings,
    PeerSettings,
    TunedCornacSettings,
)
from pipeline.recommenders.registry import in_studies
from tests.models.planted import planted

# A model that knows the colours of the planted shop; `sign` is what there is to tune, and more epochs make it worse.
WORKER = """
import json, sys
import numpy as np
with np.load(sys.argv[1]) as file:
    given = {name: file[name] for name in file.files}
knobs, users, items = json.loads(str(given["knobs"])), int(given["users"]), int(given["items"])
theta = np.where(np.arange(users) % 2, 1.0, -1.0)[:, None] * knobs["sign"]
item = np.where(np.arange(items) % 2, 1.0, -1.0)[:, None]
noise = np.random.default_rng(0).standard_normal((users, 1))
thetas = np.stack([theta + (number - 1) * noise for number in given["epochs"]])
rows = len(thetas)
np.savez(sys.argv[2], theta=thetas, item=np.stack([item] * rows), item_bias=np.zeros((rows, items)))
"""


@dataclass(frozen=True)
class SignSettings(PeerSettings):
    """Settings of the peer of these tests."""

    epochs: tuple[int, ...] = (9, 1)

    def points(self) -> list[dict[str, Any]]:
        return [{"sign": -1}, {"sign": 1}]


class OfTest(Peer):
    """A peer whose worker is a file of the test."""

    name = "of_test"
    title = "Peer of the test"
    environment = PeerEnvironment("of_test", ("of-test==1.0",), "sys")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(PeerEnvironment, "installed", lambda *_: Path(sys.executable))
    monkeypatch.setattr(peer, "__file__", str(tmp_path / "peer.py"))
    monkeypatch.setattr(OfTest, "worker", "worker.py", raising=False)
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path / "worker.py"


def context(folder: Path, data: Dataset | None = None, **more: Any) -> FitContext:
    return FitContext(
        data=data or planted(), features=None, feature_size=0, folder=folder / "work", device=torch.device("cpu"),
        seed=0, home=folder, **more,
    )  # fmt: skip


def test_the_best_point_and_number_of_epochs_on_validation_are_kept(worker: Path, tmp_path: Path) -> None:
    reports: list[FitProgress] = []
    given = context(tmp_path, report=reports.append)
    fitted = OfTest().fit(given, SignSettings())
    grid = fitted.details["grid"]
    assert [(one["sign"], one["epochs"]) for one in grid] == [(-1, 1), (-1, 9), (1, 1), (1, 9)]
    assert max(grid, key=lambda one: one["validation_auc"]) == grid[2]
    touched = np.concatenate([given.data.train, given.data.validation, given.data.test])
    assert selection.measure(fitted.model, given.data.validation, touched) == grid[2]["validation_auc"]
    assert isinstance(fitted.model, Factors) and fitted.model.theta[1, 0] == 1
    assert fitted.details["selected_by"] == "auc" and fitted.details["peer"] == "of-test 1.0"
    assert [(one.done, one.total, one.note) for one in reports] == [(0, 2, "sign -1"), (1, 2, "sign 1"), (2, 2, "")]


def test_the_worker_gets_what_a_model_may_learn_from_and_no_held_out_pair(tmp_path: Path) -> None:
    data = planted()
    data = replace(data, train_time=np.arange(len(data.train)) + 10**9)
    facts = ItemFacts(np.ones((len(data.items), 3)), np.zeros((len(data.items), 1)), (("all",),))
    features = np.random.default_rng(0).standard_normal((len(data.image_item), 4)).astype(np.float32)
    one = replace(context(tmp_path, data, facts=facts), features=features)
    exchange.write_given(tmp_path / "in.npz", one, (20, 5), {"k": 2})
    with np.load(tmp_path / "in.npz") as file:
        given = dict(file)
    expected = {"train", "train_time", "users", "items", "seed", "features", "text", "categories", "epochs", "knobs"}
    assert set(given) == expected | {"unknown_time"}
    np.testing.assert_array_equal(given["train"], data.train)
    np.testing.assert_array_equal(given["train_time"], data.train_time)
    np.testing.assert_array_equal(given["text"], facts.text)
    assert given["epochs"].tolist() == [5, 20] and str(given["knobs"]) == '{"k": 2}'
    seen = np.unique(data.train[:, 1])
    by_item = np.stack([features[data.image_item == item].mean(0) for item in range(len(data.items))])
    centred = by_item - by_item[seen].mean(0)
    np.testing.assert_allclose(given["features"], centred / np.sqrt((centred[seen] ** 2).mean()), rtol=1e-4, atol=1e-6)


def test_without_features_and_facts_their_arrays_have_no_columns(tmp_path: Path) -> None:
    one = context(tmp_path)
    exchange.write_given(tmp_path / "in.npz", one, (1,), {})
    with np.load(tmp_path / "in.npz") as given:
        assert [given[name].shape for name in ("features", "text", "categories")] == [(len(one.data.items), 0)] * 3


def returned(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "out.npz", **arrays)  # ty: ignore[invalid-argument-type]
    return folder / "out.npz"


def test_scores_that_are_no_product_come_back_as_a_matrix(tmp_path: Path) -> None:
    data = planted()
    scores = np.random.default_rng(0).standard_normal((1, len(data.users), len(data.items))).astype(np.float32)
    (model,) = exchange.read_returned(returned(tmp_path, scores=scores), data, 1)
    assert isinstance(model, ScoreMatrix)
    np.testing.assert_array_equal(model.scores, scores[0])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda arrays: arrays.pop("item"), "item"),
        (lambda arrays: arrays.update(theta=arrays["theta"][:, 1:]), "theta is"),
        (lambda arrays: arrays.update(item=np.full_like(arrays["item"], np.nan)), "item"),
        (lambda arrays: arrays.update({name: values[:1] for name, values in arrays.items()}), "models, not 2"),
    ],
    ids=["missing", "another shape", "not finite", "too few"],
)
def test_what_cannot_be_scores_is_refused(spoil: Any, said: str, tmp_path: Path) -> None:
    data = planted()
    arrays = {"theta": np.ones((2, len(data.users), 3)), "item": np.ones((2, len(data.items), 3))}
    arrays["item_bias"] = np.ones((2, len(data.items)))
    assert len(exchange.read_returned(returned(tmp_path, **arrays), data, 2)) == 2
    spoil(arrays)
    with pytest.raises(PeerError, match=f"(?s)a peer's worker returned no scores: .*{said}"):
        exchange.read_returned(returned(tmp_path, **arrays), data, 2)


def test_a_file_that_is_missing_or_cut_off_is_an_error_of_the_peer(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="returned no scores"):
        exchange.read_returned(tmp_path / "out.npz", planted(), 1)
    path = returned(tmp_path, scores=np.ones((1, 24, 60), np.float32))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(PeerError, match="returned no scores"):
        exchange.read_returned(path, planted(), 1)


def test_without_times_a_peer_that_needs_the_order_is_not_applicable(tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match="SASRec needs the times of purchases"):
        SasRec().fit(context(tmp_path), PeerSettings())


def test_the_recipe_is_for_the_time_after_train_alone_and_for_matrices_of_bounded_size(tmp_path: Path) -> None:
    data = planted()
    data = replace(data, train_time=np.arange(len(data.train)) + 10**9)
    with pytest.raises(NotApplicableError, match="hold out by time"):
        HmRecipe().fit(context(tmp_path, data), HmRecipeSettings())
    users = MOST_SCORES // len(data.items) + 1
    large = replace(data, users=np.arange(users))
    with pytest.raises(NotApplicableError, match="50,000,000 at most"):
        HmRecipe().fit(context(tmp_path, large, held_out_later=True), HmRecipeSettings())


def test_every_peer_names_a_worker_that_is_there_and_imports_nothing_of_this_project() -> None:
    peers = [one for one in in_studies().values() if isinstance(one, Peer)]
    assert len(peers) >= 6
    for one in peers:
        source = Path(peer.__file__).with_name(one.worker).read_text()
        assert "import models" not in source and "import pipeline" not in source
        assert "from models" not in source and "from pipeline" not in source
        assert all("==" in requirement for requirement in one.environment.requirements)
        assert not one.usual and not one.baseline


def test_cornacs_regularisers_are_scaled_by_the_batch() -> None:
    points = TunedCornacSettings(regularisation=(0.3,)).points()
    assert [point["lambda_w"] for point in points] == [pytest.approx(0.3 * 128)]


def test_every_penalty_is_tried_with_every_other_setting() -> None:
    light = LightFmSettings(learning_rate=(0.02, 0.05), alpha=(0.0, 1e-5)).points()
    found = [(point["learning_rate"], point["user_alpha"], point["item_alpha"]) for point in light]
    assert found == [(0.02, 0.0, 0.0), (0.02, 1e-5, 1e-5), (0.05, 0.0, 0.0), (0.05, 1e-5, 1e-5)]
    graph = LightGcnSettings(layers=(2, 3), l2=(1e-4, 1e-2)).points()
    assert [(point["layers"], point["l2"]) for point in graph] == [(2, 1e-4), (2, 1e-2), (3, 1e-4), (3, 1e-2)]


@pytest.mark.parametrize("wrong", [{"epochs": ()}, {"epochs": (0, 5)}, {"most_minutes": 0}])
def test_settings_that_train_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PeerSettings(**wrong)
