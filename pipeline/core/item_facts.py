"""Turn titles and category paths of products into arrays: text features, and the category on each level of the path.

Nothing here learns from purchases, and pictures do not belong here. How a text becomes features belongs in
`text_features.py`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.data.item_facts import ItemFacts
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError
from pipeline.core.text_features import FactSettings, TextModel, TextSpace

CODE = "2"  # part of the version of stored facts: raise it when the same products give other facts
NO_TYPE = ("", "unknown")  # names, in lower case, of a category that the shop does not give
LEVELS = 4  # of the category path


@dataclass(frozen=True, eq=False)
class ShopFacts:
    """The facts of all items of a shop, and what turns texts and category paths of new products into facts."""

    item_ids: np.ndarray  # [N] int32, global ids
    facts: ItemFacts
    space: TextSpace | TextModel
    levels: tuple[int, ...]  # [L], position in the category path of each column of the facts' categories

    def of(self, item_ids: np.ndarray) -> ItemFacts:
        """Select items by global ids [I]. Raises InputError if one is unknown."""
        rows = np.searchsorted(self.item_ids, item_ids)
        if not np.array_equal(self.item_ids[np.minimum(rows, len(self.item_ids) - 1)], item_ids):
            raise InputError("the facts of the items were made for another catalogue: materialise item_facts again.")
        return self.facts.rows(rows)

    def bare(self) -> "ShopFacts":
        """Leave all items out. What remains makes facts of new products."""
        return replace(self, item_ids=self.item_ids[:0], facts=self.facts.rows(np.arange(0)))

    def codes(self, path: Sequence[str]) -> np.ndarray:
        """Number the category of a path on each level, int32 [L]; -1 where no item of the shop has it."""
        found = [
            names.index(path[level].strip()) if len(path) > level and path[level].strip() in names else -1
            for level, names in zip(self.levels, self.facts.names, strict=True)
        ]
        return np.array(found, np.int32)

    def save(self, path: Path) -> None:
        """Write the arrays to an .npz file: the complete file or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = np.frombuffer(json.dumps(self.facts.names).encode(), np.uint8)
        text, categories = self.facts.text, self.facts.categories
        arrays: dict[str, np.ndarray] = {"item_ids": self.item_ids, "text": text, "categories": categories}
        arrays |= {"names": names, "levels": np.array(self.levels, np.int32), **self.space.arrays()}

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:  # np.savez would add a suffix to a path
                np.savez(file, **arrays)  # ty: ignore[invalid-argument-type]

        write_whole(path, write)

    @classmethod
    def load(cls, path: Path) -> "ShopFacts":
        """Read a file that `save` wrote. Raises InputError if it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            names = tuple(tuple(level) for level in json.loads(found["names"].tobytes()))
            facts = ItemFacts(found["text"], found["categories"], names)
            space = (TextModel if TextModel.STORED in found else TextSpace).of_arrays(found)
            return cls(found["item_ids"], facts, space, tuple(found["levels"].tolist()))
        except (ValueError, KeyError, EOFError, OSError) as error:
            raise InputError(f"{path}: damaged ({error}): delete it and materialise item_facts again.") from error


def described(items: pa.Table, products: pa.Table) -> pa.Table:
    """Join items with their products: `item`, `title` and `categories`, by item; empty where there is no product.

    Args:
        items: the table of item numbers.
        products: `asin`, `title` and `categories`.
    """
    items = items.sort_by("item")
    asins = items["asin"].combine_chunks()
    rows = pc.index_in(asins, value_set=products["asin"].combine_chunks().cast(asins.type))
    joined = products.select(["title", "categories"]).take(rows)
    return pa.table(
        {
            "item": items["item"],
            "title": pc.fill_null(joined["title"], ""),
            "categories": pa.array([path or [] for path in joined["categories"].to_pylist()], pa.list_(pa.string())),
        }
    )


def shop_facts(products: pa.Table, settings: FactSettings) -> ShopFacts:
    """Compute the facts of `described` products."""
    paths = [[step.strip() for step in path] for path in products["categories"].to_pylist()]
    texts = [written(*pair) for pair in zip(products["title"].to_pylist(), paths, strict=True)]
    space = TextModel(settings.text_model) if settings.text_model else TextSpace.fit(texts, settings)
    categories, names, levels = category_levels(paths)
    return ShopFacts(products["item"].to_numpy(), ItemFacts(space.features(texts), categories, names), space, levels)


def item_facts(item_ids: np.ndarray, items: pa.Table, products: pa.Table, settings: FactSettings) -> ItemFacts:
    """Compute the facts of the items with these global ids [I], in a space fitted on all `items`."""
    return shop_facts(described(items, products), settings).of(item_ids)


def written(title: str, path: Sequence[str]) -> str:
    """Join title and category path into the text that the features are made from."""
    return " ".join([title, *(step for step in path if step.lower() not in NO_TYPE)])


def category_levels(
    paths: Sequence[Sequence[str]],
) -> tuple[np.ndarray, tuple[tuple[str, ...], ...], tuple[int, ...]]:
    """Number the categories on each level of the paths.

    Returns int32 [n, L], -1 for none; the names of each of the L levels; and the position of each in the paths.

    A level that does not distinguish items is left out, and levels beyond four are ignored. Categories of one name
    on one level are one category.
    """
    columns, levels, positions = [], [], []
    for level in range(max(map(len, paths), default=0)):
        steps = [path[level] if len(path) > level and path[level].lower() not in NO_TYPE else None for path in paths]
        names = sorted({step for step in steps if step is not None})
        if len(names) > 1:
            number = {name: code for code, name in enumerate(names)}
            columns.append([number.get(step, -1) for step in steps])
            levels.append(tuple(names))
            positions.append(level)
    categories = np.array(columns[:LEVELS], np.int32).reshape(-1, len(paths)).T
    return categories, tuple(levels[:LEVELS]), tuple(positions[:LEVELS])
