"""Count the pictures of each class of a generator's training data."""

from collections.abc import Sequence

import numpy as np


def count_classes(labels: np.ndarray, class_names: Sequence[str], minimum: int) -> dict[str, int]:
    """Count the pictures of each class, of labels int [N]; ValueError naming the classes with fewer than `minimum`."""
    counted = np.bincount(labels, minlength=len(class_names))
    counts = {name: int(count) for name, count in zip(class_names, counted, strict=True)}
    few = [f"{name} has {count}" for name, count in counts.items() if count < minimum]
    if few:
        raise ValueError(
            f"too few pictures to train on: {', '.join(few)}; the minimum is {minimum} a class "
            "(add products of that class, or set minimum_class)"
        )
    return counts
