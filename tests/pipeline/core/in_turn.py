"""A runner with many workers and no cluster, to test sharding and merging."""

from pipeline.core.shards import Here


class InTurn(Here):
    """Runs `count` workers in turn in this process; raises KeyboardInterrupt after `dies` shards."""

    def __init__(self, count: int, dies: int | None = None) -> None:
        self.count, self.dies = count, dies

    def workers(self, *, gpu: bool = False) -> int:
        return self.count

    def map(self, work, shards, *common, gpu=False, look=None):
        for number, shard in enumerate(shards):
            if number == self.dies:
                raise KeyboardInterrupt
            yield work(shard, *common)
            if look is not None:
                look()
