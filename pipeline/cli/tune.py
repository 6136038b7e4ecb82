"""`python -m pipeline.cli.tune -c FILE.yaml`: run the job `tune` from the terminal.

The file is the job's run config, as in the UI's launchpad.
"""

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
from pipeline.runtime.arguments import command_parser
from pipeline.runtime.exits import DONE, EXIT_CODES, ended, leave, one_line
from pipeline.runtime.terminal import LOGGER
from pipeline.study.tuning_job import tune
from pipeline.upkeep.workers import this_process

EPILOG = f"""\
FILE.yaml, for example:
  resources: {{method: {{config: {{profile: cpu}}}}}}
  ops: {{tuning: {{config: {{models: [vbpr, dvbpr], modes: [vendor_single], trials: 30}}}}}}

{EXIT_CODES}"""


class ConsoleHandler(logging.Handler):
    """Prints the search's log messages, and none of Dagster's own events."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, unless it is a Dagster event."""
        meta = getattr(record, "dagster_meta", {})
        if not meta.get("dagster_event"):
            line = one_line(meta.get("orig_message", record.getMessage()))
            self.console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def search(path: Path, console: Console) -> int:
    """Run the job with the run config in a YAML file; return the exit code.

    Raises:
        InputError: the file is missing or is not YAML. For an unknown key, Dagster raises its own error.
    """
    try:
        config: Any = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise InputError(f"--config: {path}: {error.strerror}; give a YAML file of the job's config.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"--config: {path}: not YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"--config: {path}: expected a mapping with the keys resources and ops.")
    home = environment.writable_home()

    def console_logger(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("atelier", logging.INFO)
        logger.addHandler(ConsoleHandler(console))
        return logger

    loggers = {LOGGER: dg.LoggerDefinition(console_logger, config_schema={})}
    definitions = dg.Definitions.merge(build_definitions(), dg.Definitions(loggers=loggers))
    with (
        command_lock.hold(home),
        background_sync.synchronised(home, console.print),
        instance.open_instance(home) as opened,
    ):
        definitions.resolve_job_def(tune.name).execute_in_process(
            instance=opened, run_config={**config, "loggers": {LOGGER: {}}}, tags=this_process()
        )
    console.print(f"[bold]Done[/]. The best settings are in {escape(str(home / 'tuning'))}", highlight=False)
    return DONE


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = command_parser(
        "pipeline.cli.tune",
        "Search for better settings of the recommenders on validation, as the job `tune` in the UI does.\n"
        "Repeat the command to continue. The best settings are written to tuning/<model>/<mode>.yaml in the home.",
        EPILOG,
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE.yaml", help="the job's run config")
    options, console = parser.parse_args(argv), Console()
    return ended(lambda: search(options.config, console), console)


if __name__ == "__main__":
    leave(main())
