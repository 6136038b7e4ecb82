"""Measure generated garments in features of a frozen ImageNet network, which a generator's training may use too.

A training that uses them can make these figures good without making the garments good. They are kept to compare with
earlier runs, and are shown apart from those of `independent.py`.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.metrics.generation import (
    ClassClassifier,
    class_agreement,
    kernel_distance,
    precision_recall,
    protocol,
)
from pipeline.core.generator.independent import NEIGHBOURS, REAL


def measure(
    embed: Callable[[np.ndarray], np.ndarray],
    source: str,
    fakes: np.ndarray,
    real: np.ndarray,
    train: np.ndarray,
    label: np.ndarray,
    class_names: Sequence[str],
    seed: int,
) -> dict[str, float]:
    """Measure the distance of fakes to held-out pictures, their spread and their classes; floors are of one draw.

    Args:
        embed: pictures uint8 [n, H, W, 3] to features [n, D].
        source: name of the features, part of every figure's name.
        fakes: pictures uint8 [n, H, W, 3].
        real: held-out pictures, likewise.
        train: training pictures, likewise, which replace the fakes in the floors.
        label: class of each row of all three, [n].
        class_names: classes by number.
        seed: of the kernel distance's subsets.
    """
    of_real, n = embed(real), len(label)
    classifier = ClassClassifier.fit(of_real, label, len(class_names))
    figures: dict[str, float] = {}
    for prefix, features in (("", embed(fakes)), (REAL, embed(train))):
        figures[prefix + protocol("kernel", source, n)] = kernel_distance(of_real, features, seed=seed)[0]
        if n > NEIGHBOURS:
            spread = precision_recall(of_real, features, k=NEIGHBOURS)
            for name in ("precision", "recall", "coverage"):
                figures[prefix + protocol(name, f"{source}_k{NEIGHBOURS}", n)] = spread[name]
        agreement = class_agreement(classifier.predict, features, label, class_names)
        figures[prefix + protocol("class_agreement", source, n)] = agreement["overall"]
    return figures
