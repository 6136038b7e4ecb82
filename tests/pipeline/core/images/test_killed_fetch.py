"""After kill -9 at any moment the next run resumes, and the result equals that of an undisturbed run."""

import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.images.fetch import FetchSettings, fetch
from pipeline.core.images.ledger import PictureStore
from tests.pipeline.core.fault_server import FaultServer

KILLS = 10
URLS = 600
FLUSH = 40
CONNECTIONS = 8

# Imports once, then forks a fetch for every line that it reads; prints its process id and how it ended.
LIVES = """
import os, sys
from pathlib import Path
import pandas  # otherwise pyarrow imports it in every fork
from pipeline.core.images.fetch import fetch
from pipeline.core.images.ledger import PictureStore
from tests.pipeline.core.images.test_killed_fetch import settings_for, urls_of
host, folder = sys.argv[1], Path(sys.argv[2])
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        fetch(urls_of(host), PictureStore(folder), settings_for(host))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def urls_of(host: str) -> list[str]:
    """List good pictures, some of them equal, and every quick permanent fault."""
    kinds = ["ok/{0}", "ok/{1}", "ok/{0}", "status/404", "status/500", "html", "tiny", "truncated/{0}", "to/ok/{0}"]
    paths = (kinds[number % len(kinds)].format(number, number % 7) for number in range(URLS))
    return [f"http://{host}/{path}?{number}" for number, path in enumerate(paths)]


def settings_for(host: str) -> FetchSettings:
    return FetchSettings(
        allow_hosts=frozenset({host}), flush_every=FLUSH, concurrency=CONNECTIONS, retries=1, backoff=0.001
    )


def table_bytes(table: pa.Table) -> bytes:
    """Serialise the table without the times of fetching, which differ between runs."""
    written = io.BytesIO()
    pq.write_table(table.drop_columns(["fetched_at"]), written)
    return written.getvalue()


def pictures(store: PictureStore) -> dict[str, bytes]:
    shas = {sha for sha in store.ledger(["sha256"])["sha256"].to_pylist() if sha is not None}
    return dict(store.read(shas))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_ten_kills_at_random_moments_give_the_same_store_as_an_undisturbed_run(
    server: FaultServer, tmp_path: Path
) -> None:
    moments = random.Random(5)
    folder = tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])}
    with subprocess.Popen(
        [sys.executable, "-c", LIVES, server.host, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as lives:
        assert lives.stdin is not None and lives.stdout is not None
        settled = 0
        for kill in range(KILLS + 1):
            server.requests.clear()
            moment = moments.randint(20, 70) if kill < KILLS else None
            started: list[int] = []

            def strike(moment: int | None = moment, started: list[int] = started) -> None:
                if moment is not None and server.total >= moment and started:
                    os.kill(started[0], signal.SIGKILL)

            server.on_request = strike
            print(file=lives.stdin, flush=True)
            started.append(int(lives.stdout.readline()))
            ended = int(lives.stdout.readline())
            assert (ended == signal.SIGKILL) == (kill < KILLS)
            kept = len(PictureStore(folder).ledger(["url"]))
            answered = server.requests.total() // 3  # every URL takes three requests at most: a redirect, a retry
            assert kept >= settled + answered - FLUSH - CONNECTIONS
            assert kept >= settled
            settled = kept
        lives.stdin.close()
    server.on_request = lambda: None
    undisturbed = PictureStore(tmp_path / "undisturbed")
    report = fetch(urls_of(server.host), undisturbed, settings_for(server.host))
    assert set(report.reasons) == {"ok", "http_404", "http_5xx", "not_a_picture", "too_small", "truncated"}
    killed = PictureStore(folder)
    assert table_bytes(killed.ledger()) == table_bytes(undisturbed.ledger())
    assert pictures(killed) == pictures(undisturbed)
    assert killed.sizes.pictures == undisturbed.sizes.pictures  # none stored twice
