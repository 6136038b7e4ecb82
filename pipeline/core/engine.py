"""Run shards of work in this process or on a Ray cluster (`ATELIER_ENGINE`).

Callers pass the functions and shards. Ray is optional and imported only on request.
"""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.shards import HERE, Result, Runner, Shard

ENGINES = ("local", "ray")
OWN_CLUSTER = "local"  # Ray's name for a cluster that it starts on this machine
ATTEMPTS = 5  # retries of a shard; one that kills every worker (memory) must fail at some point
_WAIT = 1.0  # seconds between two looks for a signal such as Ctrl-C
_KNOCK = 5.0  # seconds


class EngineError(Exception):
    """The cluster, not the work, failed."""


def check(name: str, address: str = OWN_CLUSTER) -> None:
    """Raise InputError if the engine is unknown or not installed."""
    if name not in ENGINES:
        raise InputError(f"ATELIER_ENGINE is {name!r}; allowed: {', '.join(ENGINES)}")
    if name == "ray":
        _ray(address)


@contextlib.contextmanager
def running(name: str, address: str = OWN_CLUSTER, workers: int = 0) -> Generator[Runner]:
    """Yield a runner; stop the Ray cluster afterwards if this call started it.

    Args:
        name: one of ENGINES.
        address: of a Ray cluster, `host:port` or `auto`; `local` starts one of this machine's cores on loopback.
        workers: maximum number of shards at once; 0: one per processor of the cluster.

    Raises:
        InputError: as `check`, or no cluster answers at the address.
    """
    check(name, address)
    if name == "local":
        yield HERE
        return
    ray = _ray(address)
    if ray.is_initialized():  # somebody's own, who also ends it
        yield OnRay(ray, workers)
        return
    own = _own(workers) if address == OWN_CLUSTER else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **own)
    except (ConnectionError, ValueError, OSError) as error:
        if address == OWN_CLUSTER:
            raise
        raise InputError(
            f"ATELIER_RAY_ADDRESS: no Ray cluster answers at {address!r} ({error}); start one (ray start --head), or "
            "leave the variable out for one on this machine"
        ) from error
    try:
        if address == OWN_CLUSTER and (node := ray.util.get_node_ip_address()) != "127.0.0.1":
            raise EngineError(
                f"the Ray cluster of our own is reachable at {node}, because ray was imported before its switch was "
                f"set: set {' '.join(f'{name}={value}' for name, value in _LOOPBACK.items())} in the environment"
            )
        yield OnRay(ray, workers)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError if nothing listens at `host:port`; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def _own(workers: int) -> dict[str, Any]:
    """Return the options of a Ray cluster that this process starts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"num_cpus": workers or cores, "include_dashboard": False}


# Ray reads its switches from the environment when it is imported, and hands them to its processes.
_SWITCHES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no device is hidden from a task that asked for none
}
# Named after the systems that it is off on by itself. Off, a cluster of our own binds to loopback; on, to every address
# of the machine, whatever node address ray.init is given (2.60).
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def _ray(address: str) -> Any:
    """Import Ray for a cluster at this address. Raises InputError if it is not installed."""
    switches = {**_SWITCHES, **(_LOOPBACK if address == OWN_CLUSTER else {})}
    if address == OWN_CLUSTER:
        # A token of this process alone; else Ray makes one and leaves it in the person's home.
        switches |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        switches["RAY_worker_niceness"] = "0"  # its default of 15 starves workers on a machine that does other work
    for name, value in switches.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "ATELIER_ENGINE is ray, and Ray is not installed: pip install -e .[ray], or leave ATELIER_ENGINE out"
        ) from error
    return ray


class OnRay:
    """Run shards as Ray tasks, at most `workers` at a time; retry a shard if its worker dies.

    The machines must see the same files under the same paths, and have Atelier installed.
    """

    def __init__(self, ray: Any, workers: int = 0) -> None:
        self._ray, self._workers = ray, workers

    def workers(self, *, gpu: bool = False) -> int:
        """Return the number of processors (or GPUs) to use: the cluster's, limited by `workers`, at least 1."""
        there = int(self._ray.cluster_resources().get("GPU" if gpu else "CPU", 0))
        if gpu and not there:
            raise EngineError("the Ray cluster has no GPU, and ATELIER_DEVICE asks for one: set it to cpu")
        return max(1, min(there, self._workers) if self._workers else there)

    def map(
        self,
        work: Callable[..., Result],
        shards: Sequence[Shard],
        *common: Any,
        gpu: bool = False,
    ) -> Iterator[Result]:
        """As `Runner.map`."""
        ray, name = self._ray, getattr(work, "__name__", "work")
        task = ray.remote(work).options(
            name=name,
            num_cpus=1,
            num_gpus=int(gpu),
            max_retries=ATTEMPTS,
            scheduling_strategy="SPREAD",
        )
        sent = [ray.put(thing) for thing in common]
        at_once = self.workers(gpu=gpu)
        under_way: dict[Any, int] = {}  # -> number of the shard
        ended: dict[int, Any] = {}
        begun = 0
        try:
            for number in range(len(shards)):
                while number not in ended:
                    while begun < len(shards) and len(under_way) < at_once:
                        under_way[task.remote(shards[begun], *sent)] = begun
                        begun += 1
                    ready, _ = ray.wait(list(under_way), timeout=_WAIT)
                    ended |= {under_way.pop(one): one for one in ready}
                yield _result(ray, ended.pop(number), name, number)
        finally:
            for one in under_way:
                ray.cancel(one, force=True)


def _result(ray: Any, one: Any, name: str, number: int) -> Any:
    """Return a task's result, or raise its original exception."""
    try:
        return ray.get(one)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from error
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"{name}, shard {number}: no worker came to its end in {ATTEMPTS + 1} attempts ({error}). Is there memory "
            "enough for as many workers as processors? The same command goes on from here."
        ) from error
