"""How an item's score may be made of the scores of its pictures, by name; it is done in `scoring.py`."""

POOLINGS = ("mean", "max", "sum")
