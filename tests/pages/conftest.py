"""A lookbook with everything in it, hostile titles among it, and a browser to look at it with.

`make pages` runs these; `make test` leaves them out, since they need Chromium.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.pages.browser import CHROMIUM, chromium, served
from tests.pipeline.lookbook.made_up import MadeUp

collect_ignore_glob = [] if os.environ.get("ATELIER_PAGES") else ["test_*.py"]


@pytest.fixture(scope="session")
def lookbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up home's lookbook, or of the home that ATELIER_PAGES_HOME names."""
    if home := os.environ.get("ATELIER_PAGES_HOME"):
        return Path(home) / "lookbook"
    with dg.DagsterInstance.ephemeral() as instance:
        made_up = MadeUp(tmp_path_factory.mktemp("pages"), instance)
        made_up.with_products().with_reviews().with_generator().with_designs().with_cards()
        return made_up.publish(reviews="/somewhere/<script>alert(2)</script>.json").path.parent


@pytest.fixture(scope="session")
def address(lookbook: Path) -> Iterator[str]:
    with served(lookbook) as where:
        yield where


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    pytest.importorskip("playwright", reason="playwright is not installed: make setup")
    with chromium() as context:
        yield context
