"""How a benchmark measures: seconds, memory, the machine; medians over runs taken in turn.

What is measured belongs to the module of the claim.
"""

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
    """What the figures were taken on."""
    # Here, not above: a process whose memory is measured must not hold torch for the sake of a name.
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


def placed() -> dict[str, object]:
    """What figures of work without a device were taken on."""
    import torch

    found = machine(torch.device("cpu"))
    return {**found, "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()}


def in_a_process(arguments: Sequence[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one whole Python process, its children's CPU seconds included.

    What earlier ones wrote is on the disk before the clock starts, so that no side waits for another's pages.
    Raises RuntimeError when it fails.
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
    """Wall and CPU seconds of one call, and the process's peak memory so far."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "peak_mb": peak}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
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
    """What `--json` prints last, for machines: one object of the same keys for every benchmark.

    Args:
        name: of the claim.
        n: how many of the claim's units a run handles.
        ours: medians, `wall_s`, `cpu_s`, `peak_mb` among them.
        peer: the same, and `what` it is; None where it was left out.
        ratio: ours over the peer, larger is better.
        where: what the figures were taken on.
        limit_fraction: of a named limit.
        more: what only this claim has.
    """
    line = {"name": name, "n": n, "ours": ours, "peer": peer, "ratio": ratio, "limit_fraction": limit_fraction}
    return json.dumps({**line, "machine": where, **more})
