"""Turn titles and category paths of products into arrays: text features, and the category on each level of the path.

Text features are TF-IDF over the words of title and path, reduced by a truncated SVD. Nothing here learns from
purchases, and pictures do not belong here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import Doc

from models.data.item_facts import ItemFacts
from pipeline.core.durable import write_whole
from pipeline.core.errors import InputError

CODE = "2"  # part of the version of stored facts: raise it when the same products give other facts
NO_TYPE = ("", "unknown")  # names, in lower case, of a category that the shop does not give
LEVELS = 4  # of the category path
_WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class FactSettings:
    """Settings of the text features."""

    text_columns: Annotated[int, Doc("Columns that the words of title and category path are reduced to.")] = 128
    text_words: Annotated[int, Doc("Words counted at most, the most frequent ones.")] = 50_000

    def __post_init__(self) -> None:
        for name in ("text_columns", "text_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, eq=False)
class TextSpace:
    """The words of a shop and the space that their TF-IDF is reduced to. It also maps texts of new products."""

    words: np.ndarray  # [V] str
    idf: np.ndarray  # [V] float32
    components: np.ndarray  # [V, T] float32

    @classmethod
    def fit(cls, texts: Sequence[str], settings: FactSettings) -> "TextSpace":
        """Fit words and space. Two fits of the same texts are equal; texts without a word give zero columns."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not any(text.strip() for text in texts):
            return cls(np.empty(0, "U1"), np.empty(0, np.float32), np.empty((0, 0), np.float32))
        vectorizer = TfidfVectorizer(
            token_pattern=_WORD, max_features=settings.text_words, sublinear_tf=True, dtype=np.float32
        )
        found = vectorizer.fit_transform(texts)
        svd = TruncatedSVD(min(settings.text_columns, *found.shape), random_state=0)
        axes = svd.fit(found).components_.T.astype(np.float32)
        # An axis has no sign of its own: fix it by the word that weighs most.
        axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1, 1).astype(np.float32)
        return cls(vectorizer.get_feature_names_out().astype(str), vectorizer.idf_.astype(np.float32), axes)

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Compute the features of texts, float32 [n, T]; zeros for a text without a known word."""
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.preprocessing import normalize

        if not len(self.words):
            return np.zeros((len(texts), 0), np.float32)
        vocabulary = {word: number for number, word in enumerate(self.words.tolist())}
        counts = CountVectorizer(token_pattern=_WORD, vocabulary=vocabulary, dtype=np.float32).transform(texts)
        counts.data = np.log(counts.data) + 1
        weighed = normalize(counts.multiply(self.idf).tocsr())
        return np.asarray(weighed @ self.components, np.float32)


@dataclass(frozen=True, eq=False)
class ShopFacts:
    """The facts of all items of a shop, and what turns texts and category paths of new products into facts."""

    item_ids: np.ndarray  # [N] int32, global ids
    facts: ItemFacts
    space: TextSpace
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
        arrays |= {"names": names, "idf": self.space.idf, "components": self.space.components}
        arrays |= {"words": self.space.words, "levels": np.array(self.levels, np.int32)}

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
            space = TextSpace(found["words"], found["idf"], found["components"])
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
    space = TextSpace.fit(texts, settings)
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
