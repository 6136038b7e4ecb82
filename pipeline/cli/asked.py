"""What the arguments of `run` change of the profile: settings of single ops, as the launchpad has them.

An argument wins over the profile like a value in the launchpad, and Dagster stores it with the run.
"""

import argparse
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import dagster as dg

from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.recommenders.registry import main
from pipeline.settings.assets import FiveCoreSettings
from pipeline.settings.launchpad import CONFIGS
from pipeline.settings.method import Method
from pipeline.settings.ops import OPS

Settings = TypeVar("Settings")
QUICK, QUICK_MODES = "quick", ("vendor_single",)
OTHERWISE = "paper"  # the profile without --profile and --quick
Changes = Mapping[str, Mapping[str, Any]]  # op -> its settings that an argument gives


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose part of the data, and the pictures to ask for again."""
    parser.add_argument(
        "--quick", action="store_true",
        help="a first look at a big shop: profile quick (10,000 users, the shortest training) and mode vendor_single",
    )  # fmt: skip
    parser.add_argument(
        "--modes", nargs="+", choices=IMAGE_MODES, metavar="MODE",
        help=f"image modes to make (default: {' '.join(IMAGE_MODES)}; with --quick: {' '.join(QUICK_MODES)})",
    )  # fmt: skip
    parser.add_argument(
        "--min-interactions", type=int, metavar="K", help="distinct items that a user needs (default: the profile's, 5)"
    )
    parser.add_argument(
        "--users", type=int, metavar="N", help="a sample of so many users, with all they reviewed (default: all users)"
    )
    names = [one.name for one in main()]
    parser.add_argument(
        "--with", nargs="+", default=[], choices=names, metavar="NAME", dest="with_recommenders",
        help=f"train these recommenders too, besides the profile's own: {', '.join(names)}",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, metavar="S", help="of the sample (default: 0)")
    parser.add_argument(
        "--retry", nargs="+", default=[], metavar="REASON",
        help="ask again for pictures that failed for these reasons of image_ledger (http_404 ...), or for all",
    )  # fmt: skip


def complete(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.Namespace:
    """Fill in profile, modes and changes from the arguments; end with an error where two contradict each other."""
    for name, value in (("--min-interactions", options.min_interactions), ("--users", options.users)):
        if value is not None and value < 1:
            parser.error(f"{name} must be at least 1, not {value}")
    if options.quick and options.profile not in ("", QUICK):
        parser.error(f"--quick is the profile {QUICK}: leave out --profile, or give its values in a file of your own")
    five_core = {"k": options.min_interactions, "sample_users": options.users, "sample_seed": options.seed}
    given = {"five_core": {name: value for name, value in five_core.items() if value is not None}}
    given["image_ledger"] = {"retry": options.retry} if options.retry else {}
    given["image_urls"] = {"modes": options.modes} if options.quick and options.modes else {}
    options.profile = options.profile or (QUICK if options.quick else OTHERWISE)
    options.modes = options.modes or list(QUICK_MODES if options.quick else IMAGE_MODES)
    options.changes = {op: values for op, values in given.items() if values}
    return options


def settings(method: Method, cls: type[Settings], op: str, changes: Changes) -> Settings:
    """Make the settings of an op from the profile and the changes. Raises InputError if a value is invalid."""
    return method.settings(cls, op, CONFIGS[op](**changes.get(op, {})))


def check(method: Method, changes: Changes) -> None:
    """Make the settings of every changed op, so that an invalid value is found before any work.

    Raises:
        InputError: a value is invalid, or the seed is of no sample.
    """
    for op in changes:
        for cls in OPS[op]:
            settings(method, cls, op, changes)
    sample = settings(method, FiveCoreSettings, "five_core", changes).sample
    if sample is None and "sample_seed" in changes.get("five_core", {}):
        raise InputError("--seed draws a sample of users: say how many with --users N, or leave out --seed")


def expect_effect(
    definitions: dg.Definitions, planned: Collection[dg.AssetKey], changes: Changes, with_reviews: bool
) -> None:
    """Check that every changed op will run, and that there are users to choose from.

    Raises:
        InputError: arguments would have no effect.
    """
    idle = set(changes) - set(run_config(definitions, planned, changes)) - {"image_urls"}
    words = {"five_core": "--min-interactions, --users and --seed", "image_ledger": "--retry"}
    if "five_core" in changes and not with_reviews:
        raise InputError(f"{words['five_core']} choose among users, and no reviews are named: set ATELIER_REVIEWS")
    assets = {"five_core": "interactions", "image_ledger": "image_ledger"}
    for op in sorted(idle):
        raise InputError(f"{words[op]} would have no effect: the assets selected by --select lack {assets[op]}")


def run_config(definitions: dg.Definitions, assets: Collection[dg.AssetKey], changes: Changes) -> dict[str, Any]:
    """Return the `ops` section of a run's configuration: the changes of those ops that make one of the assets."""
    ops = {definitions.resolve_assets_def(key).op.name for key in assets} if changes else set()
    return {op: {"config": dict(values)} for op, values in changes.items() if op in ops}
