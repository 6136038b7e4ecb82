"""What Cornac's worker hands back of one training is what shorter trainings would have ended with."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.recommenders.peers import cornac_worker

USERS, ITEMS, WIDTH = 4, 6, 3


class FakeData:
    """As much of Cornac's data set as its VBPR touches: it is built, and gone through once an epoch."""

    @classmethod
    def build(cls, triples: list[tuple[int, int, float]], **_: Any) -> "FakeData":
        made = cls()
        made.triples = triples
        return made

    def add_modalities(self, **modalities: Any) -> None:
        self.features = modalities["item_image"].features

    def uij_iter(self, *_: Any, **__: Any) -> Iterator[tuple[int, int]]:
        yield from ((user, item) for user, item, _ in self.triples)


class FakeImages:
    def __init__(self, features: np.ndarray, **_: Any) -> None:
        self.features = features

    def build(self, **_: Any) -> None:
        pass


class FakeVbpr:
    """A loop with Cornac's six weights in Cornac's order, trained by torch's Adam; not its loss."""

    made: dict[str, Any]

    def __init__(self, **knobs: Any) -> None:
        FakeVbpr.made = self.knobs = knobs

    def fit(self, data: FakeData) -> "FakeVbpr":
        shapes = [(ITEMS,), (USERS, 2), (ITEMS, 2), (USERS, 2), (WIDTH, 2), (WIDTH, 1)]
        weights = [torch.ones(shape, requires_grad=True) for shape in shapes]
        adam = torch.optim.Adam(weights, lr=0.1)
        for _ in range(self.knobs["n_epochs"]):
            for user, item in data.uij_iter(1, shuffle=True):
                adam.zero_grad()
                loss = sum(((weight - user - 2 * item) ** 2).sum() for weight in weights)
                assert isinstance(loss, torch.Tensor)
                loss.backward()
                adam.step()
        self.gamma_user, self.gamma_item = (weights[place].detach().numpy() for place in (1, 2))
        return self


@pytest.fixture
def handed_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call the worker beside a fake Cornac."""
    data, models = ModuleType("cornac.data"), ModuleType("cornac.models")
    data.Dataset, data.ImageModality, models.VBPR = FakeData, FakeImages, FakeVbpr  # ty: ignore[unresolved-attribute]
    for module in (ModuleType("cornac"), data, models):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def call(epochs: list[int]) -> dict[str, np.ndarray]:
        source, target = str(tmp_path / "in.npz"), str(tmp_path / "out.npz")
        np.savez(
            source, train=np.array([[0, 1], [3, 5]]), features=np.eye(ITEMS, WIDTH, dtype=np.float32), users=USERS,
            items=ITEMS, seed=0, epochs=epochs, knobs='{"k": 2, "lambda_w": 38.4}',
        )  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim, "Adam", torch.optim.Adam)  # the worker is a process of its own, a test is not
            cornac_worker.main(source, target)
        with np.load(target) as found:
            return dict(found)

    return call


def test_one_training_tells_what_each_shorter_one_would_have(handed_back: Any) -> None:
    together = handed_back([4, 1, 2])
    assert together["theta"].shape == (3, USERS, 4) and together["item"].shape == (3, ITEMS, 4)
    for place, epochs in enumerate((1, 2, 4)):
        alone = handed_back([epochs])
        for name in ("theta", "item", "item_bias"):
            np.testing.assert_array_equal(together[name][place], alone[name][0])
    assert not np.allclose(together["theta"][0], together["theta"][1])


def test_the_knobs_reach_cornac_and_nothing_else_does(handed_back: Any) -> None:
    handed_back([3])
    knobs = {"k": 2, "lambda_w": 38.4}
    assert FakeVbpr.made == {"n_epochs": 3, "seed": 0, "use_gpu": False, "verbose": False, **knobs}
