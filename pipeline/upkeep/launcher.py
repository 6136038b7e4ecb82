"""Dagster's own launcher, with the health check it lacks: the daemon finds a killed run worker within seconds.

Without one, a run whose worker got `kill -9` together with its code server stays STARTED, and its pool slots claimed,
until `max_runtime_seconds`. The daemon (`run_monitoring` in dagster.yaml) fails such a run, and `run_retries` starts it
again from where it was.
"""

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from pipeline.upkeep.workers import Life, life, this_host


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Starts run workers through the code server, and says whether they live."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a worker on this host."""
        self._instance.add_run_tags(context.dagster_run.run_id, this_host())
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED where the worker's process is gone; of what it cannot know it says RUNNING."""
        if life(self._instance, run) is not Life.GONE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")
