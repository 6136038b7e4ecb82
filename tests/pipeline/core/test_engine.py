"""The engine's name is checked before anything runs; a cluster is what `make scale` tests."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.core import engine
from pipeline.core.errors import InputError
from pipeline.core.shards import HERE, shard_size
from pipeline.home import environment
from pipeline.runtime.exits import WRONG_CALL, ended
from tests.pipeline.conftest import TINY, free_port, isolate, small_catalogue


def test_without_a_word_everything_runs_in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    isolate(monkeypatch, tmp_path)
    with engine.running(environment.engine(), environment.ray_address()) as runner:
        assert runner is HERE
        assert runner.workers() == 1
        assert list(runner.map(divmod, [7, 8], 3)) == [(2, 1), (2, 2)]


def test_an_unknown_engine_is_a_wrong_call_that_names_the_known_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from pipeline.cli.run import run
    from pipeline.sample.catalogue import write_catalogue

    shop = write_catalogue(tmp_path / "shop", small_catalogue())
    isolate(
        monkeypatch,
        tmp_path / "home",
        ATELIER_ENGINE="spark",
        ATELIER_REVIEWS=str(shop.reviews),
        ATELIER_PRODUCTS=str(shop.products),
    )
    console = Console(record=True, width=160)

    def work() -> int:
        run(str(TINY), "*", console)
        return 0

    assert ended(work, console) == WRONG_CALL
    assert "ATELIER_ENGINE is 'spark'; allowed: local, ray" in console.export_text()


def test_ray_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install -e \.\[ray\]"):
        engine.check("ray")


def test_an_address_without_a_cluster_is_a_wrong_call():
    pytest.importorskip("ray")
    for address in (f"127.0.0.1:{free_port()}", "nonsense"):
        with pytest.raises(InputError, match="no Ray cluster answers at"), engine.running("ray", address):
            pass


def test_shards_are_whole_batches_about_four_a_worker():
    assert shard_size(1600, 4) == 100
    assert shard_size(1600, 4, least=64) == 128
    assert shard_size(3, 4) == 1
    assert shard_size(10**8, 4) == 20_000
