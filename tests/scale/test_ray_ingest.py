"""Raw files read by a real Ray cluster: the tables that one process makes, also where a worker dies at it."""

import gzip
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.core import engine
from pipeline.core.raw import ingest
from pipeline.core.raw.ingest import ReadContext
from pipeline.core.shards import HERE, Runner
from tests.pipeline.core.raw.test_ingest import review
from tests.scale.test_ray_fetch import workers_at

FILES, LINES = 6, 20_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Review files that share lines with each other and hold some twice, product files that share asins."""
    folder, draw = tmp_path_factory.mktemp("raw"), random.Random(0)
    found: dict[str, list[Path]] = {"reviews": [], "products": []}
    for number in range(FILES):
        lines = {
            "reviews": [
                json.dumps(
                    review(reviewerID=f"A{draw.randrange(400)}", asin=f"B{draw.randrange(400)}", reviewText="x" * 200)
                )
                for _ in range(LINES)
            ],
            "products": [
                json.dumps(
                    {"asin": f"B{draw.randrange(4000)}", "title": f"{number}", "imageURL": [f"http://h/{number}"]}
                )
                for _ in range(900)
            ],
        }
        for kind, of_kind in lines.items():
            found[kind].append(folder / f"{kind}-{number}.json.gz")
            found[kind][-1].write_bytes(gzip.compress("\n".join([*of_kind, "{broken", ""]).encode(), 1))
    return found


def read(files: dict[str, list[Path]], out: Path, runner: Runner) -> dict[str, bytes]:
    """Every table's bytes."""
    out.mkdir()
    told: list[ingest.IngestProgress] = []
    read_context = ReadContext(out, out / "parts", runner=runner)
    ingest.read_reviews(files["reviews"], "2018", told.append, read_context)
    assert told[-1].bytes == told[-1].bytes_total
    ingest.read_products(files["products"], "2018", None, read_context)
    return {path.name: path.read_bytes() for path in out.glob("*.parquet")}


@pytest.fixture(scope="module")
def alone(files: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    found = read(files, tmp_path_factory.mktemp("alone") / "out", HERE)
    assert len(found) == 4
    return found


def test_files_read_and_keys_compared_by_workers_give_the_tables_byte_for_byte(
    cluster: Runner,
    files: dict[str, list[Path]],
    alone: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    sent: list[str] = []

    def recorded(runner, work, shards, *common, real=engine.OnRay.map, **named):
        sent.append(work.__name__)
        return real(runner, work, shards, *common, **named)

    monkeypatch.setattr(engine.OnRay, "map", recorded)
    monkeypatch.setattr(ingest, "AT_ONCE", 30_000)  # rows compared at once: several ranges
    monkeypatch.setattr(ingest, "PRODUCTS_AT_ONCE", 1_000)
    assert read(files, tmp_path / "out", cluster) == alone
    assert sent == ["part_of", "repeated_reviews", "part_of", "repeated_products"]


def test_workers_killed_while_they_read_cost_nothing_but_time(
    cluster: Runner, files: dict[str, list[Path]], alone: dict[str, bytes], tmp_path: Path
):
    killed: list[int] = []

    def strike() -> None:
        deadline = time.monotonic() + 60
        while len(killed) < 2 and time.monotonic() < deadline:
            # At work: its part is begun and not whole yet.
            begun = list((tmp_path / "out" / "parts").rglob("*.tmp/rows.arrow"))
            if begun and (found := [pid for pid in workers_at("part_of") if pid not in killed]):
                killed.append(found[0])
                os.kill(found[0], signal.SIGKILL)

    striker = threading.Thread(target=strike)
    striker.start()
    found = read(files, tmp_path / "out", cluster)
    striker.join()
    assert len(killed) == 2
    assert found == alone
