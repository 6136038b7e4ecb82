"""`python -m pipeline.cli.tune -c FILE.yaml`: run the job `tune` from the terminal.

The file is the job's run config, as in the UI's launchpad.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from rich.console import Console
from rich.markup import escape

from pipeline.build import build_definitions
from pipeline.core.errors import InputError
from pipeline.home import command_lock, environment, instance
from pipeline.mirror import background_sync
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave, one_line
from pipeline.runtime.terminal import LOGGER
from pipeline.study.tuning_job import tune
from pipeline.upkeep.workers import this_process

EPILOG = f"""\
FILE.yaml, for example:
  resources: {{method: {{config: {{profile: cpu}}}}}}
  ops: {{tuning: {{config: {{models: [vbpr, dvbpr], modes: [vendor_single], trials: 30}}}}}}

{EXIT_CODES}"""


class Lines(logging.Handler):
    """Prints what the search says, and none of Dagster's own events."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        meta = getattr(record, "dagster_meta", {})
        if not meta.get("dagster_event"):
            line = one_line(meta.get("orig_message", record.getMessage()))
            self.console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def search(path: Path, console: Console) -> int:
    """Run the job with the config of a file.

    Raises:
        InputError: the file is not there or is no YAML; Dagster's own error where the job does not know what it says.
    """
    try:
        config: Any = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise InputError(f"--config: {path}: {error.strerror}; give a YAML file of the job's config.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config: {path}: not YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"--config: {path}: a mapping was expected, with resources and ops.")
    home = environment.writable_home()

    def lines(_: dg.InitLoggerContext) -> logging.Logger:
        made = logging.Logger("atelier", logging.INFO)
        made.addHandler(Lines(console))
        return made

    loggers = {LOGGER: dg.LoggerDefinition(lines, config_schema={})}
    definitions = dg.Definitions.merge(build_definitions(), dg.Definitions(loggers=loggers))
    with (
        command_lock.hold(home),
        background_sync.in_step(home, console.print),
        instance.open_instance(home) as opened,
    ):
        definitions.resolve_job_def(tune.name).execute_in_process(
            instance=opened, run_config={**config, "loggers": {LOGGER: {}}}, tags=this_process()
        )
    console.print(f"[bold]Done[/]. The best settings are in {escape(str(home / 'tuning'))}", highlight=False)
    return DONE


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.cli.tune",
        description="Search for better settings of the recommenders on validation AUC, as the job `tune` in the UI "
        "does. Cut off, the same command goes on; the best are written to tuning/<model>/<mode>.yaml in the home.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE.yaml", help="the job's run config")
    options, console = parser.parse_args(argv), Console()
    return ended(lambda: search(options.config, console), console)


if __name__ == "__main__":
    leave(main())
