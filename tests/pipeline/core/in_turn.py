"""A runner with many workers and no cluster, to test sharding and merging."""

from pipeline.core.shards import Here


class InTurn(Here):
    """As many workers as asked for, one after the other in this process."""

    def __init__(self, count: int) -> None:
        self.count = count

    def workers(self, *, gpu: bool = False) -> int:
        return self.count
