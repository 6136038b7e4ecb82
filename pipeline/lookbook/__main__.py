"""Rebuild the lookbook of a home from its contents, without a run: `python -m pipeline.lookbook --home DIR`.

The names of the input files are recorded in the home. The asset `lookbook` builds the same pages inside a run.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from pipeline.core.errors import InputError
from pipeline.home import environment, place
from pipeline.home.instance import open_instance, recall
from pipeline.home.storage import Storage
from pipeline.lookbook.album import Album
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, ended, leave
from pipeline.runtime.provenance import commit
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import LookbookSettings
from pipeline.views.home_contents import Home


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = command_parser("pipeline.lookbook", __doc__)
    parser.add_argument("--home", type=Path, default=environment.home(), help="the home (default: ATELIER_HOME)")
    parser.add_argument("--users", type=int, default=LookbookSettings.users, help="number of people to show")
    parser.add_argument("--picks", type=int, default=LookbookSettings.picks, help="pictures for each person")
    parser.add_argument("--seed", type=int, default=LookbookSettings.seed, help="seed of the draw of people")
    options = parser.parse_args(argv)
    return ended(lambda: rebuild(options), Console(stderr=True))


def rebuild(options: argparse.Namespace) -> int:
    """Build and publish the pages, and print their content. Raises InputError if there is no home."""
    folder = options.home.expanduser().resolve()
    if not (folder / "tables").is_dir():
        raise InputError(f"{folder} is no home: it has no tables. Run python -m pipeline.run first.")
    place.bring_up_to_date(folder, environment.artifact_root(folder))
    from pipeline.lookbook.build import build  # imported late: it loads torch, which takes seconds
    from pipeline.lookbook.publish import publish

    settings = LookbookSettings(options.users, options.picks, options.seed)
    recorded = recall(folder)
    raw = RawSources(reviews=recorded.get("ATELIER_REVIEWS", ""), products=recorded.get("ATELIER_PRODUCTS", ""))
    with open_instance(folder) as instance:
        storage, album = Storage(root=str(folder)), Album()
        page = build(Home(storage, instance, raw), album, settings, commit(), datetime.now(UTC))
        published = publish(page, album, storage.reports)
    print(f"{published.path.as_uri()}: {len(page.sections)} sections, {published.size / 1e6:.2f} MB")
    for left in page.left_out:
        print(f"left out: {left.title} ({left.reason})")
    return DONE


if __name__ == "__main__":
    leave(main())
