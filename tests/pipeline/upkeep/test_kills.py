"""A short soak: the command is killed while it writes a table and a checkpoint, and meets a full disk.

`make soak` is the long one, with the servers and fifty kills.
"""

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch, shops.opened(tmp_path_factory.mktemp("kills")) as found:
        patch.setenv("DAGSTER_HOME", "")
        for name in ("ATELIER_DATABASE", "ATELIER_ARTIFACTS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        yield found


def test_kills_during_a_table_and_a_checkpoint_and_a_full_disk_lose_nothing(shop: Shop):
    """All kills in one test, because each run continues from the one before."""
    undisturbed, home = shop.folder / "undisturbed", shop.folder / "killed"
    calm = Lives(shop.profile, SELECT, shop.of(undisturbed), shop.folder / "lives.log")
    assert calm.live(at="end") == DONE, calm.log.read_text()
    calm.close()

    lives = Lives(shop.profile, SELECT, shop.of(home), shop.folder / "killed.log")
    assert lives.live(at="table", count=4, after=0.0) == KILLED
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


def test_a_checkpoint_and_a_table_that_do_not_fit_are_named_and_the_old_ones_stay(tmp_path: Path):
    """In a process that may not write files larger than the old ones; without the limit it works."""
    small, large = {"weights": torch.zeros(100)}, {"weights": torch.rand(100_000)}
    checkpoint, table = tmp_path / "last.pt", tmp_path / "t.parquet"
    checkpoints.save(checkpoint, small)
    pq.write_table(pa.table({"x": [1]}), table)
    many = pa.table({"x": torch.rand(100_000).numpy()})

    def both() -> str:
        said = ""
        for write in (
            lambda: checkpoints.save(checkpoint, large),
            lambda: write_whole(table, lambda path: pq.write_table(many, path)),
        ):
            try:
                write()
            except Exception as error:
                said += explained(error) + "\n"
        return said

    said = in_a_child(both, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)))
    assert said.count("raise the limit (ulimit -f), or use another disk, and run again") == 2
    assert torch.equal(checkpoints.load(checkpoint)["weights"], small["weights"])
    assert pq.read_table(table).num_rows == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "t.parquet"]
    assert both() == "" and pq.read_table(table).num_rows == 100_000


def in_a_child(body: Callable[[], str], first: Callable[[], object]) -> str:
    """Call `first` and `body` in a child process; return the text of `body`."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            first()
            os.write(writes, body().encode())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as said:
        return said.read().decode()


def test_a_folder_that_cannot_be_written_is_named_and_the_table_in_it_stays():
    """Run as an unprivileged user, because root may write everywhere."""
    with tempfile.TemporaryDirectory(prefix="atelier-kills-") as place:  # other users cannot enter pytest's tmp_path
        Path(place).chmod(0o755)
        folder = Path(place) / "tables"
        folder.mkdir()
        (folder / "users.parquet").write_bytes(b"the old one")
        folder.chmod(0o555)

        def overwrites() -> str:
            try:
                write_whole(folder / "users.parquet", lambda path: path.write_bytes(b"the new one"))
            except OSError as error:
                return explained(error)
            return "written"

        said = in_a_child(overwrites, lambda: os.geteuid() == 0 and os.setuid(65534))
        assert "mend the permissions, or name another ATELIER_HOME, and run again" in said
        assert (folder / "users.parquet").read_bytes() == b"the old one"
        folder.chmod(0o755)
        assert in_a_child(overwrites, lambda: None) == "written"
