"""A map of the visual space: items where two principal components of Phi put them, as pictures.

Which picture stands for an item is `shelf.py`'s; the factors are the trained model's.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.factors import Factors
from pipeline.core.images.pictures import PictureError, decode
from pipeline.lookbook.album import Album
from pipeline.lookbook.home import Home
from pipeline.lookbook.page import Picture
from pipeline.lookbook.shelf import first_pictures

WIDTH, HEIGHT, SIDE = 1440, 880, 40  # pixels of the map and of a picture on it
REACH = 5  # cells that a picture may stand off its place
MARGIN = SIDE
SEED = 0


@dataclass(frozen=True)
class VisualMap:
    """The map, how much of the variance it keeps, and how many items have a picture on it."""

    picture: Picture
    kept: float  # share of the variance
    shown: int
    items: int


def principal(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The two first principal components of [n, K], n >= 2: ([n, 2], share of the variance they keep).

    The sign of each is fixed (its largest loading is positive), so that equal factors make an equal map.
    """
    centred = points - points.mean(0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    axes, variance = axes[:2], scale**2
    if len(axes) < 2:  # one factor: everything on a line
        axes = np.concatenate([axes, np.zeros_like(axes)])
    strongest = axes[np.arange(2), np.abs(axes).argmax(1)]
    axes = axes * np.where(strongest < 0, -1, 1)[:, None]
    return centred @ axes.T, float(variance[:2].sum() / max(variance.sum(), 1e-12))


def spots(places: np.ndarray, order: np.ndarray) -> dict[int, tuple[int, int]]:
    """A free cell of SIDE pixels for each place [n, 2] in pixels, in this order: the nearest one, at most REACH away.

    Returns:
        place -> middle of its cell; a place without a free cell in reach is left out.
    """
    columns, rows = WIDTH // SIDE, HEIGHT // SIDE
    middles = (
        np.stack(np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"), -1).reshape(-1, 2) * SIDE + SIDE / 2
    )
    free = np.ones(len(middles), bool)
    taken: dict[int, tuple[int, int]] = {}
    for one in order.tolist():
        away = np.where(free, np.hypot(*(middles - places[one]).T), np.inf)
        cell = int(away.argmin())
        if away[cell] <= REACH * SIDE:
            free[cell] = False
            taken[one] = (round(middles[cell, 0]), round(middles[cell, 1]))
    return taken


def draw(home: Home, mode: str, album: Album) -> VisualMap | None:
    """The map of a mode's items; None without a model that sees pictures, or with fewer than three items."""
    folder, catalogue = home.model("recommender", mode), home.table("catalogue", mode)
    if folder is None or catalogue is None or not (folder.path / "factors.npz").is_file():
        return None
    factors = Factors.load(folder.opened / "factors.npz")
    if not factors.sees_pictures or len(factors.items) < 3:
        return None
    points, kept = principal(factors.item)
    spread = np.stack([_eased(points[:, axis]) for axis in range(2)], 1)
    places = MARGIN + spread * np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    chosen = spots(places, np.random.default_rng(SEED).permutation(len(places)))
    shas = first_pictures(catalogue)
    where = {shas[item]: row for row in chosen if (item := int(factors.items[row])) in shas}
    canvas = Image.new("RGBA", (WIDTH, HEIGHT))
    store = home.store()
    shown = 0
    for sha, data in store.read([sha for sha in where if sha in store]):
        try:
            picture = Image.fromarray(decode(data))
        except PictureError:  # as in shelf.py
            continue
        picture.thumbnail((SIDE - 2, SIDE - 2), Image.Resampling.LANCZOS)
        x, y = chosen[where[sha]]
        canvas.paste(picture, (x - picture.width // 2, y - picture.height // 2))
        shown += 1
    if not shown:
        return None
    sink = io.BytesIO()
    canvas.save(sink, "WEBP", quality=78, method=6)
    alt = f"A map of {shown} items: those that the recommender sees as alike lie near each other"
    picture = Picture(album.add_file(sink.getvalue(), "webp"), WIDTH, HEIGHT, alt)
    return VisualMap(picture, kept, shown, len(factors.items))


def _eased(values: np.ndarray) -> np.ndarray:
    """Values [n] to 0..1, half by value and half by rank."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values) - 1)
    extent = np.ptp(values)
    return 0.5 * rank + 0.5 * ((values - values.min()) / extent if extent else 0.5)
