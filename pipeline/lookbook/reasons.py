"""Why an item is recommended: which parts of its picture raise the score, and which own items it resembles most.

The map is `models/metrics/occlusion.py`'s; here it becomes a picture. Only DVBPR's network sees pixels, so other recommenders
have no reasons of this kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from models.data.factors import Factors
from models.data.pictures import Pictures
from models.dvbpr import train as train_dvbpr
from models.metrics.occlusion import occlusion
from pipeline.core.images.bank import open_bank
from pipeline.core.recommender_names import DVBPR
from pipeline.home.contents import Home
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import Picture
from pipeline.lookbook.product_cards import Card, first_rows

PICKS = 3  # of a person that are explained
OWN = 3  # own items beside each
SIDE = 160  # pixels of the map
RAISES, LOWERS = np.array([214, 72, 28]), np.array([38, 96, 168])


@dataclass(frozen=True)
class Reason:
    """Why one item is there."""

    card: Card
    heat: Picture
    most: float  # what the strongest part adds, in units of the score
    own: list[tuple[Card, float]]  # with the cosine of both items' factors, taken from the catalogue's mean


class Reasons:
    """The network and pictures of a mode, and the nearest own items of its people."""

    def __init__(self, cnn: torch.nn.Module, theta: torch.Tensor, users: np.ndarray, pictures: Pictures,
                 image_of: Mapping[int, int], factors: Factors) -> None:  # fmt: skip
        self.cnn, self.theta, self.pictures, self.image_of, self.factors = cnn, theta, pictures, image_of, factors
        self.user_row = {int(user): row for row, user in enumerate(users)}
        self.item_row = {int(item): row for row, item in enumerate(factors.items)}
        # Around the mean: what all items share tells none from another, and makes every cosine nearly 1.
        centred = factors.item - factors.item.mean(0)
        self.directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)  # [I, K]

    @classmethod
    def open(cls, home: Home, mode: str, factors: Factors | None, catalogue: pa.Table) -> "Reasons | None":
        """None where there is no network of DVBPR, or not the bank it saw."""
        folder = home.picker(mode)
        if factors is None or folder is None or not (folder.path / "best.pt").is_file():
            return None
        manifest = folder.manifest()
        if manifest.get("model", DVBPR) != DVBPR or not (home.storage.bank / "bank.json").is_file():
            return None
        bank = open_bank(home.storage.bank)
        if manifest["inputs"].get("image_bank") != bank.digest_of(catalogue["bank_row"].to_numpy())[:16]:
            return None
        device = torch.device("cpu")
        cnn, theta, meta = train_dvbpr.load(folder.path, device)
        images = first_rows(catalogue)
        rows = catalogue["bank_row"].to_numpy()[list(images.values())]
        pictures = Pictures(bank.pixels, rows, meta["input_size"], device, resize_filter=meta["resize_filter"])
        image_of = {item: place for place, item in enumerate(images)}
        return cls(cnn, theta.detach(), meta["users"], pictures, image_of, factors)

    def own(self, item: int, history: list[int]) -> list[tuple[int, float]]:
        """The person's items most like this one, [(item, cosine)], best first."""
        if item not in self.item_row:
            return []
        known = [mine for mine in history if mine in self.item_row]
        likeness = self.directions[[self.item_row[mine] for mine in known]] @ self.directions[self.item_row[item]]
        order = np.argsort(-likeness, kind="stable")[:OWN]
        return [(known[place], float(likeness[place])) for place in order]

    def wanted(self, picks: Mapping[int, list[int]], history: Mapping[int, dict[str, list[int]]]) -> set[int]:
        """The own items that will be shown, whose cards are needed."""
        return {
            own
            for user, items in picks.items()
            for item in items[:PICKS]
            for own, _ in self.own(item, history[user]["train"])
        }

    def of(
        self, user: int, picks: list[int], history: list[int], shelf: Mapping[int, Card], album: Album
    ) -> list[Reason]:
        """The reasons for a person's first picks; none for a user or an item that the model does not know."""
        items = [item for item in picks[:PICKS] if item in self.image_of and item in self.item_row]
        if user not in self.user_row or not items:
            return []
        images = np.array([self.image_of[item] for item in items])
        pixels = torch.cat(list(self.pictures.batches(images, len(images))))
        heats = occlusion(self.cnn, self.theta[self.user_row[user]], pixels)
        made = []
        for item, picture, heat in zip(items, pixels.numpy(), heats, strict=True):
            card = shelf[item]
            alt = f"{card.title or card.asin}: red where a part raises the score, blue where it lowers it"
            shown = album.add(overlay(picture, heat, SIDE), alt)
            own = [(shelf[mine], likeness) for mine, likeness in self.own(item, history) if mine in shelf]
            made.append(Reason(card, shown, float(heat.max()), own))
        return made


def overlay(picture: np.ndarray, heat: np.ndarray, side: int) -> np.ndarray:
    """A picture, uint8 [S, S, 3], in grey under its map [g, g]: red raises, blue lowers; uint8 [side, side, 3]."""
    size = (side, side)
    grey = np.asarray(Image.fromarray(picture).convert("L").resize(size, Image.Resampling.LANCZOS), float)
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    strength = np.clip(smooth / max(float(np.abs(heat).max()), 1e-12), -1, 1)[..., None]
    colour = np.where(strength > 0, RAISES, LOWERS)
    pale = 255 - (255 - grey[..., None].repeat(3, 2)) * 0.75
    share = 0.75 * np.abs(strength)
    return (pale * (1 - share) + pale / 255 * colour * share).round().astype(np.uint8)
