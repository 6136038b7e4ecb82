"""`python -m tests.equality CHECKOUT`: run another checkout and this one on the same data, and compare the homes.

Shows that a change of structure changes no result: tables, factors, arrays and generators must be equal number by
number, models must have the same folder names, and summary.json must be equal without its seconds and paths. Compare a
checkout with itself first: what differs there is not deterministic. The other checkout is run by this one's Python.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pipeline.conftest import VARIABLES
from tests.soak import shop as shops

ROOT = Path(__file__).parents[1]
# Keys of summary.json that differ from run to run, or name the home.
OF_THE_RUN = ("seconds", "lookbook", "tracking_uri", "run_ids")

NAMES_THE_HOME = "table rejects.parquet: differs in file"  # in the demo, whose raw files lie in the home


def run(checkout: Path, profile: str, home: Path, variables: dict[str, str]) -> None:
    """Materialise everything with the code of a checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"OMP_NUM_THREADS": "1", "ATELIER_DEVICE": "cpu", "PYTHONPATH": str(checkout), "NO_COLOR": "1"}
    environment |= {**{name: value for name, value in variables.items() if value}, "ATELIER_HOME": str(home)}
    command = [sys.executable, "-m", "pipeline.run", "--profile", profile]
    subprocess.run(command, cwd=checkout, env=environment, check=True)


def differences(home: Path, other: Path) -> Iterator[str]:
    """Describe everything in which two homes differ."""
    yield from (found for found in shops.differences(home, other) if found != NAMES_THE_HOME)
    for kind in ("recommender", "baselines", "generator"):
        ours, theirs = (
            {str(m.parent.relative_to(h)) for m in h.glob(f"{kind}/**/manifest.json")} for h in (home, other)
        )
        for name in sorted(ours ^ theirs):
            yield f"{name}: only in {'the other home' if name in theirs else 'this home'}"
    ours, theirs = (json.loads((place / "summary.json").read_text()) for place in (home, other))
    yield from _unequal("summary", ours, theirs)


def _unequal(where: str, one: Any, two: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            if key not in OF_THE_RUN:
                yield from _unequal(f"{where}.{key}", one.get(key), two.get(key))
    elif one != two:
        yield f"{where}: {one!r}, {two!r}"


def main() -> int:
    """Run the comparison; return 1 where something differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.equality", description=__doc__.split("\n\n")[0])
    parser.add_argument("checkout", type=Path, help="the other checkout of this project")
    parser.add_argument(
        "--profile", default="tiny", help="tiny (the tests' own, seconds) or demo (minutes); default tiny"
    )
    parser.add_argument("--keep", type=Path, help="a folder for both homes; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atelier-equality-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        checkouts = {"other": options.checkout.resolve(), "this": ROOT}
        with shops.opened(folder) as shop:
            for name, checkout in checkouts.items():
                tiny = options.profile == "tiny"
                profile = str(checkout / "tests" / "pipeline" / "tiny.yaml") if tiny else options.profile
                run(checkout, profile, folder / name, shop.variables if tiny else {})
        found = list(differences(folder / "this", folder / "other"))
    print("\n".join(found) or "no difference")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
