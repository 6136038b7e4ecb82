"""Draw a map of the visual space: the items' pictures, placed by two principal components of the items' factors."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.data.factors import Factors
from pipeline.core.images.pictures import PictureError, decode
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import Picture
from pipeline.lookbook.product_cards import first_pictures
from pipeline.views.home_contents import Home

WIDTH, HEIGHT, SIDE = 1440, 880, 40  # size of the map and of a picture on it, in pixels
REACH = 5  # largest distance, in cells, of a picture from its place
MARGIN = SIDE
SEED = 0


@dataclass(frozen=True)
class VisualMap:
    """The map, the share of the variance that it keeps, and the number of items with a picture on it."""

    picture: Picture
    kept: float  # share of the variance
    shown: int
    items: int


def principal(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Compute the first two principal components of [n, K], n >= 2: ([n, 2], share of the variance they keep).

    The sign of each is fixed so that its largest loading is positive; equal factors therefore give equal maps.
    """
    centred = points - points.mean(0, dtype=np.float64)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    axes, variance = axes[:2], scale**2
    if len(axes) < 2:  # with one factor, all items lie on a line
        axes = np.concatenate([axes, np.zeros_like(axes)])
    strongest = axes[np.arange(2), np.abs(axes).argmax(1)]
    axes = axes * np.where(strongest < 0, -1, 1)[:, None]
    return centred @ axes.T, float(variance[:2].sum() / max(variance.sum(), 1e-12))


def spots(places: np.ndarray, order: np.ndarray) -> dict[int, tuple[int, int]]:
    """Assign each place [n, 2], in pixels and in this order, the nearest free cell of SIDE pixels within REACH.

    Returns:
        place -> centre of its cell; places without a free cell in reach are left out.
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
    """Draw the map of a mode's items; None without a model that sees pictures, or with fewer than three items."""
    folder, catalogue = home.model("recommender", mode), home.table("catalogue", mode)
    if folder is None or catalogue is None or not (folder.path / "factors.npz").is_file():
        return None
    factors = Factors.load(folder.verified / "factors.npz")
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
        except PictureError:  # stored before a rule was tightened
            continue
        picture.thumbnail((SIDE - 2, SIDE - 2), Image.Resampling.LANCZOS)
        x, y = chosen[where[sha]]
        canvas.paste(picture, (x - picture.width // 2, y - picture.height // 2))
        shown += 1
    if not shown:
        return None
    sink = io.BytesIO()
    canvas.save(sink, "WEBP", quality=78, method=6)
    alt = f"A map of {shown} items: items that the recommender sees as similar are close to each other"
    picture = Picture(album.add_file(sink.getvalue(), "webp"), WIDTH, HEIGHT, alt)
    return VisualMap(picture, kept, shown, len(factors.items))


def _eased(values: np.ndarray) -> np.ndarray:
    """Scale values [n] to 0..1, half by value and half by rank, so that they spread more evenly."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values) - 1)
    extent = np.ptp(values)
    return 0.5 * rank + 0.5 * ((values - values.min()) / extent if extent else 0.5)
