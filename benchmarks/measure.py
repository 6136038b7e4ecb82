"""Measure for benchmarks: seconds, memory, the machine, and medians over runs."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def machine(device: "torch.device") -> dict[str, object]:
    """Describe the machine that figures are measured on."""
    # Imported here so that processes whose memory is measured need not load torch.
    import torch

    from models.training import device as devices

    gpu = devices.describe(device) if device.type != "cpu" else None
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux
    return {"cpu": cpu, "cores": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def cpu_machine() -> dict[str, object]:
    """Describe the machine for work on the CPU alone: `cores` is the number that this process may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {**machine(torch.device("cpu")), "cores": cores}


def in_a_process(arguments: Sequence[str]) -> dict[str, float]:
    """Measure a whole Python process: wall and CPU seconds (including its children's) and peak memory.

    Pending writes are synced before the clock starts, so that no side waits for the other's. Raises RuntimeError if the
    process fails.
    """
    os.sync()
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, *arguments])
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {child.returncode}")
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Measure wall and CPU seconds of one call, and the process's peak memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mb": peak}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Compute the median of every figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def last_line(
    name: str,
    n: int,
    ours: Mapping[str, object],
    peer: Mapping[str, object] | None,
    ratio: float | None,
    where: Mapping[str, object],
    limit_fraction: float | None = None,
    **more: object,
) -> str:
    """Format the last line of `--json`: one object with the same keys for every benchmark.

    Args:
        name: of the benchmark.
        n: how many units (pictures, triplets, ...) a run handles.
        ours: medians, including `wall_s`, `cpu_s` and `peak_mb`.
        peer: the same and `what` it is; None if it was left out.
        ratio: ours over the peer, larger is better.
        where: the machine.
        limit_fraction: which share of a hardware limit ours reaches.
        more: further keys of this benchmark.
    """
    line = {"name": name, "n": n, "ours": ours, "peer": peer, "ratio": ratio, "limit_fraction": limit_fraction}
    return json.dumps({**line, "machine": where, **more})
