"""A small catalogue shared by all tests of the sample package."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.sample.catalogue import SampleCatalogue, write_catalogue
from pipeline.sample.plan import CataloguePlan, make_plan
from pipeline.sample.settings import SampleSettings

SMALL = SampleSettings(
    items=60, users=50, casual_users=24, extra_items=6, other_products=8, purchases_min=6, purchases_max=10
)


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> SampleCatalogue:
    return write_catalogue(tmp_path_factory.mktemp("sample") / "catalogue", SMALL)


@pytest.fixture(scope="session")
def plan() -> CataloguePlan:
    return make_plan(SMALL)


@pytest.fixture(scope="session")
def path_with_fault() -> Callable[[str | None], str]:
    """Find the first picture path that has a given fault (a hash of the path decides)."""
    from pipeline.sample.server import fault_of

    def find(fault: str | None) -> str:
        return next(path for n in range(100_000) if fault_of(path := f"/images/I/41{n:05d}L.jpg") == fault)

    return find


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Make a folder that can be served, without pictures yet."""
    (tmp_path / "pictures").mkdir()
    return tmp_path
