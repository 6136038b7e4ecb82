"""Settle batch norm on fewer batches: the tests need no precise statistics, and most of their time would go there."""

import pytest

from models.garments import state


@pytest.fixture(autouse=True)
def few_settling_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_AT_TICKS", 1)
    monkeypatch.setattr(state, "_AT_THE_END", 1)
