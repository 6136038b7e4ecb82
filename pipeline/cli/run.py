"""`python -m pipeline.run`: materialise everything in order, through Dagster on the home's own instance.

The module holds the arguments, the checks before the work, the order of runs and the closing summary.
"""

import argparse
import contextlib
import functools
import os
import time
import warnings
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

from models.training import signals
from pipeline.build import build_definitions
from pipeline.checks.input import ANYWAY_TAG, INSPECTED
from pipeline.cli import asked, closing, preflight
from pipeline.core import parquet as pq
from pipeline.core.images.ledger import PictureStore
from pipeline.core.images.pending import placeholders_to_retry
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.raw.sources import shown_spec
from pipeline.core.schemas import IMAGE_MODES
from pipeline.home import command_lock, environment, instance
from pipeline.home.storage import Storage, write_json
from pipeline.mirror import background_sync
from pipeline.runtime.arguments import add_profile, command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended
from pipeline.runtime.plan import Segment, plan
from pipeline.runtime.resources import ImageFetcher, RawSources, default_resources
from pipeline.runtime.summary import summarise
from pipeline.runtime.terminal import LOGGER, Display
from pipeline.runtime.tracking import EXPERIMENT
from pipeline.sample import source as sample_source
from pipeline.settings.assets import DesignTargetSettings, FiveCoreSettings, IngestSettings
from pipeline.settings.method import Method
from pipeline.upkeep.jobs import everything, observe_sources
from pipeline.upkeep.recovery import recover
from pipeline.upkeep.workers import this_process
from pipeline.views import fetch_table

# op whose settings name the recommender's image mode -> the assets that need that recommender
DESIGNS = {
    "personal_designs": ("personal_designs", "design_steps", "designs_tradeoff"),
    "restyled_products": ("restyled_products",),
}
# The variables of the home's last run that `make ui` starts with.
REMEMBERED = (
    *("ATELIER_REVIEWS", "ATELIER_PRODUCTS", "ATELIER_CUSTOMERS", "ATELIER_SHOP", "ATELIER_CLASSES"),
    *("ATELIER_LICENCE", "ATELIER_ALLOW_HOSTS"),
)

ENVIRONMENT = f"""\
environment (a .env file works):
  ATELIER_HOME          where everything is written (default var/)
  ATELIER_REVIEWS       reviews or orders: a path, glob, folder, http(s):// or s3:// URL of JSON lines, CSV, Parquet or
                        Arrow, also .gz, .zst, .zip; or a database's table: sqlite:////path/shop.db?table=NAME,
                        postgresql://user:password@host/database?table=NAME (docs/configuration.md); several with commas
                        between; without them only the generator's assets are made
  ATELIER_INTERACTIONS  another name for the same
  ATELIER_PRODUCTS      product metadata, likewise
  ATELIER_CUSTOMERS     a table of customers, likewise: what is known of them is kept by name (default none)
  ATELIER_SHOP          a shop.toml that says what the columns of tables mean (default: they are recognised)
  ATELIER_CLASSES       garment classes of your own: a TOML file (default: the built-in six; docs/configuration.md)
  ATELIER_LICENCE       the licence of the data, in your words, for the models' cards
  ATELIER_DEVICE        auto, cuda, mps or cpu (default auto)
  ATELIER_ENGINE        local, or ray: shards of decoding, features and designs go to a Ray cluster
  ATELIER_RAY_ADDRESS   of that cluster, host:port or auto (default: one is started on loopback)
  ATELIER_RANKS         processes that train one model together, a GPU each: a number or auto (default 1)
  ATELIER_ALLOW_HOSTS   private addresses that may be fetched from: host:port, comma-separated
  ATELIER_DATABASE      where Dagster keeps its runs: postgresql://... (default sqlite under ATELIER_HOME)
  ATELIER_ARTIFACTS     where MLflow keeps files: a folder or s3://... (default under ATELIER_HOME)
  ATELIER_STORE         where a copy of the home is kept up to date: a folder or s3://... (default nowhere)
  MLFLOW_TRACKING_URI   where runs are tracked (default sqlite under ATELIER_HOME)
  ATELIER_TRACEBACK     1: print the traceback of a failure too

{EXIT_CODES}"""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.run",
        "Materialise everything from the raw reviews to the lookbook, in dependency order and for all image modes.\n"
        "The profile demo brings its own catalogue; the other profiles read the files that the environment names.",
        ENVIRONMENT,
    )
    add_profile(parser)
    parser.add_argument(
        "--select",
        default="*",
        metavar="ASSETS",
        help="Dagster's selection syntax: 'key:dvbpr+', 'group:generator', ...",
    )
    asked.add_arguments(parser)
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="go on where the inspection of the input finds that nothing can come of it",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the runs that would be made, and stop")
    return asked.complete(parser, parser.parse_args(argv))


