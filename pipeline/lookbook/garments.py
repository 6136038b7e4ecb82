"""The section about the generator: garments by class, their nearest training pictures, its figures, its training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.lookbook.album import Album, cut, join, spread
from pipeline.lookbook.charts import Chart
from pipeline.lookbook.page import LeftOut, Picture, Section
from pipeline.views import plots
from pipeline.views.generator_figures import figures
from pipeline.views.home_contents import Home
from pipeline.views.sheets import load
from pipeline.views.words import class_words

TITLE = "Garments nobody made"
COLUMNS = 5  # pictures side by side in the card of a class
FRAMES = 4  # pictures of the course of training


@dataclass(frozen=True)
class ClassCard:
    """A class: generated garments, and pairs of a garment above its nearest training picture."""

    name: str
    garments: Picture
    pairs: Picture | None
    agreement: float | None  # share in which the judge recognises the class


@dataclass(frozen=True)
class Frame:
    """The garments of fixed latents at one step of the training."""

    step: int
    picture: Picture


def class_cards(
    folder: Path, names: Sequence[str], values: Mapping[str, Mapping[str, float]], album: Album
) -> list[ClassCard]:
    """Cut the grids of `generated_garments` into a card for each class; none without a grid."""
    generated, nearest = folder / "generated.png", folder / "nearest.png"
    grid = cut(load(generated), names) if generated.is_file() else None
    if grid is None:
        return []
    labels = [label for name in names for label in (name, "nearest")]
    beside = cut(load(nearest), labels) if nearest.is_file() else None
    cards = []
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
        cards.append(ClassCard(words, garments, pairs, values.get(name, {}).get("judge_agreement")))
    return cards


def frames(folder: Path, names: Sequence[str], album: Album) -> list[Frame]:
    """Show the training in a few frames, with a row for each class, from before the first step to the last."""
    steps = {0: folder / "fakes_init.png"} if (folder / "fakes_init.png").is_file() else {}
    steps |= {int(path.stem.removeprefix("fakes_")): path for path in folder.glob("fakes_0*.png")}
    ordered = sorted(steps)
    shown = []
    for position in spread(len(ordered), FRAMES):
        step = ordered[position]
        grid = cut(load(steps[step]), names)
        if grid is not None:
            alt = f"Garments, one row for each class, after {step:,} training steps"
            shown.append(Frame(step, album.add(join(grid[:, :COLUMNS]), alt)))
    return shown


def _colours(home: Home) -> Chart | None:
    """Draw the colours of each class, in training pictures and in generated ones; None without figures."""
    shares = home.metadata("generator_evaluation").get("colours")
    if not shares or not shares.get("training"):
        return None
    shares = {side: {class_words(name): part for name, part in of.items()} for side, of in shares.items()}
    alt = "Colours of the garments by class, of the training pictures and of the generated ones"
    return Chart("Colours learnt from and drawn", alt, plots.colours(shares, form=plots.svg), "generator_evaluation")


def section(home: Home, album: Album) -> Section | LeftOut:
    """Build the section."""
    folder = home.model("generator")
    evaluation = home.metadata("generator_evaluation")
    # The gallery may come from an earlier training than the model, so each has its own list of classes.
    gallery: list[str] = home.metadata("generated_garments").get("classes", [])
    classes = class_cards(home.storage.reports / "pictures", gallery, evaluation.get("by_class", {}), album)
    if folder is None and not classes:
        return LeftOut(TITLE, "no generator was trained: materialise the group generator")
    trained = home.metadata("lsgan")
    names: list[str] = trained.get("classes", [])
    content = {
        "classes": classes,
        "colours": _colours(home),
        "figures": figures(evaluation.get("figures", {})),
        "shared": figures(evaluation.get("shared_features", {})),
        "notes": evaluation.get("notes", []),
        "frames": frames(folder.path, names, album) if folder else [],
        "rows": [class_words(name).lower() for name in names],
        "images": [(class_words(name), count) for name, count in sorted(trained.get("images", {}).items())],
        "pictures": sum(trained.get("images", {}).values()),
        "epochs": trained.get("epochs"),
        "steps": trained.get("steps"),
    }
    wanted = [(name, None) for name in ("garments", "lsgan", "generator_evaluation", "generated_garments")]
    return Section("garments", TITLE, "Garments", content, home.sources(wanted))
