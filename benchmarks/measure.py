"""How a benchmark measures: seconds, memory, the machine; medians over runs taken in turn.

What is measured belongs to the module of the claim.
"""

import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models import device as devices


def machine(device: torch.device) -> dict[str, object]:
    """What the figures were taken on."""
    gpu = devices.describe(device) if device.type != "cpu" else None
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux
    return {"cpu": cpu, "cores": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Wall and CPU seconds of one call, and the process's peak memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mb": peak}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}