@contextlib.contextmanager
def _sources(profile: str, home: Path, console: Console) -> Generator[None]:
    """For the demo, write and serve the embedded catalogue and name its files in the environment; else do nothing."""
    if profile != "demo":
        yield
        return
    with sample_source.embedded(home / "catalogue", console.print) as variables:
        os.environ.update(variables)
        yield


def _definitions(method: Method, display: Display) -> dg.Definitions:
    resources = {**default_resources(), "method": method}
    built = build_definitions(resources=resources)
    return dg.Definitions.merge(built, dg.Definitions(loggers={LOGGER: display.logger()}))


def _check_before(resources: dict[str, Any], console: Console) -> bool:
    """Check the inputs and the services before anything runs; return whether there are reviews."""
    raw: RawSources = resources["raw"]
    raw.class_rules(resources["method"].settings(IngestSettings, "ingest").classes)
    with_reviews = raw.check(
        lambda warning: console.print(f"[yellow]![/] {escape(warning)}", highlight=False, soft_wrap=True)
    )
    resources["compute"].rank_count()
    resources["tracker"].check()
    resources["engine"].check()
    return with_reviews


def run(
    profile: str,
    select: str,
    console: Console,
    dry_run: bool = False,
    anyway: bool = False,
    modes: Sequence[str] = IMAGE_MODES,
    changes: asked.Changes | None = None,
    with_recommenders: Sequence[str] = (),
) -> Path:
    """Materialise the selection in these image modes; return the path of summary.json.

    `anyway` goes on where nothing can come of it; `changes` are settings of ops that win over the profile's;
    `with_recommenders` are trained besides the profile's.

    Raises:
        InputError: the input or the configuration is wrong.
    """
    started = time.monotonic()
    changes = changes or {}
    method = Method(profile=profile, with_recommenders=list(with_recommenders))
    method.check()
    asked.check(method, changes)
    home = environment.writable_home()
    say = functools.partial(console.print, highlight=False, markup=False, soft_wrap=True)
    home_lock = contextlib.nullcontext() if dry_run else command_lock.hold(home, say)
    with home_lock, _sources(profile, home, console):
        display = Display(console)
        definitions = _definitions(method, display)
        resources: dict[str, Any] = {**default_resources(), "method": method}
        with_reviews = _check_before(resources, console)
        segments, left = _planned(definitions, select, with_reviews, method, modes, bool(resources["raw"].customers))
        keys = [key for segment in segments for key in segment.assets]
        planned = {key.to_user_string() for key in keys}
        asked.expect_effect(definitions, keys, changes, with_reviews)
        core = asked.settings(method, FiveCoreSettings, "five_core", changes)
        if left:
            say(f"left out, because their image mode is not among --modes: {', '.join(left)}")
        if not with_reviews:
            console.print("No reviews named: the generator's assets only.")
        if dry_run:
            for segment in segments:
                console.print(
                    f"[bold]{segment.partition or 'all'}[/]: " + ", ".join(k.to_user_string() for k in segment.assets)
                )
            if any(dg.AssetKey("image_ledger") in segment.assets for segment in segments):
                _show_fetch_plan(asked.settings(method, FetchSettings, "image_ledger", changes), home, console)
            return home / "summary.json"
        raw, storage = resources["raw"], resources["storage"]
        inspected = preflight.inspect_before(raw, storage, method, core, planned, console, say, anyway)
        tags = {INSPECTED: "yes"} if inspected else {ANYWAY_TAG: "yes"} if anyway else {}
        with background_sync.synchronised(home, say), instance.open_instance(home) as opened:
            known = {name: shown_spec(os.environ.get(name, "")) for name in REMEMBERED}
            instance.remember(home, profile=profile, **known)
            if closed := str(recover(opened, home, default_resources()["tracker"])):  # ty: ignore[invalid-argument-type]
                console.print(f"recovered: {closed}", highlight=False)
            # Records a digest of the raw files' content as their data version.
            definitions.resolve_job_def(observe_sources.name).execute_in_process(
                instance=opened, run_config={"loggers": {LOGGER: {}}}, tags=this_process()
            )
            with display:
                for segment in segments:
                    console.print(f"[bold]{_title(segment)}[/]")
                    _materialise(definitions, segment, opened, tags, changes)
            return _close(home, opened, display.lines.seconds, console, time.monotonic() - started)


