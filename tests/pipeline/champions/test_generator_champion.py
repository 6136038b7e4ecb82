"""Generators are registered in PyTorch's format and compared on garments that neither was trained on."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import mlflow
import numpy as np
import pyarrow as pa
import pytest
import torch
from mlflow.models import Model
from mlflow.pyfunc import scoring_server
from starlette.testclient import TestClient

from models.lsgan.networks import LsganSettings
from models.lsgan.train import load_generator, train
from pipeline.champions import model_registry, registered_generator, succession
from pipeline.champions.model_registry import Registry
from pipeline.champions.succession import Succession
from pipeline.core import schemas
from pipeline.core.generator import generation
from pipeline.core.generator.garment_classes import carrying
from pipeline.home.storage import Storage
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import GeneratorChampionSettings

CPU = torch.device("cpu")
CLASSES = ("men_tops", "women_tops")
NAME = model_registry.model_name("generator")
SETTINGS = GeneratorChampionSettings(minimum=10, resamples=100)
COUNT, HELD_OUT = 80, 30


def garments(classes: tuple[str, ...] = CLASSES, newer: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Make dark and bright garments; `newer` more of them are held out."""
    rng = np.random.default_rng(0)
    label = np.arange(COUNT) % 2
    pixels = (rng.integers(0, 60, (COUNT, 64, 64, 3)) + 150 * label[:, None, None, None]).astype(np.uint8)
    rows = [
        {"garment": n, "asin": f"B{n}", "item": None, "garment_class": classes[label[n]], "source": "vendor",
         "sha256": f"{n:064}"[::-1], "held_out": n < HELD_OUT + newer}
        for n in range(COUNT)
    ]  # fmt: skip
    return carrying(pa.Table.from_pylist(rows, schema=schemas.GARMENTS), classes), pixels


