"""Run work in shards: the interface between core functions and a runner, and a runner for this process."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Runner(Protocol):
    """Something that runs a function over shards."""

    def workers(self, *, gpu: bool = False) -> int:
        """Return how many shards run at once; 1: all in this process, so work need not be divided."""
        ...

    def map(
        self,
        work: Callable[..., Result],
        shards: Sequence[Shard],
        *common: Any,
        gpu: bool = False,
    ) -> Iterator[Result]:
        """Compute `work(shard, *common)` of every shard; yield results in the order of the shards.

        If a worker dies, its shard may run again from the start, but never twice at the same time.

        Args:
            work: a function at module level, so that other processes can import it.
            shards: the first argument of each call.
            common: further arguments of all calls; they are sent once.
            gpu: whether each shard needs a GPU.

        Raises whatever `work` raises.
        """
        ...


class Here:
    """A runner that works in this process, one shard after the other."""

    def workers(self, *, gpu: bool = False) -> int:
        """Return 1."""
        return 1

    def map(
        self,
        work: Callable[..., Result],
        shards: Sequence[Shard],
        *common: Any,
        gpu: bool = False,
    ) -> Iterator[Result]:
        """Run `Runner.map` in this process."""
        for shard in shards:
            yield work(shard, *common)


HERE = Here()


def shard_size(count: int, workers: int, least: int = 1, most: int = 20_000) -> int:
    """Choose how many of `count` pieces of work make a shard: about four shards per worker, a multiple of `least`.

    With fewer shards, workers would idle at the end. `most` limits how much work a killed worker loses, and how long
    a shard runs without reporting.
    """
    fair = min(most, -(-count // (4 * workers)))
    return max(1, -(-fair // least)) * least
