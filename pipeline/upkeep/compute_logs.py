"""Dagster's local compute log manager, without the tracebacks that its helper processes print at Ctrl-C.

It starts two processes per stream to copy a step's output to the terminal, and the terminal sends them Ctrl-C too.
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
    """Keeps logs in the folder `storage` of DAGSTER_HOME, as Dagster does by default."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Declare the settings in dagster.yaml."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """Make the manager from the settings in dagster.yaml."""
        return cls(base_dir=str(Path(config_value["home"]) / "storage"), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext]:
        """Capture as Dagster does, with SIGINT blocked in the helper processes; SIGTERM ends them after the step."""
        with ExitStack() as stack:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, CTRL_C)
            try:
                captured = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield captured
