"""The parser that every command of the terminal starts from, and the options that several commands share."""

import argparse

from pipeline.runtime.exits import EXIT_CODES


def command_parser(module: str, description: str | None, epilog: str = EXIT_CODES) -> argparse.ArgumentParser:
    """Make the parser of `python -m MODULE`; its help keeps the line breaks of the description and the epilog."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_profile(parser: argparse.ArgumentParser, default: str = "") -> None:
    """Add --profile: a built-in profile by name, or a YAML file."""
    from pipeline.settings import profiles  # imports Dagster, which takes a second and few commands need

    parser.add_argument(
        "--profile", default=default, metavar="NAME",
        help=f"sizes and settings: {', '.join(profiles.names())}, or a path to a YAML file",
    )  # fmt: skip


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Add --preset: the method's named set of settings."""
    parser.add_argument("--preset", default="", help="paper, kang2017 or modern (default: the profile's, else paper)")
