"""A real Ray cluster of several processes: what it listens on, the order of results, errors, and killed workers."""

import os
import posixpath
import signal
from pathlib import Path

import psutil
import pytest

from pipeline.core.shards import Runner


def test_a_cluster_of_our_own_listens_on_loopback_alone(cluster: Runner):
    assert list(cluster.map(posixpath.basename, ["a/1", "a/2"])) == ["1", "2"]
    me = psutil.Process()
    listening = {
        connection.laddr.ip
        for one in [me, *me.children(recursive=True)]
        for connection in one.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert listening


def test_results_come_in_order_and_errors_as_themselves(cluster: Runner):
    assert list(cluster.map(divmod_of, range(20), 7)) == [divmod(number, 7) for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        list(cluster.map(divmod_of, range(20), 0))


def divmod_of(number: int, by: int) -> tuple[int, int]:
    return divmod(number, by)


def test_a_shard_whose_worker_is_killed_runs_again_and_its_result_keeps_its_place(cluster: Runner, tmp_path: Path):
    assert list(cluster.map(killed_once, range(9), tmp_path)) == list(range(9))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "4", "8"]


def killed_once(number: int, marks: Path) -> int:
    """Return the number; at the first attempt at every fourth one, the worker is killed instead."""
    mark = marks / str(number)
    if number % 4 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number
