"""Texts as embeddings of a sentence-transformers model; a stand-in takes the place of the library."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import text_features
from pipeline.core.errors import InputError
from pipeline.core.item_facts import ShopFacts, described, shop_facts
from pipeline.core.text_features import FactSettings, TextModel, version

PRODUCTS = pa.table(
    {"asin": ["a", "b"], "title": ["red dress", ""], "categories": pa.array([["women"], []], pa.list_(pa.string()))}
)
ITEMS = pa.table({"item": pa.array([0, 1], pa.int32()), "asin": ["a", "b"]})
STAND_IN = '''
import json
from pathlib import Path

import numpy as np

CALLS = Path({calls!r})


class SentenceTransformer:
    """Records what it is asked for; a text's embedding is its length and its number of words, made of length one."""

    def __init__(self, name):
        if name == "broken":
            raise OSError("no such model")
        self.name = name

    def encode(self, texts, **options):
        CALLS.write_text(json.dumps([self.name, texts, options]))
        found = np.array([[len(text) + 1, len(text.split())] for text in texts], np.float64)
        return found / np.linalg.norm(found, axis=1, keepdims=True)
'''


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put the stand-in where the library would be; return the file in which it records its last call."""
    found = tmp_path / "calls.json"
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "sentence_transformers.py").write_text(STAND_IN.format(calls=str(found)))
    monkeypatch.syspath_prepend(tmp_path / "library")
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    text_features._load.cache_clear()
    yield found
    sys.modules.pop("sentence_transformers", None)
    text_features._load.cache_clear()


def test_the_model_embeds_title_and_path_and_an_empty_text_gets_zeros(calls: Path):
    shop = shop_facts(described(ITEMS, PRODUCTS), FactSettings(text_model="some/model"))
    name, texts, options = json.loads(calls.read_text())
    assert (name, texts) == ("some/model", ["red dress women", ""])
    assert options["normalize_embeddings"] and options["convert_to_numpy"]
    assert shop.facts.text.dtype == np.float32 and shop.facts.text.shape == (2, 2)
    np.testing.assert_allclose(shop.facts.text[0], np.array([16, 3]) / np.hypot(16, 3), rtol=1e-6)
    assert not shop.facts.text[1].any()


def test_stored_facts_name_the_model_and_embed_a_new_text_with_it(calls: Path, tmp_path: Path):
    shop = shop_facts(described(ITEMS, PRODUCTS), FactSettings(text_model="some/model"))
    shop.bare().save(tmp_path / "facts.npz")
    again = ShopFacts.load(tmp_path / "facts.npz")
    assert again.space == TextModel("some/model")
    np.testing.assert_array_equal(again.space.features(["red dress women"])[0], shop.facts.text[0])


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    text_features._load.cache_clear()
    with pytest.raises(InputError, match=r"text_model of item_facts is some/model, .* pip install -e \.\[text\], or"):
        TextModel("some/model").features(["red dress"])


def test_a_model_that_cannot_be_read_is_named_with_the_reason(calls: Path):
    with pytest.raises(InputError, match="text_model of item_facts: broken: no such model: give the name"):
        TextModel("broken").features(["red dress"])


def test_the_version_of_a_model_in_a_folder_changes_with_its_files(tmp_path: Path):
    (tmp_path / "model" / "inside").mkdir(parents=True)
    (tmp_path / "model" / "inside" / "weights").write_bytes(b"1")
    settings = FactSettings(text_model=str(tmp_path / "model"))
    first = version(settings)
    assert version(settings) == first
    (tmp_path / "model" / "inside" / "weights").write_bytes(b"2")
    assert version(settings) != first
    assert version(FactSettings(text_model="some/model")) == "some/model" and version(FactSettings()) == ""
