"""A runner of many workers without a cluster: what the shards hold and how they are put together can be seen."""

from pipeline.core.shards import Here


class InTurn(Here):
    """As many workers as asked for, one after the other in this process; `dies` ends the work after so many shards."""

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
