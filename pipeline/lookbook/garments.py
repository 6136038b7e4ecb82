"""The generator's section: garments by class beside their nearest training pictures, its figures, its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.home.contents import Home
from pipeline.lookbook.album import Album, cut, join, spread
from pipeline.lookbook.charts import Chart
from pipeline.lookbook.data import class_words
from pipeline.lookbook.page import LeftOut, Picture, Section
from pipeline.views import plots
from pipeline.views.sheets import load

TITLE = "Garments nobody made"
COLUMNS = 5  # pictures side by side in a class's card
FRAMES = 4
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
class ClassCard:
    """A class: garments, and pairs of a garment over the training picture nearest to it."""

    name: str
    garments: Picture
    pairs: Picture | None
    agreement: float | None  # how often a classifier sees the class in them


@dataclass(frozen=True)
class Figure:
    """A figure of the generator with its floor."""

    words: str
    protocol: str  # the figure's own name, which says how it was taken
    value: float
    floor: float | None
    meaning: str


@dataclass(frozen=True)
class Frame:
    """The same latents at a step of the training."""

    step: int
    picture: Picture


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


def class_cards(folder: Path, names: Sequence[str], values: Mapping[str, float], album: Album) -> list[ClassCard]:
    """The grids of `generated_garments` cut into a card for each of its classes; nothing where there is none."""
    generated, nearest = folder / "generated.png", folder / "nearest.png"
    grid = cut(load(generated), names) if generated.is_file() else None
    if grid is None:
        return []
    labels = [label for name in names for label in (name, "nearest")]
    beside = cut(load(nearest), labels) if nearest.is_file() else None
    made = []
    for number, name in enumerate(names):
        words = class_words(name)
        row = grid[number]
        columns = min(COLUMNS, len(row))
        rows = row[: len(row) // columns * columns].reshape(-1, columns, *row.shape[1:])
        pairs = None
        if beside is not None:
            both = beside[2 * number : 2 * number + 2, :COLUMNS]
            pairs = album.add(join(both), f"{words}: generated above, the most similar training picture below")
        garments = album.add(join(rows), f"{words}: {rows.shape[0] * rows.shape[1]} generated pictures")
        made.append(ClassCard(words, garments, pairs, values.get(f"class_agreement_{name}")))
    return made


def frames(folder: Path, names: Sequence[str], album: Album) -> list[Frame]:
    """The training as a few frames, a row for each of its classes, from before the first step to the last."""
    steps = {0: folder / "fakes_init.png"} if (folder / "fakes_init.png").is_file() else {}
    steps |= {int(path.stem.removeprefix("fakes_")): path for path in folder.glob("fakes_0*.png")}
    ordered = sorted(steps)
    made = []
    for place in spread(len(ordered), FRAMES):
        step = ordered[place]
        grid = cut(load(steps[step]), names)
        if grid is not None:
            alt = f"Garments, a row a class, after {step:,} training steps"
            made.append(Frame(step, album.add(join(grid[:, :COLUMNS]), alt)))
    return made


def _colours(home: Home) -> Chart | None:
    """Which colours the garments of each class have, learnt from and drawn."""
    shares = home.metadata("generator_evaluation").get("colours")
    if not shares or not shares.get("training"):
        return None
    shares = {side: {class_words(name): part for name, part in of.items()} for side, of in shares.items()}
    alt = "Colours of the garments by class, of the training pictures and of the generated ones"
    return Chart("Colours learnt from and drawn", alt, plots.colours(shares, form=plots.svg), "generator_evaluation")


def section(home: Home, album: Album) -> Section | LeftOut:
    """The section."""
    folder = home.model("generator")
    values = home.metadata("generator_evaluation").get("figures", {})
    # The gallery may be of an earlier training than the model: each says its own classes.
    gallery: list[str] = home.metadata("generated_garments").get("classes", [])
    classes = class_cards(home.storage.reports / "pictures", gallery, values, album)
    if folder is None and not classes:
        return LeftOut(TITLE, "no generator was trained: materialise the group generator")
    trained = home.metadata("lsgan")
    names: list[str] = trained.get("classes", [])
    content = {
        "classes": classes,
        "colours": _colours(home),
        "figures": figures(values),
        "frames": frames(folder.path, names, album) if folder else [],
        "rows": [class_words(name).lower() for name in names],
        "images": [(class_words(name), count) for name, count in sorted(trained.get("images", {}).items())],
        "pictures": sum(trained.get("images", {}).values()),
        "epochs": trained.get("epochs"),
        "steps": trained.get("steps"),
    }
    wanted = [(name, None) for name in ("garments", "lsgan", "generator_evaluation", "generated_garments")]
    return Section("garments", TITLE, "Garments", content, home.sources(wanted))
