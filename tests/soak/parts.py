"""Four parts of the asset chain that runs make again while processes are killed, and the files that each part makes.

A part's files are removed before its run, so that the comparison afterwards covers what that run made. The picture
store stays, because fetching a URL again would change its time in the ledger, and the automation would follow.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.soak.shop import emptied

MODE = "vendor_all"


@dataclass(frozen=True)
class Part:
    """The assets of one run, in one image mode or in none, and the paths that they make under the home."""

    name: str
    assets: tuple[str, ...]
    made: tuple[str, ...]  # files and folders
    mode: str | None = None

    def clear(self, home: Path) -> None:
        """Remove what the assets made."""
        for name in self.made:
            path = home / name
            if path.is_dir():
                emptied(path)
            else:
                path.unlink(missing_ok=True)


def _tables(*names: str, mode: str | None = None) -> tuple[str, ...]:
    return tuple(f"tables/{name}/{mode}.parquet" if mode else f"tables/{name}.parquet" for name in names)


_INGEST = ("reviews", "products", "rejects", "interactions", "users", "items", "image_urls")
_OF_MODE = ("splits", "catalogue", "triplets", "recommender_evaluation", "recommendations")
PARTS = (
    Part("ingest", _INGEST, _tables(*_INGEST)),
    Part(
        "pictures",
        ("image_ledger", "image_bank", "image_features", "near_duplicates"),
        (*_tables("image_ledger", "near_duplicates"), "bank", "features"),
    ),
    Part(
        "recommender",
        (*_OF_MODE, "dvbpr", "baselines", "recommender_champion"),
        (*_tables(*_OF_MODE, mode=MODE), f"recommender/{MODE}", f"baselines/{MODE}"),
        MODE,
    ),
    Part("generator", ("garments", "lsgan", "generator_champion"), (*_tables("garments"), "garments", "generator")),
)
