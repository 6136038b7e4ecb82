"""What the pipeline's tests share: the tiny profile, and a whole run of it over a small embedded catalogue."""

import gzip
import io
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.sample.settings import SampleSettings

TINY = Path(__file__).parent / "tiny.yaml"

# What of the process a run changes, and a test therefore gives back.
VARIABLES = (
    "ATELIER_HOME", "ATELIER_REVIEWS", "ATELIER_INTERACTIONS", "ATELIER_PRODUCTS", "ATELIER_SHOP", "ATELIER_CLASSES",
    "ATELIER_CUSTOMERS", "ATELIER_LICENCE", "ATELIER_OWNERS", "ATELIER_DEVICE", "ATELIER_ALLOW_HOSTS",
    "ATELIER_PROFILE", "ATELIER_TRACEBACK", "ATELIER_DAGSTER_UI", "ATELIER_MLFLOW_UI", "ATELIER_DATABASE",
    "ATELIER_ARTIFACTS", "ATELIER_STORE", "ATELIER_ENGINE", "ATELIER_RAY_ADDRESS", "ATELIER_RANKS",
    "MLFLOW_TRACKING_URI", "DAGSTER_HOME",
)  # fmt: skip


def isolate(patch: pytest.MonkeyPatch, home: Path, **variables: str) -> None:
    """A process environment with nothing of Atelier's in it but this home and these variables."""
    for name in VARIABLES:
        patch.setenv(name, "")  # so that it is given back whatever the run makes of it
        del os.environ[name]
    patch.setenv("ATELIER_HOME", str(home))
    patch.setenv("ATELIER_DEVICE", "cpu")
    for name, value in variables.items():
        patch.setenv(name, value)


@dataclass
class Home:
    """A home after a run."""

    folder: Path
    catalogue: Path
    planted_auc: float
    said: str  # what the terminal showed

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    def table(self, name: str, mode: str | None = None) -> pa.Table:
        path = self.folder / "tables" / (f"{name}/{mode}.parquet" if mode else f"{name}.parquet")
        return pq.read_table(path)

    def model(self, kind: str, mode: str, name: str = "") -> Path:
        """Find the newest model of a kind, or of one recommender."""
        parent = self.folder / kind / mode
        return parent / json.loads((parent / f"current{name and f'-{name}'}.json").read_text())["run"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def small_catalogue(**changes: Any) -> SampleSettings:
    """Every size set, so that tuning the demo's defaults moves no test."""
    sizes = {
        "seed": 7, "items": 54, "users": 30, "casual_users": 8, "extra_items": 0, "other_products": 4,
        "purchases_min": 6, "purchases_max": 9, "temperature": 1.0, "popularity_spread": 0.2, "photo_share": 0.3,
        "port": free_port(),
    }  # fmt: skip
    return SampleSettings(**{**sizes, **changes})


def materialise(select: str = "*", profile: Path = TINY, **options: Any) -> str:
    """Run the command's heart with the tiny profile, or another, in this process; what it says."""
    from pipeline.cli.run import run

    sink = io.StringIO()
    run(str(profile), select, Console(file=sink, width=160), **options)
    return sink.getvalue()


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def finished(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which everything ran once. Its picture server is gone: whoever asks for a picture again fails."""
    return made(environment, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def pictured(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with pictures, features, splits and catalogues, and no model yet: what a study or a search needs."""
    return made(environment, tmp_path_factory.mktemp("pictured"), "+key:image_features or +key:catalogue")


def made(
    environment: pytest.MonkeyPatch,
    folder: Path,
    select: str = "*",
    profile: Path = TINY,
    options: dict[str, Any] | None = None,
    catalogue_changes: dict[str, Any] | None = None,
    **variables: str,
) -> Home:
    """A home in which what was selected ran once, on a small catalogue of its own, with all customers of an age.

    options: further arguments of the command's heart, such as the image modes.
    catalogue_changes: other sizes or spreads of the catalogue.
    """
    from pipeline.sample import server
    from pipeline.sample.catalogue import write_catalogue

    settings = small_catalogue(**(catalogue_changes or {}))
    catalogue = write_catalogue(folder / "catalogue", settings)
    # The faults that a later run would rightly try again are left out here.
    for fault in ("unavailable", "truncated", "hang"):
        environment.setitem(server.FAULTS, fault, 0.0)
    reviews = gzip.decompress(catalogue.reviews.read_bytes()).decode("utf-8", "replace")
    people = sorted(set(re.findall(r'"reviewerID": ?"(\w+)"', reviews)))
    (folder / "customers.csv").write_text("\n".join(["customer_id,age", *(f"{person},30" for person in people)]))
    isolate(
        environment,
        folder / "home",
        ATELIER_CUSTOMERS=str(folder / "customers.csv"),
        ATELIER_REVIEWS=str(catalogue.reviews),
        ATELIER_PRODUCTS=str(catalogue.products),
        ATELIER_ALLOW_HOSTS=f"{server.HOST}:{settings.port}",
        **variables,
    )
    with server.serve(catalogue.folder, settings.port):
        said = materialise(select, profile, **(options or {}))
    return Home(folder / "home", catalogue.folder, catalogue.planted_auc, said)
