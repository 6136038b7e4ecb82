"""What takes several processes to show: clusters, ranks. `make scale` runs these, `make test` leaves them out."""

import os
from collections.abc import Iterator

import pytest

from pipeline.core import engine
from pipeline.core.shards import Runner

collect_ignore_glob = [] if os.environ.get("ATELIER_SCALE") else ["test_*.py"]
WORKERS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Runner]:
    """A real Ray cluster of this machine's, WORKERS processes at work at once."""
    with engine.running("ray", workers=WORKERS) as runner:
        yield runner
