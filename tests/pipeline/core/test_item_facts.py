"""Titles and category paths become arrays: text features, and the category on each level of the path."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.data.item_facts import ItemFacts
from pipeline.core.errors import InputError
from pipeline.core.item_facts import ShopFacts, category_levels, described, item_facts, shop_facts
from pipeline.core.text_features import FactSettings

ITEMS = pa.table({"item": pa.array([0, 1, 2, 3], pa.int32()), "asin": ["d", "c", "b", "a"]})
PRODUCTS = pa.table(
    {
        "asin": ["a", "b", "c"],
        "title": ["red dress", "red skirt", "blue jeans"],
        "categories": [["shop", "women", "dress"], ["shop", "women", "Unknown"], ["shop", "men", "jeans"]],
    }
)
SETTINGS = FactSettings(text_columns=3)


def facts() -> ItemFacts:
    return item_facts(np.array([0, 1, 3], np.int32), ITEMS, PRODUCTS, SETTINGS)


def test_items_get_the_text_of_their_products_and_one_without_a_product_gets_zeros() -> None:
    text = facts().text
    assert text.shape == (3, 3)
    assert not text[0].any()  # item 0 is d, which is no product
    assert text[1].any() and text[2].any()


def test_texts_that_share_words_are_closer_than_texts_that_share_none() -> None:
    text = item_facts(np.arange(4), ITEMS, PRODUCTS, SETTINGS).text
    jeans, skirt, dress = text[1], text[2], text[3]
    assert dress @ skirt > dress @ jeans


def test_a_level_that_all_items_share_is_left_out_and_unknown_is_no_category() -> None:
    found = facts()
    assert found.names == (("men", "women"), ("dress", "jeans"))
    np.testing.assert_array_equal(found.categories, [[-1, -1], [0, 1], [1, 0]])
    assert item_facts(np.array([2]), ITEMS, PRODUCTS, SETTINGS).categories.tolist() == [[1, -1]]


def test_levels_beyond_four_are_ignored() -> None:
    codes, names, levels = category_levels([list("abcdef"), list("ghijkl")])
    assert codes.shape == (2, 4) and len(names) == 4 and levels == (0, 1, 2, 3)


def test_equal_products_give_equal_facts_and_no_axis_changes_its_sign() -> None:
    np.testing.assert_array_equal(facts().text, facts().text)
    axes = shop_facts(described(ITEMS, PRODUCTS), SETTINGS).space.components
    assert (axes[np.abs(axes).argmax(0), np.arange(3)] > 0).all()


def test_a_new_products_text_gets_the_features_it_would_have_in_the_catalogue() -> None:
    shop = shop_facts(described(ITEMS, PRODUCTS), SETTINGS)
    new = shop.space.features(["red dress shop women dress", "", "words never seen"])
    np.testing.assert_allclose(new[0], shop.facts.text[3], atol=1e-6)
    assert not new[1:].any()


def test_a_new_products_path_gets_the_categories_it_would_have_in_the_catalogue(tmp_path: Path) -> None:
    shop = shop_facts(described(ITEMS, PRODUCTS), SETTINGS)
    shop.bare().save(tmp_path / "facts.npz")  # the first level, which all share, is left out there
    bare = ShopFacts.load(tmp_path / "facts.npz")
    assert len(bare.item_ids) == 0
    for row, path in ((3, ["shop", "women", "dress"]), (1, ["another shop", " men", "jeans", "blue"])):
        assert bare.codes(path).tolist() == shop.facts.categories[row].tolist()
    assert bare.codes(["shop", "children"]).tolist() == bare.codes([]).tolist() == [-1, -1]


def test_a_shop_without_titles_and_categories_has_facts_without_columns() -> None:
    nothing = pa.table({"asin": ["a"], "title": [""], "categories": pa.array([[]], pa.list_(pa.string()))})
    found = item_facts(np.arange(4), ITEMS, nothing, SETTINGS)
    assert found.text.shape == (4, 0) and found.categories.shape == (4, 0)
    empty = item_facts(np.arange(4), ITEMS, PRODUCTS.slice(0, 0), SETTINGS)
    assert empty.text.shape == (4, 0)


@pytest.mark.parametrize(("title", "path", "columns"), [("---", [], 0), ("", ["clothes"], 1), ("?", ["clothes"], 1)])
def test_a_shop_whose_texts_have_one_word_or_none_has_one_column_or_none(
    title: str, path: list[str], columns: int
) -> None:
    products = PRODUCTS.set_column(1, "title", pa.array([title] * 3)).set_column(2, "categories", pa.array([path] * 3))
    shop = shop_facts(described(ITEMS, products), SETTINGS)
    assert shop.facts.text.tolist() == [[0.0] * columns, *[[1.0] * columns] * 3]  # the first item has no product
    assert shop.space.features([title]).shape == (1, columns)


def test_stored_facts_are_read_back_and_another_catalogue_is_refused(tmp_path: Path) -> None:
    shop = shop_facts(described(ITEMS, PRODUCTS), SETTINGS)
    shop.save(tmp_path / "facts.npz")
    again = ShopFacts.load(tmp_path / "facts.npz")
    np.testing.assert_array_equal(again.of(np.array([3, 1])).text, shop.facts.text[[3, 1]])
    assert again.facts.names == shop.facts.names
    with pytest.raises(InputError, match="made for another catalogue"):
        again.of(np.array([7]))
    (tmp_path / "facts.npz").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"damaged .* materialise item_facts again"):
        ShopFacts.load(tmp_path / "facts.npz")
