"""A home made by a real run, then moved: every command continues there and writes nowhere else. Takes minutes.

`ATELIER_EDGES=1 python -m pytest tests/pipeline/home/test_moved_home.py`; what is quick of it is `test_place.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.home import environment as variables
from pipeline.home.place import CACHES
from tests.pipeline.conftest import TINY, free_port, made

pytestmark = pytest.mark.skipif(not os.environ.get("ATELIER_EDGES"), reason="minutes: set ATELIER_EDGES=1")
ROOT = Path(__file__).parents[3]
NAME = 'shöp\'s 100% #2 "home"'
PATIENCE = 900  # seconds for one command, on a busy machine


@dataclass
class Moved:
    """A moved home, and the user's folders, where nothing may be written."""

    home: Path
    person: Path
    before: Path  # the old location: a file now, so that no command can create it again
    environment: dict[str, str]

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the project."""
        return subprocess.run(
            [sys.executable, "-m", *words], env={**self.environment, **more}, cwd=self.person / "work",
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip

    def elsewhere(self) -> list[str]:
        """Find new files and folders in the user's folders."""
        there = {"work", "tmp"}
        return [str(path) for path in self.person.rglob("*") if str(path.relative_to(self.person)) not in there]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    folder = tmp_path_factory.mktemp("moved")
    with pytest.MonkeyPatch.context() as patch:
        home = made(patch, folder / "made", "+key:recommender_champion")
        person, place = folder / "person", folder / NAME
        for name in ("work", "tmp"):
            (person / name).mkdir(parents=True)
        shutil.move(home.folder, place)
        home.folder.write_text("nobody makes this place again")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", *CACHES))}
        yield Moved(place, person, home.folder, {
            **kept, "ATELIER_HOME": str(place), "HOME": str(person), "TMPDIR": str(person / "tmp"),
            "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        })  # fmt: skip


def test_every_command_continues_in_a_moved_home_and_writes_nowhere_else(moved: Moved):
    who = pq.read_table(moved.home / "tables" / "users.parquet")["reviewer_id"][0].as_py()
    other = moved.home.parent / "other.yaml"
    other.write_text(TINY.read_text().replace("  dvbpr:\n    config:\n", "  dvbpr:\n    config:\n      seed: 5\n"))
    model = "key:dvbpr or key:recommender_evaluation or key:recommender_champion"
    for words in (
        ("pipeline.cli.home",),
        ("pipeline.run", "--profile", str(other), "--select", model),
        ("pipeline.lookbook", "--home", str(moved.home)),
        ("pipeline.study", "--name", "s", "--profile", str(TINY), "--models", "popularity", "random", "--splits", "1",
         "--seeds", "1", "--modes", "vendor_single"),
        ("pipeline.erase", "--reviewer", who),
        ("pipeline.run", "--profile", str(TINY), "--select", "+key:recommender_champion"),
        ("pipeline.erase", "--reviewer", who),
    ):  # fmt: skip
        ended = moved.command(*words)
        assert ended.returncode == 0, (words, ended.stdout[-3000:], ended.stderr[-3000:])
        assert moved.elsewhere() == [], words
    assert moved.before.is_file()
    assert "no trace is left" in ended.stdout


def test_the_champion_of_a_moved_home_is_served(moved: Moved):
    assert moved.command("pipeline.cli.home").returncode == 0
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/atelier-recommender-vendor_all@champion",
         "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
        env={**moved.environment, "MLFLOW_TRACKING_URI": variables.tracking_uri(moved.home)}, cwd=moved.person / "work",
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            b'{"dataframe_records": [{"user_id": "somebody", "k": 2}]}',
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert len(json.loads(answer.read())["predictions"]) == 2
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    assert moved.elsewhere() == []
    assert moved.before.is_file()


def test_two_runs_and_an_erasure_started_together_all_succeed(moved: Moved, tmp_path: Path):
    fresh = {**moved.environment, "ATELIER_HOME": str(tmp_path / NAME)}
    run = ("pipeline.run", "--profile", str(TINY), "--select", "+key:users")
    begun = [
        subprocess.Popen([sys.executable, "-m", *words], env=fresh, cwd=moved.person / "work", text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for words in (run, run, ("pipeline.erase", "--reviewer", "A2XYZ"))
    ]  # fmt: skip
    ended = [(process.communicate(timeout=PATIENCE)[0], process.returncode) for process in begun]
    assert [code for _, code in ended[:2]] == [0, 0], ended
    text, code = ended[2]
    assert code == 0 or (code == 2 and "is running in" in text), text
    assert moved.elsewhere() == []
