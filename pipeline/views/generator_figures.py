"""Describe the generator's figures: a name, a meaning, and the floor between real pictures for each."""

from collections.abc import Mapping
from dataclasses import dataclass

REAL, SPREAD = "real_", "_sd"  # a figure's floor is named real_NAME, and its standard deviation real_NAME_sd
# Figures of pipeline/core/generator/: (start of the name, title, meaning).
FIGURES = (
    ("judge_agreement", "Recognised by the judge", "How often a small network, trained on real pictures that no"
     " generator sees, recognises the requested class; mean over classes. The floor is its accuracy on real pictures."),
    ("judge_kernel", "Kernel distance to the judge", "How far generated pictures are from real ones in the judge's"
     " features; unbiased, so equals may give less than 0. Smaller is better."),
    ("judge_precision", "Precision to the judge", "Share of generated pictures that lie among real ones, by the"
     " judge."),
    ("judge_recall", "Recall to the judge", "Share of real pictures that lie among generated ones: how much of the"
     " shop it draws, by the judge."),
    ("pixel_kernel", "Kernel distance of pixels", "The same distance between the pictures themselves, in 64 principal"
     " components."),
    ("pixel_precision", "Precision of pixels", "Share of generated pictures that lie among real ones, pixel by pixel."),
    ("pixel_recall", "Recall of pixels", "Share of real pictures that lie among generated ones, pixel by pixel."
     " Near 0 if each class has one silhouette."),
    ("spectrum_distance", "Spectrum", "Mean difference of power at all scales, in powers of ten: blur, a"
     " lattice, noise."),
    ("colour_distance", "Colours", "Share of the garments' colour that would have to change to match unseen real"
     " pictures, class by class."),
    ("memorisation_ratio_l1", "Memorisation in pixels", "Distance to the nearest training picture, divided by that to"
     " the nearest of equally many unseen ones. Clearly below the floor means copying."),
    ("memorisation_ratio_judge", "Memorisation by the judge", "The same in the judge's features."),
    ("nearest_l1", "Nearest training picture", "Mean distance in grey levels (0 to 255) to the most similar training"
     " picture."),
    ("diversity_ssim", "Diversity", "1 − mean structural similarity within a class: 0 would mean always the same"
     " picture."),
    ("kernel", "Kernel distance", "Between generated and held-out pictures, in ImageNet features; unbiased."),
    ("precision", "Precision", "Share of generated pictures that lie among real ones, in ImageNet features."),
    ("recall", "Recall", "Share of real pictures that lie among generated ones, in ImageNet features."),
    ("coverage", "Coverage", "Share of real pictures with a generated one nearby, in ImageNet features."),
    ("class_agreement", "Class agreement", "How often a classifier on ImageNet features sees the requested class."),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure of the generator with its floor."""

    words: str
    protocol: str  # the figure's full name, which includes how it was measured
    value: float
    floor: float | None
    spread: float | None  # standard deviation of the floor
    meaning: str


def figures(values: Mapping[str, float]) -> list[Figure]:
    """Describe the generator's figures; a figure without a description is shown under its full name."""
    described = []
    for name, value in values.items():
        if name.startswith(REAL):
            continue
        words, meaning = next(((w, m) for start, w, m in FIGURES if name.startswith(start)), (name, ""))
        floor, spread = values.get(REAL + name), values.get(REAL + name + SPREAD)
        described.append(Figure(words, name, value, floor, spread, meaning))
    order = [words for _, words, _ in FIGURES]
    return sorted(described, key=lambda figure: order.index(figure.words) if figure.words in order else len(order))
