"""The embedded catalogue as a run's source: written once into the home, served while the run lasts.

Drawing and serving are `pipeline/sample/`; this only says to the rest of the pipeline where the files are.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.raw.sources import BadInput
from pipeline.sample.catalogue import write_catalogue
from pipeline.sample.server import PortInUseError, serve
from pipeline.sample.settings import SampleSettings


@contextmanager
def embedded(
    folder: Path, say: Callable[[str], object], settings: SampleSettings | None = None
) -> Generator[dict[str, str]]:
    """Write the catalogue if it is not there yet, serve its pictures, and give the environment that names it.

    Raises:
        BadInput: the port is taken.
    """
    settings = settings or SampleSettings()
    if not (folder / "reviews.json.gz").is_file():
        say("drawing the embedded catalogue")
    catalogue = write_catalogue(folder, settings)
    try:
        with serve(folder, settings.port) as address:
            say(f"serving its pictures on {address.url}")
            yield {
                "ATELIER_REVIEWS": str(catalogue.reviews),
                "ATELIER_PRODUCTS": str(catalogue.products),
                "ATELIER_ALLOW_HOSTS": f"{address.host}:{address.port}",
            }
    except PortInUseError as error:
        raise BadInput(str(error)) from error
