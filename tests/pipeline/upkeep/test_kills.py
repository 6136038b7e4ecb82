"""A short soak: the command is killed while it writes a table and a checkpoint, and meets a full disk.

`make soak` is the long one, with the servers and fifty kills.
"""

import multiprocessing
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.training import checkpoint as checkpoints
from pipeline.core.durable import write_whole
from pipeline.runtime.exits import explained
from tests.soak import shop as shops
from tests.soak.lives import Lives
from tests.soak.shop import Shop

SELECT = "+key:dvbpr"
KILLED, FAILED, DONE = 9, 1 << 8, 0
IN_THE_RUN = 10  # tables: the inspection before a first run writes six
# Forked from a clean process: a fork of pytest itself, with the threads other tests have left in it, can crash.
PROCESSES = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch, shops.opened(tmp_path_factory.mktemp("kills")) as found:
        patch.setenv("DAGSTER_HOME", "")
        for name in ("ATELIER_DATABASE", "ATELIER_ARTIFACTS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        yield found


@pytest.mark.slow
def test_kills_during_a_table_and_a_checkpoint_and_a_full_disk_lose_nothing(shop: Shop):
    """All kills in one test, because each run continues from the one before."""
    undisturbed, home = shop.folder / "undisturbed", shop.folder / "killed"
    calm = Lives(shop.profile, SELECT, shop.of(undisturbed), shop.folder / "lives.log")
    assert calm.live(at="end") == DONE, calm.log.read_text()
    calm.close()

    lives = Lives(shop.profile, SELECT, shop.of(home), shop.folder / "killed.log")
    assert lives.live(at="table", count=IN_THE_RUN, after=0.0) == KILLED
    assert any("stays STARTED" in line for line in shops.left_open(home))
    assert lives.live(at="checkpoint", count=3, after=0.0) == KILLED

    assert lives.live(at="end", file_limit=20_000) == FAILED
    said = lives.log.read_text()
    assert "recovered: 1 run of a killed process marked failed" in said
    assert "a SQLite file under ATELIER_HOME cannot be written: make room" in said

    assert lives.live(at="checkpoint", count=2, after=0.001) == KILLED
    assert lives.live(at="end") == DONE, lives.log.read_text()
    lives.close()
    assert shops.lost(home, undisturbed) == []


def in_a_child(first: Callable[[], object], body: Callable[[Path], str], folder: Path) -> str:
    """Call `first`, then `body`, in a process of their own; return what `body` returns."""
    receives, sends = PROCESSES.Pipe(duplex=False)
    child = PROCESSES.Process(target=_child, args=(sends, first, body, folder))
    child.start()
    sends.close()
    said = receives.recv()
    child.join()
    return said


def _child(sends: Connection, first: Callable[[], object], body: Callable[[Path], str], folder: Path) -> None:
    first()
    sends.send(body(folder))


def write_more(folder: Path) -> str:
    """Write a checkpoint and a table of 400 kB each; return what went wrong."""
    many = pa.table({"x": np.random.default_rng(0).random(100_000)})
    said = ""
    for write in (
        lambda: checkpoints.save(folder / "last.pt", {"weights": torch.rand(100_000)}),
        lambda: write_whole(folder / "t.parquet", lambda path: pq.write_table(many, path)),
    ):
        try:
            write()
        except Exception as error:
            said += explained(error) + "\n"
    return said


def short_files_only() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def test_a_checkpoint_and_a_table_that_do_not_fit_are_named_and_the_old_ones_stay(tmp_path: Path):
    """In a process that may write no longer file than the old ones are; afterwards it works."""
    small = {"weights": torch.zeros(100)}
    checkpoint, table = tmp_path / "last.pt", tmp_path / "t.parquet"
    checkpoints.save(checkpoint, small)
    pq.write_table(pa.table({"x": [1.0]}), table)
    said = in_a_child(short_files_only, write_more, tmp_path)
    assert said.count("raise the limit (ulimit -f), or use another disk, and run again") == 2
    assert torch.equal(checkpoints.load(checkpoint)["weights"], small["weights"])
    assert pq.read_table(table).num_rows == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "t.parquet"]
    assert write_more(tmp_path) == "" and pq.read_table(table).num_rows == 100_000


def become_nobody() -> None:
    """Give up root, whom permissions do not bind."""
    if os.geteuid() == 0:
        os.setuid(65534)


def stay() -> None:
    """Change nothing."""


def overwrite_users(folder: Path) -> str:
    try:
        write_whole(folder / "users.parquet", lambda path: path.write_bytes(b"the new one"))
    except OSError as error:
        return explained(error)
    return "written"


def test_a_folder_that_cannot_be_written_is_named_and_the_table_in_it_stays():
    with tempfile.TemporaryDirectory(prefix="atelier-kills-") as place:  # pytest's own root alone may pass
        Path(place).chmod(0o755)
        folder = Path(place) / "tables"
        folder.mkdir()
        (folder / "users.parquet").write_bytes(b"the old one")
        folder.chmod(0o555)
        said = in_a_child(become_nobody, overwrite_users, folder)
        assert "fix the permissions, or name another ATELIER_HOME, and run again" in said
        assert (folder / "users.parquet").read_bytes() == b"the old one"
        folder.chmod(0o755)
        assert in_a_child(stay, overwrite_users, folder) == "written"
