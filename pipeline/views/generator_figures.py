"""Describe the generator's figures: a name, a meaning, and the floor between real pictures for each."""

from collections.abc import Mapping
from dataclasses import dataclass

FLOOR = "floor_"
# Figures of pipeline/core/generator/figures.py: (start of the name, title, meaning). Without a title, it is not shown.
FIGURES = (
    ("class_agreement_", None, ""),
    ("frechet", "Fréchet distance", "Distance between generated and held-out real pictures, as two clouds of ImageNet"
     " features. Smaller is better; the floor compares real pictures with real ones. Not an FID."),
    ("kernel", "Kernel distance", "Like the Fréchet distance, but without assuming a shape of the clouds; unbiased with"
     " few pictures."),
    ("class_agreement", "Class agreement", "How often a classifier trained on real pictures sees the requested class."
     " Larger is better; the floor is its accuracy on real pictures."),
    ("precision", "Precision", "Share of generated pictures that lie among real ones, in features."),
    ("recall", "Recall", "Share of real pictures that lie among generated ones: how much of the class it draws."),
    ("density", "Density", "Like precision, but counts how many real pictures are close to a generated one."),
    ("coverage", "Coverage", "Share of real pictures with a generated one nearby."),
    ("colour_distance", "Colours", "Share of the garments' colour that would have to change to match the training"
     " pictures, class by class; the floor is that of unseen real pictures."),
    ("memorisation_ratio_efflite0", "Memorisation ratio, in features", "As below, by ImageNet features, not pixels."),
    ("memorisation_ratio", "Memorisation ratio", "Distance of fakes to their nearest training picture, divided by that"
     " of unseen real pictures. Well under 1 would mean copying."),
    ("nearest_l1", "Nearest training picture", "Mean distance in grey levels (0 to 255) to the most similar training"
     " picture."),
    ("diversity_ssim", "Diversity", "1 − mean structural similarity within a class: 0 would mean always the same"
     " picture. The floor is that of real pictures."),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure of the generator with its floor."""

    words: str
    protocol: str  # the figure's full name, which includes how it was measured
    value: float
    floor: float | None
    meaning: str


def figures(values: Mapping[str, float]) -> list[Figure]:
    """Describe the generator's figures; a figure without a description is shown under its full name."""
    described = []
    for name, value in values.items():
        if name.startswith(FLOOR):
            continue
        words, meaning = next(((w, m) for start, w, m in FIGURES if name.startswith(start)), (name, ""))
        if words is not None:
            described.append(Figure(words, name, value, values.get(FLOOR + name), meaning))
    order = [words for _, words, _ in FIGURES]
    return sorted(described, key=lambda figure: order.index(figure.words) if figure.words in order else len(order))
