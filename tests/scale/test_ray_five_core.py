"""The 5-core by a real Ray cluster of several processes: the bytes that this process alone makes, and kills."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.dataset import kcore, kcore_parts
from pipeline.core.shards import Here, Runner
from pipeline.core.tables import StoredTable
from tests.pipeline.core.dataset.test_kcore_parts import as_file, random_rows, stored

PART_ROWS = 2_000
STAGES = ("deal_reviews", "users_of_parts", "items_of_parts")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> StoredTable:
    return stored(tmp_path_factory.mktemp("reviews"), random_rows(20_000), row_group=1_500)


@pytest.fixture(scope="module")
def whole(reviews: StoredTable) -> list[bytes]:
    core = kcore.five_core(reviews)
    assert core.counts["interactions"] > 1_000
    return files(core)


def files(core: kcore.FiveCore) -> list[bytes]:
    return [as_file(core.interactions), as_file(core.users), as_file(core.items), repr(core.counts).encode()]


@pytest.mark.parametrize("part_rows", [900, PART_ROWS, 10_000])
def test_the_tables_are_the_ones_that_one_process_makes(cluster: Runner, reviews, whole, tmp_path: Path, part_rows):
    here = kcore.five_core(reviews, part_rows=part_rows)
    together = kcore.five_core(reviews, part_rows=part_rows, runner=cluster, folder=tmp_path / "dealt")
    assert files(here) == files(together) == whole


def test_workers_killed_in_the_midst_of_every_stage_change_nothing(cluster: Runner, reviews, whole, tmp_path: Path):
    struck = Struck(cluster, tmp_path)
    core = kcore.five_core(reviews, part_rows=PART_ROWS, runner=struck, folder=tmp_path / "dealt")
    assert files(core) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{stage}-0-was-killed" for stage in STAGES)


class Struck(Here):
    """A cluster of which in every stage the worker at the first shard is killed once."""

    def __init__(self, cluster: Runner, marks: Path) -> None:
        self.cluster, self.marks = cluster, marks

    def workers(self, *, gpu: bool = False) -> int:
        return self.cluster.workers()

    def map(self, work, shards, *common, gpu=False, look=None):
        numbered = list(enumerate(shards))
        yield from self.cluster.map(dying, numbered, work.__name__, self.marks, *common)


def dying(shard: tuple[int, object], stage: str, marks: Path, *common):
    """The stage's work on a shard; at its first attempt at the first one, killed when half a file is written."""
    number, given = shard
    mark = marks / f"{stage}-{number}-was-killed"
    work: Callable = getattr(kcore_parts, stage)
    if number or mark.exists():
        return work(given, *common)

    def killed_half_way(rows, path: Path, parts: int) -> None:
        path.write_bytes(b"half a file")
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kcore_parts, "deal", killed_half_way)  # what every stage leaves goes through it
        return work(given, *common)
