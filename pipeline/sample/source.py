"""Use the embedded catalogue as the input of a run: write it once into the home, and serve it during the run."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.sample.catalogue import write_catalogue
from pipeline.sample.server import PortInUseError, serve
from pipeline.sample.settings import SampleSettings


@contextmanager
def embedded(
    folder: Path, say: Callable[[str], object], settings: SampleSettings | None = None
) -> Generator[dict[str, str]]:
    """Write the catalogue if it does not exist, serve its pictures, and yield the environment variables that name it.

    Raises:
        InputError: the port is in use.
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
                "ATELIER_CUSTOMERS": "",
                "ATELIER_ALLOW_HOSTS": f"{address.host}:{address.port}",
            }
    except PortInUseError as error:
        raise InputError(str(error)) from error
