"""Work cut into shards: the one thing that core functions ask of whoever runs them.

What a shard is, and how results are put together, is each function's own; the runner that spreads shards over a cluster
is `pipeline/core/engine.py`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs a function over shards."""

    def workers(self, *, gpu: bool = False) -> int:
        """How many shards are worked on at once; 1: in this process, where work need not be cut at all."""
        ...

    def map(
        self,
        work: Callable[..., Result],
        shards: Sequence[Shard],
        *common: Any,
        gpu: bool = False,
        look: Callable[[], object] | None = None,
    ) -> Iterator[Result]:
        """`work(shard, *common)` of every shard, in the order of the shards.

        A shard may be begun again from its start, when whoever worked on it died; never are two at the same one.

        Args:
            work: a function of a module, which other processes can import.
            shards: one argument each.
            common: what all shards are given as well; it is sent once.
            gpu: each shard needs one.
            look: called every second or so while shards are worked on, to tell how far they are.

        Raises what `work` raises.
        """
        ...


class Here:
    """Everything in this process, one shard after the other."""

    def workers(self, *, gpu: bool = False) -> int:
        """One."""
        return 1

    def map(
        self,
        work: Callable[..., Result],
        shards: Sequence[Shard],
        *common: Any,
        gpu: bool = False,
        look: Callable[[], object] | None = None,
    ) -> Iterator[Result]:
        """As `Runner.map`."""
        for shard in shards:
            yield work(shard, *common)


HERE = Here()


def shard_size(count: int, workers: int, least: int = 1, most: int = 20_000) -> int:
    """How many of `count` pieces of work make a shard, a multiple of `least`: about four shards a worker.

    Fewer would leave workers idle at the end; `most` bounds what a killed one costs, and how long nothing is heard.
    """
    fair = min(most, -(-count // (4 * workers)))
    return max(1, -(-fair // least)) * least
