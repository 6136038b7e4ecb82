"""The command line of a study: its options, and the checks that need no home."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.dataset.splits import HOLD_OUTS
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.recommenders.registry import in_studies
from pipeline.runtime.arguments import add_preset, add_profile, command_parser
from pipeline.runtime.exits import EXIT_CODES
from pipeline.settings.assets import SplitSettings
from pipeline.settings.method import Method
from pipeline.study import ablations
from pipeline.study.measures import MEASURES
from pipeline.study.weeks import TIME, WEEKS

# Models that run by default: all that need neither pixels nor another package.
USUAL = tuple(name for name, one in in_studies().items() if one.usual)
REFERENCE = next(name for name, one in in_studies().items() if one.reference)
RANDOM = "random"

EPILOG = f"""\
models: {", ".join(in_studies())}
  A variant is model+field=value[+field=value]: vbpr+k=64, dvbpr+theta_decay=0.1+user_sampling=interaction.
  A model named after a preset, such as paper or kang2017, uses that preset whatever --preset says. The sizes of the
  profile apply to all models.
  --ablate MODEL adds the variants that measure each part of the model, and a table of them.
  cornac_vbpr (as released) and cornac_vbpr_tuned (tuned like vbpr) install Cornac into the home on first use.

protocols: {", ".join(HOLD_OUTS)}
  Only random depends on a seed, so --splits applies to it alone: split s holds out with seed s. The others are run
  once. --weeks N adds N trainings by time, with the cut 1 to N weeks before the last purchase: quality by week, and
  how fast a model ages.

examples:
  python -m pipeline.study --name baselines --splits 5 --seeds 2
  python -m pipeline.study --name baselines --models vbpr cornac_vbpr --modes vendor_single   # adds cells to it
  python -m pipeline.study --name pixels --profile cpu --models vbpr dvbpr dvbpr+theta_decay=0.1 --splits 5
  python -m pipeline.study --name whole --protocols {" ".join(HOLD_OUTS)} --weeks 8 --splits 3 --ablate modern

Results are in $ATELIER_HOME/studies/NAME/: one folder per cell, and report.md, report.json and a chart per protocol.
python -m pipeline.study.page writes tables of a study into documents.
Repeat the command to continue an interrupted study: finished cells are not run again.
Every choice is made on validation. Test figures are computed with each cell, but only the report reads them.

{EXIT_CODES}"""


@dataclass(frozen=True)
class StudyPlan:
    """The parsed and checked arguments of a study."""

    name: str
    models: tuple[str, ...]  # with the variants of ablated ones
    protocols: tuple[str, ...]  # the last is WEEKS if the cut is moved week by week
    modes: tuple[str, ...]
    splits: int
    seeds: int
    weeks: int
    reference: str
    sort: str = ""
    shuffled: tuple[str, ...] = ()

    def splits_of(self, protocol: str) -> list[int]:
        """List the numbers of a protocol's splits: seeds if `random`, weeks before the end if WEEKS, else one."""
        if protocol == WEEKS:
            return list(range(1, self.weeks + 1))
        return list(range(self.splits)) if protocol == RANDOM else [0]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(
        "pipeline.study",
        "Compare recommenders over protocols, splits and seeds. The home needs its pictures, features and tables\n"
        "(python -m pipeline.run makes them). Only its folder studies is written.",
        EPILOG,
    )
    parser.add_argument("--name", default="study", help="the study's folder (default study)")
    parser.add_argument("--models", nargs="+", default=list(USUAL), metavar="MODEL", help=f"default {' '.join(USUAL)}")
    parser.add_argument(
        "--ablate",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="also run this model and its variants by parts",
    )
    parser.add_argument(
        "--protocols", nargs="+", default=[], metavar="PROTOCOL",
        help="what is held out (default: as the home's own splits, the profile's hold_out)",
    )  # fmt: skip
    parser.add_argument(
        "--modes", nargs="+", default=list(IMAGE_MODES), metavar="MODE", help=f"default {' '.join(IMAGE_MODES)}"
    )
    parser.add_argument(
        "--splits", type=int, default=5, metavar="N", help="hold-outs of random, seeds 0 to N-1 (default 5)"
    )
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="trainings per split, 0..N-1 (default 2)")
    parser.add_argument(
        "--weeks", type=int, default=0, metavar="N", help="also train with the cut of time 1 to N weeks before the end"
    )
    add_preset(parser)
    add_profile(parser)
    parser.add_argument(
        "--reference",
        default="",
        metavar="MODEL",
        help=f"model that the others are compared with (default {REFERENCE}, else the first)",
    )
    parser.add_argument(
        "--sort", default="", metavar="METRIC",
        help="order of the tables (default ndcg_at_100, or auc with less than 1,000 held-out pairs)",
    )  # fmt: skip
    parser.add_argument(
        "--shuffled-labels", nargs="*", default=None, metavar="MODEL",
        help="also train these models (default: the reference) with random items for every user; their AUC must be 0.5",
    )  # fmt: skip
    parser.add_argument("--report-only", action="store_true", help="train nothing; report the finished cells")
    parser.add_argument("--dry-run", action="store_true", help="show the cells that would run, and stop")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace, method: Method) -> StudyPlan:
    """Check the arguments as far as possible without a home.

    The default protocol is that of the home's own tables, so that a study without options measures what the asset
    `recommender_evaluation` measures.

    Raises:
        InputError: a name is unknown or a number is too small.
    """
    protocols = options.protocols or [method.settings(SplitSettings, "splits").hold_out]
    for option, values, allowed in (
        ("modes", options.modes, IMAGE_MODES),
        ("protocols", protocols, HOLD_OUTS),
        ("sort", [options.sort] if options.sort else [], MEASURES),
    ):
        for name in values:
            if name not in allowed:
                raise InputError(f"--{option}: {name!r} is unknown; there are: {', '.join(allowed)}.")
    for name, least in (("splits", 1), ("seeds", 1), ("weeks", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} must be at least {least}.")
    if not options.name or Path(options.name).name != options.name or options.name.startswith("."):
        raise InputError(f"--name: {options.name!r} is no folder name.")
    if options.weeks and TIME not in HOLD_OUTS:
        raise InputError("--weeks needs the protocol time, which this version does not have.")
    ablated = [spec for base in options.ablate for spec in (base, *ablations.variants(base))]
    models = tuple(dict.fromkeys([*options.models, *ablated]))
    reference = options.reference or (REFERENCE if REFERENCE in models else models[0])
    return StudyPlan(
        name=options.name,
        models=models,
        protocols=(*dict.fromkeys(protocols), *([WEEKS] if options.weeks else [])),
        modes=tuple(dict.fromkeys(options.modes)),
        splits=options.splits,
        seeds=options.seeds,
        weeks=options.weeks,
        reference=reference,
        sort=options.sort,
        shuffled=() if options.shuffled_labels is None else tuple(options.shuffled_labels or [reference]),
    )
