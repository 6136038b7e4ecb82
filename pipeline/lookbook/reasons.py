"""Explain a recommendation by the parts of its score, by places in the picture, and by similar items that a person has.

Works only for recommenders whose score has parts, or that have a network which sees pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from models.data.factors import Factors
from models.data.pictures import resize
from models.metrics.occlusion import occlusion
from pipeline.core.images.bank import Bank, open_bank
from pipeline.home.storage import digest
from pipeline.lookbook.album import Album
from pipeline.lookbook.page import Picture
from pipeline.lookbook.product_cards import ProductCard, first_rows
from pipeline.recommenders.contract import FEATURES, PIXELS, PixelNetwork, Recommender
from pipeline.recommenders.registry import RECOMMENDERS, of_manifest
from pipeline.views.home_contents import Home

PICKS = 3  # picks of a person that are explained
OWN = 3  # the person's own items shown beside each
SIDE = 160  # side of the map in pixels
RAISES, LOWERS = np.array([214, 72, 28]), np.array([38, 96, 168])


@dataclass(frozen=True)
class Share:
    """A part of a score that lifts an item above the average one."""

    name: str  # in words
    share: float  # of what all such parts add up to, in per cent


@dataclass(frozen=True)
class Heat:
    """Where a picture raises the score, and by how much its strongest place does."""

    picture: Picture
    most: float


@dataclass(frozen=True)
class Reason:
    """The explanation of one recommended item."""

    card: ProductCard
    parts: list[Share]  # the largest first; empty if the score has no parts
    against: list[str]  # parts that put the item below the average one, the worst first
    heat: Heat | None  # None if the recommender sees no pixels
    own: list[tuple[ProductCard, float]]  # own items, with the cosine of both items' factors after subtracting the mean


@dataclass(frozen=True)
class Seen:
    """The network of a mode's recommender, and the pictures that it was trained on."""

    network: PixelNetwork
    bank: Bank
    row_of: Mapping[int, int]  # item -> row of the bank

    def pixels(self, items: list[int]) -> torch.Tensor:
        """Read the items' pictures in the network's input size: uint8 [n, S, S, 3]."""
        stored = torch.from_numpy(self.bank.pixels[[self.row_of[item] for item in items]])
        return resize(stored, self.network.input_size, self.network.resize_filter)


class Reasons:
    """What explains the picks of a mode's people."""

    def __init__(
        self, factors: Factors, lifts: Callable[[int, int], dict[str, float]] | None, seen: Seen | None
    ) -> None:
        self.factors, self.lifts, self.seen = factors, lifts, seen
        self.item_row = {int(item): row for row, item in enumerate(factors.items)}
        self.user_row = {int(user): row for row, user in enumerate(factors.users)}
        # Subtract the mean: what all items have in common would make every cosine nearly 1.
        centred = factors.item - factors.item.mean(0)
        self.directions = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)  # [I, K]

    @classmethod
    def open(cls, home: Home, mode: str, factors: Factors | None, catalogue: pa.Table) -> "Reasons | None":
        """Load parts, network and pictures; None if the recommender has neither parts nor a network."""
        folder = home.picker(mode)
        if factors is None or folder is None:
            return None
        manifest = folder.manifest()
        recommender = RECOMMENDERS.get(folder.recommender) or of_manifest(manifest)
        lifts = recommender.lifts(folder.path)
        seen = _seen(home, folder.path, manifest, recommender, catalogue)
        return None if lifts is None and seen is None else cls(factors, lifts, seen)

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
        items = [item for item in picks[:PICKS] if item in self.item_row]
        if user not in self.user_row:
            return []
        heats = self._heats(user, items, product_cards, album)
        reasons = []
        for item in items:
            own = [
                (product_cards[other], cosine) for other, cosine in self.own(item, history) if other in product_cards
            ]
            lifts = {} if self.lifts is None else self.lifts(user, item)
            reasons.append(Reason(product_cards[item], shares(lifts), against(lifts), heats.get(item), own))
        return [reason for reason in reasons if reason.parts or reason.heat]

    def _heats(
        self, user: int, items: list[int], product_cards: Mapping[int, ProductCard], album: Album
    ) -> dict[int, Heat]:
        """Draw where the items' pictures raise the score; without items that have no picture of the network's."""
        if self.seen is None:
            return {}
        items = [item for item in items if item in self.seen.row_of]
        rows = np.flatnonzero(self.seen.network.users == user)
        if not items or not len(rows):
            return {}
        pixels = self.seen.pixels(items)
        maps = occlusion(self.seen.network.network, self.seen.network.theta[rows[0]], pixels)
        found = {}
        for item, picture, heat in zip(items, pixels.numpy(), maps, strict=True):
            card = product_cards[item]
            alt = f"{card.title or card.asin}: red where a part raises the score, blue where it lowers it"
            found[item] = Heat(album.add(overlay(picture, heat, SIDE), alt), float(heat.max()))
        return found


def _seen(
    home: Home, folder: Path, manifest: Mapping[str, Any], recommender: Recommender, catalogue: pa.Table
) -> Seen | None:
    """Load network and pictures; None if the recommender has no pixel network, or if its pictures have changed."""
    if not (home.storage.bank / "bank.json").is_file():
        return None
    bank = open_bank(home.storage.bank)
    of_rows, inputs = bank.digest_of(catalogue["bank_row"].to_numpy()), manifest["inputs"]
    if recommender.reads(PIXELS):
        same = inputs.get(PIXELS) == of_rows[:16]
    else:
        made_by = manifest.get("configuration", {}).get(FEATURES, {}).get("made_by")
        same = recommender.reads(FEATURES) and inputs.get(FEATURES) == digest(made_by, of_rows)
    network = recommender.pixel_network(folder, manifest) if same else None
    if network is None:
        return None
    bank_row = catalogue["bank_row"].to_pylist()
    return Seen(network, bank, {item: bank_row[row] for item, row in first_rows(catalogue).items()})


def shares(lifts: Mapping[str, float]) -> list[Share]:
    """Divide what lifts an item above the average one among the parts that do, the largest first, down to 1%."""
    whole = sum(value for value in lifts.values() if value > 0)
    found = [Share(name, round(100 * value / whole, 1)) for name, value in lifts.items() if value > 0]
    return sorted((one for one in found if one.share >= 1), key=lambda one: -one.share)


def against(lifts: Mapping[str, float]) -> list[str]:
    """Name the parts that hold an item back by more than 1% of all that counts, the worst first."""
    whole = sum(abs(value) for value in lifts.values())
    return [name for name, value in sorted(lifts.items(), key=lambda pair: pair[1]) if value < -0.01 * whole]


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
