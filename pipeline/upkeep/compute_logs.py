"""Dagster's own keeper of what steps print, whose helpers do not print a traceback each at a Ctrl-C.

It starts two processes a stream that show the terminal what a step prints, and a terminal sends them Ctrl-C as well.
"""

import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

CTRL_C = {signal.SIGINT}


class QuietComputeLogs(LocalComputeLogManager):
    """Keeps them in the folder `storage` of DAGSTER_HOME, as Dagster does where nothing is configured."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """What dagster.yaml says."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Made of what dagster.yaml says."""
        return cls(base_dir=str(Path(config_value["home"]) / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext]:
        """As Dagster's, with processes that inherit a mask: they are ended by TERM, after the step."""
        with ExitStack() as stack:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)
            try:
                captured = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield captured
