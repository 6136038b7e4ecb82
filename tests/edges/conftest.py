"""A small finished home, made once, and a copy for every test. `make edges` runs all of them, `make test` a few."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import Home, made

# A job in the background ignores Ctrl-C, and one of nohup HUP. What a test starts would ignore them too; Dagster, run
# in this process, would have TERM ignored as well.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
collect_ignore_glob = [] if os.environ.get("ATELIER_EDGES") else ["test_grid.py", "test_run_ends.py"]
SELECT = "+key:image_features or +key:triplets or +key:garments"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Make the home, or use that of an earlier session in the folder that ATELIER_EDGES_HOME names."""
    if folder := os.environ.get("ATELIER_EDGES_HOME"):
        yield Home(Path(folder) / "home", Path(folder) / "catalogue", 0.0, "")
        return
    with pytest.MonkeyPatch.context() as patch:
        yield made(patch, tmp_path_factory.mktemp("edges"), SELECT)


@pytest.fixture(scope="session")
def variables(finished: Home) -> dict[str, str]:
    """Name the home's raw files in the environment."""
    return {
        "ATELIER_REVIEWS": str(finished.catalogue / "reviews.json.gz"),
        "ATELIER_PRODUCTS": str(finished.catalogue / "products.json.gz"),
    }


@pytest.fixture
def home(finished: Home, tmp_path: Path) -> Path:
    """Copy the home, so that the test may damage it."""
    return Path(shutil.copytree(finished.folder, tmp_path / "home"))


@pytest.fixture
def truncate() -> Callable[[Path, int], None]:
    """Return a function that cuts a file to a number of bytes."""

    def cut(path: Path, size: int) -> None:
        path.write_bytes(path.read_bytes()[:size])

    return cut
