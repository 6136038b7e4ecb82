"""Explain a recommendation: which parts of the picture raise the score, and which of the person's items are similar.

Works only for recommenders with a network that sees pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from models.data.factors import Factors
from models.data.pictures import Pictures
from models.metrics.occlusion import occlusion
from pipeline.core.images.bank import open_bank
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import Picture
from pipeline.lookbook.product_cards import ProductCard, first_rows
from pipeline.recommenders.contract import PixelNetwork
from pipeline.recommenders.registry import of_manifest
from pipeline.views.home_contents import Home

PICKS = 3  # picks of a person that are explained
OWN = 3  # the person's own items shown beside each
SIDE = 160  # side of the map in pixels
RAISES, LOWERS = np.array([214, 72, 28]), np.array([38, 96, 168])


@dataclass(frozen=True)
class Reason:
    """The explanation of one recommended item."""

    card: ProductCard
    heat: Picture
    most: float  # what the strongest part adds to the score
    own: list[tuple[ProductCard, float]]  # own items, with the cosine of both items' factors after subtracting the mean


class Reasons:
    """The network and the pictures of a mode, with which the picks of its people are explained."""

    def __init__(
        self, network: PixelNetwork, pictures: Pictures, image_of: Mapping[int, int], factors: Factors
    ) -> None:
        self.network, self.pictures, self.image_of, self.factors = network, pictures, image_of, factors
        self.user_row = {int(user): row for row, user in enumerate(network.users)}
        self.item_row = {int(item): row for row, item in enumerate(factors.items)}
        # Subtract the mean: what all items have in common would make every cosine nearly 1.
        centred = factors.item - factors.item.mean(0)
        self.directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)  # [I, K]

    @classmethod
    def open(cls, home: Home, mode: str, factors: Factors | None, catalogue: pa.Table) -> "Reasons | None":
        """Load network and pictures; None if the recommender has no pixel network, or if its image bank has changed."""
        folder = home.picker(mode)
        if factors is None or folder is None or not (folder.path / "best.pt").is_file():
            return None
        manifest = folder.manifest()
        if not (home.storage.bank / "bank.json").is_file():
            return None
        bank = open_bank(home.storage.bank)
        if manifest["inputs"].get("image_bank") != bank.digest_of(catalogue["bank_row"].to_numpy())[:16]:
            return None
        network = of_manifest(manifest).pixel_network(folder.path, manifest)
        if network is None:
            return None
        device = torch.device("cpu")
        images = first_rows(catalogue)
        rows = catalogue["bank_row"].to_numpy()[list(images.values())]
        pictures = Pictures(bank.pixels, rows, network.input_size, device, resize_filter=network.resize_filter)
        image_of = {item: position for position, item in enumerate(images)}
        return cls(network, pictures, image_of, factors)

    def own(self, item: int, history: list[int]) -> list[tuple[int, float]]:
        """Find the person's items most similar to this one: [(item, cosine)], best first."""
        if item not in self.item_row:
            return []
        known = [own for own in history if own in self.item_row]
        cosine = self.directions[[self.item_row[own] for own in known]] @ self.directions[self.item_row[item]]
        order = np.argsort(-cosine, kind="stable")[:OWN]
        return [(known[position], float(cosine[position])) for position in order]

    def wanted(self, picks: Mapping[int, list[int]], history: Mapping[int, dict[str, list[int]]]) -> set[int]:
        """List the own items that will be shown, so that their cards can be made."""
        return {
            own
            for user, items in picks.items()
            for item in items[:PICKS]
            for own, _ in self.own(item, history[user]["train"])
        }

    def of(
        self, user: int, picks: list[int], history: list[int], product_cards: Mapping[int, ProductCard], album: Album
    ) -> list[Reason]:
        """Explain a person's first picks; users and items that the model does not know are left out."""
        items = [item for item in picks[:PICKS] if item in self.image_of and item in self.item_row]
        if user not in self.user_row or not items:
            return []
        images = np.array([self.image_of[item] for item in items])
        pixels = torch.cat(list(self.pictures.batches(images, len(images))))
        heats = occlusion(self.network.network, self.network.theta[self.user_row[user]], pixels)
        reasons = []
        for item, picture, heat in zip(items, pixels.numpy(), heats, strict=True):
            card = product_cards[item]
            alt = f"{card.title or card.asin}: red where a part raises the score, blue where it lowers it"
            shown = album.add(overlay(picture, heat, SIDE), alt)
            own = [
                (product_cards[other], cosine) for other, cosine in self.own(item, history) if other in product_cards
            ]
            reasons.append(Reason(card, shown, float(heat.max()), own))
        return reasons


def overlay(picture: np.ndarray, heat: np.ndarray, side: int) -> np.ndarray:
    """Draw a map [g, g] over a grey picture uint8 [S, S, 3]: red raises the score, blue lowers it.

    Returns uint8 [side, side, 3].
    """
    size = (side, side)
    grey = np.asarray(Image.fromarray(picture).convert("L").resize(size, Image.Resampling.LANCZOS), float)
    smooth = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    strength = np.clip(smooth / max(float(np.abs(heat).max()), 1e-12), -1, 1)[..., None]
    colour = np.where(strength > 0, RAISES, LOWERS)
    pale = 255 - (255 - grey[..., None].repeat(3, 2)) * 0.75
    share = 0.75 * np.abs(strength)
    return (pale * (1 - share) + pale / 255 * colour * share).round().astype(np.uint8)
