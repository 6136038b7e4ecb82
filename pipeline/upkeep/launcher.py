"""Dagster's default launcher with a health check, so that the daemon notices a killed run worker within seconds.

Without one, a run whose worker and code server got `kill -9` stays STARTED and keeps its pool slots until
`max_runtime_seconds`. With one, the daemon (`run_monitoring` in dagster.yaml) fails the run, and `run_retries` resumes
it.
"""

import dagster as dg
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from pipeline.upkeep.workers import Liveness, liveness, this_host


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Starts run workers through the code server, and checks whether they are alive."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a worker on this host."""
        self._instance.add_run_tags(context.dagster_run.run_id, this_host())
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Tell the daemon to call `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return FAILED if the worker's process is gone; RUNNING if it is alive or unknown."""
        if liveness(self._instance, run) is not Liveness.GONE:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "its process is gone")
