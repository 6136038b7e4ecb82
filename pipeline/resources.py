"""The resources of a run besides storage, method and tracking: the raw sources, the fetcher and the device.

Each reads the environment once, when the definitions are built; nothing else in the pipeline reads it.
"""

import dataclasses
from pathlib import Path

import dagster as dg
import torch
from upath import UPath

from models import device as devices
from pipeline import environment
from pipeline.core import sources
from pipeline.core.fetch import FetchReport, Progress, fetch
from pipeline.core.fetch_plan import FetchPlan, plan_fetch
from pipeline.core.ledger import PictureStore
from pipeline.core.transfer import FetchSettings
from pipeline.io_managers import ParquetTables
from pipeline.method import Method
from pipeline.progress import Report
from pipeline.storage import Storage
from pipeline.tracking import Tracker


class RawSources(dg.ConfigurableResource):
    """The files a person brought."""

    reviews: str = ""
    products: str = ""

    def review_files(self) -> list[Path]:
        """The review files; none where there are only products.

        Raises:
            BadInput: what was named is not there or is empty.
        """
        return sources.resolve(self.reviews) if self.reviews else []

    def product_files(self) -> list[Path]:
        """The metadata files.

        Raises:
            BadInput: none were named, or what was named is not there or is empty.
        """
        if not self.products:
            raise sources.BadInput(
                "no product metadata: set ATELIER_PRODUCTS to a path, glob or folder (and ATELIER_REVIEWS to the "
                "reviews), or run `make demo` for the embedded catalogue."
            )
        return sources.resolve(self.products)

    def truth(self) -> Path | None:
        """The planted tastes beside the embedded catalogue's reviews; None for real data."""
        if not self.reviews:
            return None
        path = Path(self.reviews).parent / "truth.npz"
        return path if path.is_file() else None


class ImageFetcher(dg.ConfigurableResource):
    """The way out to picture hosts: the edge of the world."""

    allow_hosts: list[str] = []  # noqa: RUF012  (a pydantic field)

    def fetch(self, urls: list[str], store: PictureStore, settings: FetchSettings, report: Report) -> FetchReport:
        """Fetch what the store lacks; see `core/fetch.py`."""

        def progress(now: Progress) -> None:
            size = f"{now.bytes / 1e6:,.1f} MB"
            report(now.done, now.total, f"{now.rate:,.0f}/s, {now.ok:,} ok, {now.broken:,} broken, {size}")

        return fetch(urls, store, self._allowed(settings), on_progress=progress)

    def plan(self, urls: list[str], store: PictureStore, settings: FetchSettings) -> FetchPlan:
        """What `fetch` would ask for and what it should cost; asks nothing."""
        return plan_fetch(urls, store, self._allowed(settings))

    def _allowed(self, settings: FetchSettings) -> FetchSettings:
        return dataclasses.replace(settings, allow_hosts=frozenset(self.allow_hosts))


class Compute(dg.ConfigurableResource):
    """Where models run."""

    device: str = "auto"

    def resolve(self) -> torch.device:
        """The device.

        Raises:
            BadInput: it is not there; names what is.
        """
        try:
            return devices.resolve(self.device)
        except (ValueError, RuntimeError) as error:
            raise sources.BadInput(f"ATELIER_DEVICE: {error}") from error


def default_resources() -> dict[str, object]:
    """The resources as the environment has them."""
    home = environment.home()
    return {
        "io_manager": ParquetTables(base_path=UPath(home / "tables")),
        "storage": Storage(root=str(home)),
        "method": Method(profile=environment.profile()),
        "tracker": Tracker(
            tracking_uri=environment.tracking_uri(home), artifact_root=str(home / "mlflow" / "artifacts")
        ),
        "raw": RawSources(reviews=environment.reviews(), products=environment.products()),
        "fetcher": ImageFetcher(allow_hosts=sorted(environment.allowed_hosts())),
        "compute": Compute(device=environment.device()),
    }