def _planned(
    definitions: dg.Definitions,
    select: str,
    with_reviews: bool,
    method: Method,
    modes: Sequence[str],
    with_customers: bool,
) -> tuple[list[Segment], list[str]]:
    """Plan the runs; also name the designs that are left out, because their recommender's mode is not made."""

    def leaves_out(name: str) -> bool:
        return method.leaves_out(name) or (name == "customers" and not with_customers)

    whole = plan(definitions, select, with_reviews, leaves_out, modes)
    others = {op for op in DESIGNS if method.settings(DesignTargetSettings, op).mode not in modes}
    without = {asset for op in others for asset in DESIGNS[op]}
    planned = {key.to_user_string() for segment in whole for key in segment.assets}
    if not without & planned:
        return whole, []
    kept = plan(definitions, select, with_reviews, lambda name: leaves_out(name) or name in without, modes)
    return kept, sorted(planned - {key.to_user_string() for segment in kept for key in segment.assets})


def _show_fetch_plan(settings: FetchSettings, home: Path, console: Console) -> None:
    """Print what fetching would request, according to the last run's `image_urls`."""
    storage = Storage(root=str(home))
    table = storage.tables / "image_urls.parquet"
    if not table.is_file():
        console.print("pictures to fetch: not known before image_urls is materialised")
        return
    urls = pq.read_table(table, columns=["url"])["url"].unique().to_pylist()
    settings = replace(settings, retry_urls=placeholders_to_retry(storage.tables / "image_ledger.parquet", settings))
    fetcher: ImageFetcher = default_resources()["fetcher"]  # ty: ignore[invalid-assignment]
    console.print(fetch_table.terminal_table(fetcher.plan(urls, PictureStore(storage.pictures), settings)))


def _title(segment: Segment) -> str:
    return f"image mode {segment.partition}" if segment.partition else "all image modes"


def _materialise(
    definitions: dg.Definitions,
    segment: Segment,
    opened: dg.DagsterInstance,
    tags: dict[str, str],
    changes: asked.Changes,
) -> None:
    definitions.resolve_job_def(everything.name).execute_in_process(
        instance=opened,
        partition_key=segment.partition,
        asset_selection=list(segment.assets),
        run_config={"loggers": {LOGGER: {}}, "ops": asked.run_config(definitions, segment.assets, changes)},
        tags={**this_process(), **tags},
    )
    signals.check()  # Dagster ignores a signal that arrives between two steps


def _close(home: Path, opened: dg.DagsterInstance, seconds: dict[str, float], console: Console, wall: float) -> Path:
    """Write summary.json and print its main figures; return its path."""
    import json

    path = home / "summary.json"
    before = json.loads(path.read_text())["seconds"] if path.is_file() else {}
    tracking = {"tracking_uri": environment.redacted(environment.tracking_uri(home)), "experiment": EXPERIMENT}
    summary = summarise(opened, tracking, {**before, **{name: round(s, 2) for name, s in seconds.items()}})
    write_json(path, summary)
    for mode, found in summary["modes"].items():
        if found["models"]:
            console.print(*closing.tables(mode, found), sep="\n")
    for line in closing.lines(summary):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"[bold]Done[/] in {wall:.0f} s. {path}", highlight=False)
    console.print("See it: atelier ui (Dagster and MLflow)", highlight=False)
    return path


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    options, console = arguments(argv), Console()

    def work() -> int:
        given = options.dry_run, options.anyway, options.modes, options.changes, options.with_recommenders
        run(options.profile, options.select, console, *given)
        return DONE

    return ended(work, console, "The run's log is in the Dagster UI (atelier ui); repeat the command to continue.")
