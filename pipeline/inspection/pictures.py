"""Look at a sample of the products' pictures: local files are opened; addresses are asked for only if a person says so.

Both go through the fetch: files are read only inside allowed folders, and the bytes are bounded in size and decoded in
a process with limits.
"""

import base64
import io
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from PIL import Image

from pipeline.core.images.decoder import decode_posted
from pipeline.core.images.fetch import fetch
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pictures import PictureError
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.local_address import ARCHIVE, is_local
from pipeline.core.raw.sources import shown
from pipeline.core.signatures import key

SAMPLE = 20
# What to do about an outcome of a local picture.
ARCHIVE_MEND = "the archive is neither a zip nor an uncompressed tar; unpack it, or pack it as .zip or .tar"
MENDS = {
    "outside_folders": "name its folder in shop.toml: [pictures] folders",
    "file_missing": "there is no such file; are paths relative to the folder of the table?",
}
HEIGHT = 96  # of a thumbnail, in pixels
NOT_ASKED = "not asked"


@dataclass(frozen=True)
class Sampled:
    """A product's picture: where it is, what became of it (`ok`, `not asked` or a reason), and a JPEG as data: URL."""

    asin: str
    title: str
    address: str
    outcome: str
    thumbnail: str = ""


def mend_of(picture: Sampled) -> str:
    """Return what to do about a picture that cannot be used; empty if only the picture itself can say."""
    if picture.address.startswith(ARCHIVE) and picture.outcome == "unsupported_format":
        return ARCHIVE_MEND
    return MENDS.get(picture.outcome, "")


def sampled(products: Path, count: int = SAMPLE) -> list[tuple[str, str, str]]:
    """Choose (asin, title, address) of `count` products with a picture, always the same for the same products."""
    quoted = str(products).replace("'", "''")
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as database:
        return database.execute(
            "SELECT asin, title, coalesce(vendor_urls[1], vendor_urls_high[1]) AS address"
            f" FROM read_parquet('{quoted}') WHERE address IS NOT NULL ORDER BY hash(asin), asin LIMIT {count:d}"
        ).fetchall()


def look(
    chosen: Sequence[tuple[str, str, str]], folders: Collection[str], ask: bool, allow_hosts: frozenset[str]
) -> list[Sampled]:
    """Look at each picture through the guarded fetch: a local file inside `folders`, and with `ask` an address."""
    wanted = [address for _, _, address in chosen if ask or is_local(address)]
    settings = FetchSettings(
        allow_hosts=allow_hosts, retries=0, total_timeout=15.0, picture_folders=tuple(sorted(folders))
    )
    fetched = _fetched(wanted, settings) if wanted else {}
    rows = []
    for asin, title, address in chosen:
        found = fetched.get(key(address), NOT_ASKED)
        outcome, thumbnail = ("ok", found) if isinstance(found, bytes) else (found, b"")
        encoded = "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode() if thumbnail else ""
        rows.append(Sampled(asin, title, shown(address), outcome, encoded))
    return rows


def _fetched(addresses: Sequence[str], settings: FetchSettings) -> dict[str, bytes | str]:
    """Fetch into a temporary store; the thumbnail of each address's key, or the reason why there is none."""
    with tempfile.TemporaryDirectory(prefix="atelier-look-") as folder:
        store = PictureStore(Path(folder))
        fetch(list(dict.fromkeys(addresses)), store, settings)
        rows = store.ledger(["url", "reason", "sha256"]).to_pylist()
        pictures = dict(store.read({row["sha256"] for row in rows if row["sha256"]}))
    return {key(row["url"]): _thumbnail(pictures[row["sha256"]]) if row["sha256"] else row["reason"] for row in rows}


def _thumbnail(data: bytes) -> bytes | str:
    try:
        picture = Image.fromarray(decode_posted(data))
    except PictureError as error:
        return error.reason
    except TimeoutError:
        return "timeout"
    picture.thumbnail((2 * HEIGHT, HEIGHT))
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=80)
    return sink.getvalue()