class GeneratorHome:
    """A home for generators and its MLflow store."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(root=str(folder / "home"))
        self.tracker = Tracker(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_root=str(folder / "artifacts"))
        self.store = Registry(self.tracker.client(), self.tracker.tracking_uri)

    def enter(
        self, name: str, table: pa.Table, pixels: np.ndarray, seed: int = 0, settings: Any = SETTINGS
    ) -> Succession:
        folder = self.storage.model("generator", name)
        inputs, labels, training = generation.inputs(table), generation.labels(table), ~np.asarray(table["held_out"])
        trained_with = LsganSettings(
            width=0.05, z_dim=16, steps=2, tick_steps=1, batch_size=8, minimum_class=4, grid_columns=2, classes=2,
            seed=seed,
        )  # fmt: skip
        train(pixels[training], labels[training], generation.classes(table), trained_with, folder.path, CPU)
        folder.finish({"asset": "lsgan", "inputs": inputs, "code_version": "1", "mlflow_run": f"mlflow-{name}"})
        outcomes: list[Succession] = []

        @dg.asset
        def generator_champion(context: dg.AssetExecutionContext) -> None:
            with self.tracker.run(context) as run:
                outcomes.append(succession.generator(run, folder, table, pixels, settings))

        dg.materialize([generator_champion])
        return outcomes[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> GeneratorHome:
    return GeneratorHome(tmp_path_factory.mktemp("generators"))


@pytest.fixture(scope="module")
def first(home: GeneratorHome) -> Succession:
    return home.enter("first", *garments())


def test_the_registered_generator_draws_like_the_trained_one(home: GeneratorHome, first: Succession):
    assert first.decision is not None and first.decision.result == "first"
    network, _, _ = load_generator(home.storage.current("generator").path)
    rows = torch.cat([torch.tensor([[0.0], [1.0], [1.0]]), torch.randn(3, 16)], dim=1)  # not the example's batch size
    registered = registered_generator.read(home.store.folder(first.version))
    drawn, expected = registered(rows), registered_generator.OneInputGenerator(network)(rows)
    assert drawn.dtype == torch.uint8 and tuple(drawn.shape) == (3, 64, 64, 3)
    assert (drawn.int() - expected.int()).abs().max() <= 1


@pytest.fixture(scope="module")
def serve(home: GeneratorHome, first: Succession) -> Callable[[str], tuple[int, Any]]:
    """Return a function that sends a request to the application of `mlflow models serve`, without a port."""
    app = scoring_server.init(mlflow.pyfunc.load_model(str(home.store.folder(first.version))))
    client = TestClient(app, raise_server_exceptions=False)

    def ask(body: str) -> tuple[int, Any]:
        reply = client.post("/invocations", content=body, headers={"Content-Type": "application/json"})
        return reply.status_code, reply.json()

    return ask


def rows_of(*classes: Any, z: list[Any] | None = None) -> str:
    return json.dumps({"inputs": [[number, *(z or [0.5] * 16)] for number in classes]})


def test_served_it_draws_one_picture_per_row(serve: Callable[[str], tuple[int, Any]]):
    status, answer = serve(rows_of(0, 1, 1))
    assert status == 200 and np.array(answer["predictions"]).shape == (3, 64, 64, 3)
    status, answer = serve(rows_of(1))
    assert status == 200 and np.array(answer["predictions"]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (rows_of(0, 2), "row 1: class=2: not a class number; there are: 0 men_tops, 1 women_tops"),
        (rows_of(-1), "row 0: class=-1: not a class number"),
        (rows_of(0.5), "row 0: class=0.5: not a class number"),
        (rows_of(None), "row 0: class=nan: missing, null or no finite number"),
        (rows_of(0, z=[1.0, None] + [0.0] * 14), "row 0: z[1]=nan: missing, null"),
        (rows_of(0, z=[float("inf")] * 16), "row 0: z[0]=inf: missing, null"),
        (rows_of(0, z=[1.0] * 15), "does not match expected shape (-1, 17)"),
        (rows_of(0, z=[1.0] * 17), "does not match expected shape (-1, 17)"),
        (rows_of("men_tops"), "could not convert string to float"),
        ('{"inputs": [[0, 1], [0]]}', "inhomogeneous"),
        ('{"inputs": []}', "Failed to enforce schema"),
        ('{"inputs": null}', ""),
        ('{"inputs": [{"class": 0}]}', ""),
        ('{"inputs": {"class": [0]}}', ""),
        ('{"dataframe_records": [{"class": 0}]}', ""),
        ('{"dataframe_records": []}', ""),
        ('{"instances": [[1]]}', ""),
    ],
)
def test_served_an_invalid_row_is_a_400_with_the_reason(serve: Callable[[str], tuple[int, Any]], body: str, said: str):
    status, answer = serve(body)
    assert status == 400 and said in answer["message"], answer


def test_a_generator_registered_by_a_version_without_row_checks_can_be_read(
    home: GeneratorHome, first: Succession, tmp_path: Path
):
    folder = Path(shutil.copytree(home.store.folder(first.version), tmp_path / "old"))
    about = Model.load(str(folder))
    about.flavors["python_function"]["loader_module"] = "mlflow.pytorch"
    about.save(str(folder / "MLmodel"))
    shutil.rmtree(folder / "code")
    assert tuple(registered_generator.read(folder)(torch.zeros(3, 17)).shape) == (3, 64, 64, 3)


def test_a_version_records_its_classes_and_training_pictures(home: GeneratorHome, first: Succession):
    about = json.loads((home.store.folder(first.version) / "extra_files" / "about.json").read_text())
    assert about["classes"] == list(CLASSES) and len(about["trained_on"]) == COUNT - HELD_OUT


def test_on_equal_data_a_challenger_is_compared_by_its_distance_to_held_out_garments(
    home: GeneratorHome, first: Succession
):
    decision = home.enter("second", *garments(), seed=1).decision
    assert decision is not None and decision.same_data is True and decision.margin == 0.0
    assert decision.compared == HELD_OUT and decision.low <= decision.difference <= decision.high
    assert decision.promoted == (decision.low > 0)
    assert "held-out garments, by pixels" in decision.why


def test_with_enough_held_out_garments_a_judge_trained_on_half_of_them_compares_on_the_other(
    home: GeneratorHome, first: Succession
):
    settings = dataclasses.replace(SETTINGS, judge_minimum=12)
    decision = home.enter("judged", *garments(), seed=2, settings=settings).decision
    assert decision is not None and "held-out garments, by a judge's features" in decision.why
    assert abs(decision.compared - HELD_OUT / 2) <= 1


def test_garments_that_the_champion_was_trained_on_are_left_out(home: GeneratorHome, first: Succession):
    decision = home.enter("newer", *garments(newer=10)).decision
    assert decision is not None and decision.same_data is False and decision.margin > 0
    assert decision.compared == HELD_OUT and decision.left_out == {"trained on by the champion": 10}


def test_a_generator_of_other_classes_takes_over_with_the_reason(home: GeneratorHome, first: Succession):
    outcome = home.enter("classes", *garments(("dresses", "women_tops")))
    assert outcome.decision is not None and outcome.decision.result == "other classes"
    assert outcome.champion == outcome.version and home.store.champion(NAME).made == "classes"
