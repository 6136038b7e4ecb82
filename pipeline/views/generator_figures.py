"""The generator's figures in words: what each is called, what it means, and its floor between real pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

FLOOR = "floor_"
# Figures of pipeline/core/generator/figures.py by the start of their name: words, what it means, which way is good.
FIGURES = (
    ("class_agreement_", None, ""),
    ("frechet", "Fréchet distance", "How far generated pictures lie from held-out real ones, as two clouds of ImageNet"
     " features. Smaller is nearer; the floor is real against real. Not an FID."),
    ("kernel", "Kernel distance", "The same question without assuming a shape of the clouds; fair with few pictures."),
    ("class_agreement", "Class agreement", "How often a classifier trained on real pictures sees the class that was"
     " asked for. The floor is its own success on real pictures: here larger is better."),
    ("precision", "Precision", "The share of generated pictures that lie among real ones, in features."),
    ("recall", "Recall", "The share of real pictures that lie among generated ones: how much of the class it draws."),
    ("density", "Density", "As precision, counting how many real pictures a generated one lies near."),
    ("coverage", "Coverage", "The share of real pictures with a generated one nearby."),
    ("colour_distance", "Colours", "The part of the garments' colour that would have to change to match the pictures it"
     " learnt from, class by class; the floor is that of unseen real pictures."),
    ("memorisation_ratio_efflite0", "Memorisation ratio, in features", "As below, by ImageNet features, not pixels."),
    ("memorisation_ratio", "Memorisation ratio", "Distance of fakes to their nearest training picture over that of"
     " unseen real pictures. Well under 1 would mean copying."),
    ("nearest_l1", "Nearest training picture", "Mean distance in grey levels (0 to 255) to the most similar picture it"
     " learnt from."),
    ("diversity_ssim", "Diversity", "1 − mean structural similarity within a class: 0 would be one picture again and"
     " again. The floor is that of real pictures."),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure of the generator with its floor."""

    words: str
    protocol: str  # the figure's own name, which says how it was taken
    value: float
    floor: float | None
    meaning: str


def figures(values: Mapping[str, float]) -> list[Figure]:
    """The generator's figures in words; a figure without words is shown under its own name."""
    found = []
    for name, value in values.items():
        if name.startswith(FLOOR):
            continue
        words, meaning = next(((w, m) for start, w, m in FIGURES if name.startswith(start)), (name, ""))
        if words is not None:
            found.append(Figure(words, name, value, values.get(FLOOR + name), meaning))
    order = [words for _, words, _ in FIGURES]
    return sorted(found, key=lambda figure: order.index(figure.words) if figure.words in order else len(order))
