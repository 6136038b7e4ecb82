"""A fitted `modern`: its factors, the score of new products, and a score explained by its parts.

Fitting does not belong here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.data.dataset import Dataset
from models.data.factors import Factors, item_means, write_arrays
from models.modern.part import Part, Space
from models.training.files import read_arrays

FILE = "modern.npz"
IMAGE, TEXT = "image", "text"  # the parts of features that new products have too
_WANTED = ("names", "widths", "scales", "bias", "new_bias", "codes", "users", "items")


@dataclass(frozen=True, eq=False)
class ModernModel:
    """What the factors of `modern` are made of: P parts with W columns in all, in order."""

    users: np.ndarray  # [U] int32, global ids
    items: np.ndarray  # [I] int32, global ids
    names: tuple[str, ...]  # [P]
    widths: np.ndarray  # [P] columns of each part in theta and item
    scales: np.ndarray  # [P] float32, the value of a category's column where an item has the category
    bias: np.ndarray  # [P, I] float32
    new_bias: np.ndarray  # [P] float32, of an item that nobody has in train
    codes: np.ndarray  # [W] int32, the category of a column of the parts of categories; -1 in the others
    spaces: dict[str, Space]  # of the parts of pictures and texts, with scale and weight

    def columns(self, name: str) -> slice:
        """Return the columns of a part in theta and item; none if there is no such part."""
        if name not in self.names:
            return slice(0, 0)
        number = self.names.index(name)
        start = int(self.widths[:number].sum())
        return slice(start, start + int(self.widths[number]))

    def new_items(
        self, features: np.ndarray, text: np.ndarray | None, categories: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute the factors of products that are not in the catalogue: item [n, W] and bias [n].

        A part whose input is None adds nothing, as for the average item.

        Args:
            features: [n, F], the mean over a product's pictures.
            text: [n, T], as in the facts of the catalogue's items.
            categories: [n, L], numbered as there; -1 for none or a new one.
        """
        item = np.zeros((len(features), int(self.widths.sum())), np.float32)
        for name, given in ((IMAGE, features), (TEXT, text)):
            if name in self.spaces and given is not None:
                item[:, self.columns(name)] = self.spaces[name].project(given)
        for number, name in enumerate(self.names):
            if name.startswith("category ") and categories is not None:
                columns, level = self.columns(name), int(name.split()[1]) - 1
                same = categories[:, level, None] == self.codes[columns]
                item[:, columns] = same * self.scales[number]
        return item, np.full(len(features), self.new_bias.sum(), np.float32)

    def score_new(
        self, factors: Factors, features: np.ndarray, text: np.ndarray | None, categories: np.ndarray | None
    ) -> np.ndarray:
        """Score products that are not in the catalogue for all users: [U, n]; arguments as in `new_items`."""
        item, bias = self.new_items(features, text, categories)
        return factors.theta @ item.T + bias

    def contributions(self, factors: Factors, user: int, item: int) -> dict[str, float]:
        """Explain the score of an item for a user, given by their rows: each part's summand, by name."""
        return {
            name: float(factors.theta[user, self.columns(name)] @ factors.item[item, self.columns(name)])
            + float(self.bias[number, item])
            for number, name in enumerate(self.names)
        }

    def lifts(self, factors: Factors, user: int, item: int) -> dict[str, float]:
        """Explain why an item scores above the user's mean score, by rows: each part's summand less its mean."""
        found = self.contributions(factors, user, item)
        centre, bias = factors.item.mean(0), self.bias.mean(1)
        for number, name in enumerate(self.names):
            columns = self.columns(name)
            found[name] -= float(factors.theta[user, columns] @ centre[columns]) + float(bias[number])
        return found

    def looks(self, factors: Factors) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture part alone: theta [U, K] of all users, and phi [images, K] of the catalogue's pictures."""
        columns = self.columns(IMAGE)
        return factors.theta[:, columns], factors.phi[:, columns]

    def save(self, folder: Path) -> None:
        """Write modern.npz into a folder: the complete file or nothing."""
        arrays = {name: getattr(self, name) for name in _WANTED if name != "names"}
        for name, space in self.spaces.items():
            arrays |= {f"{name}_centre": space.centre, f"{name}_basis": space.basis}
        write_arrays(folder / FILE, {**arrays, "names": np.array(self.names)})

    @classmethod
    def load(cls, folder: Path) -> "ModernModel":
        """Read what `save` wrote. Raises ValueError naming the file if it is missing or damaged."""
        found = read_arrays(folder / FILE, "parts of modern", _WANTED)
        spaces = {
            name: Space(found[f"{name}_centre"], found[f"{name}_basis"])
            for name in (IMAGE, TEXT)
            if f"{name}_basis" in found
        }
        given = {name: found[name] for name in _WANTED if name != "names"}
        return cls(names=tuple(found["names"].tolist()), spaces=spaces, **given)


def assemble(
    data: Dataset, features: np.ndarray, parts: Sequence[Part], weights: np.ndarray
) -> tuple[ModernModel, Factors]:
    """Put the parts together, each times its weight: the model and its factors.

    Args:
        data: the data set.
        features: [images, F], of its pictures.
        parts: the P parts, each of spread one.
        weights: [P].
    """
    summands = [part.scaled(float(weight)) for part, weight in zip(parts, weights, strict=True)]
    unseen = np.bincount(data.train[:, 1], minlength=len(data.items)) == 0
    codes = [np.full(part.item.shape[1], -1, np.int32) if part.codes is None else part.codes for part in summands]
    bias = np.stack([part.bias for part in summands])
    model = ModernModel(
        users=data.users,
        items=data.items,
        names=tuple(part.name for part in summands),
        widths=np.array([part.item.shape[1] for part in summands]),
        scales=np.array([part.scale for part in summands], np.float32),
        bias=bias,
        new_bias=bias[:, unseen].mean(1) if unseen.any() else bias.mean(1),
        codes=np.concatenate(codes),
        spaces={part.name: part.space for part in summands if part.space is not None},
    )
    item = np.concatenate([part.item for part in summands], 1)
    phi = item[data.image_item]
    if IMAGE in model.spaces:
        phi[:, model.columns(IMAGE)] = model.spaces[IMAGE].project(features)
    factors = Factors(
        users=data.users,
        items=data.items,
        theta=np.concatenate([part.theta for part in summands], 1),
        item=item_means(phi, data.image_item, len(data.items)),
        item_bias=bias.sum(0),
        phi=phi,
        image_item=data.image_item,
    )
    return model, factors
