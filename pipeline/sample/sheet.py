"""Draw contact sheets: some garments of each class side by side, so that a person can check the drawings."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.sample.others import draw
from pipeline.sample.photos import VIEWS, at_home, studio
from pipeline.sample.styles import CLASSES, OTHERS, sample_style


def write_sheet(out: Path, seed: int, size: int = 112, columns: int = 14) -> list[Path]:
    """Write `garments.png` (one or two rows for each class), `garments64.png` (the same at 64 px) and `views.png`.

    `views.png` shows the four studio views and four customer photos of one garment of each class.
    """
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    fronts = []
    for garment_class in (*CLASSES, *OTHERS):
        for _ in range(columns * (2 if garment_class in CLASSES else 1) // (1 if garment_class in CLASSES else 2)):
            style = sample_style(garment_class, rng)
            fronts.append(studio(style, draw(style, rng), "front", rng))
    views = []
    for garment_class in CLASSES:
        style = sample_style(garment_class, rng)
        garment = draw(style, rng)
        views += [studio(style, garment, view, rng) for view in VIEWS]
        views += [at_home(garment, rng) for _ in range(4)]
    written = []
    for name, pictures, side, across in (
        ("garments", fronts, size, columns),
        ("garments64", fronts, 64, columns),
        ("views", views, 128, 8),
    ):
        written.append(out / f"{name}.png")
        _grid(pictures, side, across).save(written[-1])
    return written


def _grid(pictures: list[Image.Image], side: int, across: int) -> Image.Image:
    rows = -(-len(pictures) // across)
    sheet = Image.new("RGB", (across * (side + 4), rows * (side + 4)), (222, 222, 222))
    for index, picture in enumerate(pictures):
        small = picture.resize((round(side * picture.width / picture.height), side), Image.Resampling.LANCZOS)
        sheet.paste(small, (index % across * (side + 4) + 2, index // across * (side + 4) + 2))
    return sheet
