"""Turn texts into features: the counted words of a shop, or the embeddings of a sentence-transformers model.

Words are weighted by TF-IDF and reduced by a truncated SVD. Which texts a product has does not belong here.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from typing_extensions import Doc

from pipeline.core import digests
from pipeline.core.errors import InputError

_WORD = r"(?u)\b\w+\b"


@dataclass(frozen=True)
class FactSettings:
    """Settings of the text features."""

    text_columns: Annotated[int, Doc("Columns that the words of title and category path are reduced to.")] = 128
    text_words: Annotated[int, Doc("Words counted at most, the most frequent ones.")] = 50_000
    text_model: Annotated[
        str,
        Doc("Name or folder of a sentence-transformers model, whose embeddings replace counted words; empty: none."),
    ] = ""

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

        if not any(re.search(_WORD, text) for text in texts):
            return cls(np.empty(0, "U1"), np.empty(0, np.float32), np.empty((0, 0), np.float32))
        vectorizer = TfidfVectorizer(
            token_pattern=_WORD, max_features=settings.text_words, sublinear_tf=True, dtype=np.float32
        )
        found = vectorizer.fit_transform(texts)
        if found.shape[1] == 1:  # TruncatedSVD refuses a single word, as in a shop with one category and no titles
            axes = np.ones((1, 1), np.float32)
        else:
            svd = TruncatedSVD(min(settings.text_columns, *found.shape), random_state=0)
            axes = svd.fit(found).components_.T.astype(np.float32)
        # An axis has no sign of its own: fix it by the word that weighs most.
        axes *= np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1, 1).astype(np.float32)
        return cls(vectorizer.get_feature_names_out().astype(str), vectorizer.idf_.astype(np.float32), axes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the space as arrays."""
        return {"words": self.words, "idf": self.idf, "components": self.components}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "TextSpace":
        """Make the space of `arrays()`."""
        return cls(arrays["words"], arrays["idf"], arrays["components"])

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


@dataclass(frozen=True)
class TextModel:
    """A sentence-transformers model, by its name or its folder. It is read when the first text is embedded."""

    STORED: ClassVar[str] = "text_model"  # its key among stored arrays

    name: str

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, float32 [n, T] of length one; zeros for an empty text.

        Raises:
            InputError: the package is not installed, or it cannot read the model.
        """
        if not len(texts):
            return np.zeros((0, 0), np.float32)
        found = _load(self.name).encode(
            list(texts), convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
        )
        found = np.array(found, np.float32)
        found[[not text.strip() for text in texts]] = 0
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the model's name as an array."""
        return {self.STORED: np.array(self.name)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "TextModel":
        """Make the model of `arrays()`."""
        return cls(str(arrays[cls.STORED]))


def version(settings: FactSettings) -> str:
    """Digest what a text model is: its name or, of a folder, its files. Empty without one."""
    folder = Path(settings.text_model)
    if not settings.text_model or not folder.is_dir():
        return settings.text_model
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return repr(sorted(digests.file_digests(folder, names).items()))


@functools.lru_cache(maxsize=2)
def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # ty: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise InputError(
            f"text_model of item_facts is {name}, and sentence-transformers is not installed: pip install -e .[text], "
            "or leave text_model out."
        ) from error
    try:
        return SentenceTransformer(name)
    except Exception as error:  # of transformers, its hub client or torch: there is no common class
        raise InputError(
            f"text_model of item_facts: {name}: {error}: give the name of a sentence-transformers model, or its folder."
        ) from error
