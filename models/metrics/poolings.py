"""Names of the ways to pool the scores of an item's pictures into one score; importable without torch."""

POOLINGS = ("mean", "max", "sum")
