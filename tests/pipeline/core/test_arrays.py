"""Convert the tables of a shop small enough to check by eye to arrays."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.data.factors import Factors
from models.metrics.evaluate import evaluate
from pipeline.core import schemas
from pipeline.core.arrays import check_bank, dataset, item_categories, mode_arrays, planted
from pipeline.core.dataset.catalogue import build
from pipeline.core.dataset.splits import assign
from pipeline.core.errors import InputError
from pipeline.core.images.bank import Bank
from tests.pipeline.core import shops


@pytest.fixture
def catalogue() -> pa.Table:
    rows = [(0, 5, 30), (1, 2, 10), (2, 7, 30), (3, 1, 20)]  # image, bank_row, item
    return pa.Table.from_pylist(
        [
            {"image": i, "bank_row": b, "item": t, "source": "vendor", "position": 0, "sha256": str(i)}
            for i, b, t in rows
        ],
        schema=schemas.CATALOGUE,
    )


@pytest.fixture
def splits() -> pa.Table:
    rows = [(8, 30, "train"), (3, 10, "train"), (8, 10, "test"), (3, 20, "validation"), (8, 20, "train")]
    return pa.Table.from_pylist(
        [{"user": u, "item": i, "split": s, "paired": u == 3} for u, i, s in rows], schema=schemas.SPLITS
    )


def triplets(epochs: int = 2) -> pa.Table:
    one = [(8, 0, (1, 3)), (3, 1, (0, 2)), (8, 2, (3, 3))]
    return pa.Table.from_pylist(
        [{"epoch": e, "user": u, "positive": p, "negative": list(n)} for e in range(epochs) for u, p, n in one],
        schema=schemas.triplets(2),
    )


@pytest.fixture
def bank() -> Bank:
    return in_bank("x31xx0x2")


def test_rows_index_ascending_global_ids(catalogue, splits):
    mode = mode_arrays(catalogue, splits)
    assert mode.users.tolist() == [3, 8] and mode.items.tolist() == [10, 20, 30]
    assert mode.image_item.tolist() == [2, 0, 2, 1]
    assert mode.bank_row.tolist() == [5, 2, 7, 1]


def test_each_split_has_its_pairs_as_rows(catalogue, splits):
    pairs = mode_arrays(catalogue, splits).pairs
    assert pairs["train"].tolist() == [[1, 2], [0, 0], [1, 1]]
    assert pairs["validation"].tolist() == [[0, 1]]
    assert pairs["test"].tolist() == [[1, 0]]
    assert all(array.dtype == np.int32 for array in pairs.values())


def test_a_pair_with_a_held_out_picture_is_in_both_its_splits(catalogue, splits):
    held = pa.Table.from_pylist(
        [{"user": 8, "item": 30, "split": "validation", "paired": True, "sha256": "2"}], schema=schemas.SPLITS
    )
    pairs = mode_arrays(catalogue, pa.concat_tables([splits, held])).pairs
    assert pairs["train"].tolist() == [[1, 2], [0, 0], [1, 1]]
    assert pairs["validation"].tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(("unit", "auc"), [("interaction", 0.5), ("image", 1.0)])
def test_a_memorising_model_has_auc_one_half_on_held_out_pairs_and_one_on_held_out_pictures(unit, auc):
    pairs = [(u, (u + n) % len(shops.ITEMS), None) for u in range(len(shops.USERS)) for n in range(4)]
    vendor = [(i, content) for i in range(len(shops.ITEMS)) for content in "abc"]
    surviving = shops.shop(pairs, vendor, [])
    split = assign(surviving, "vendor_all", shops.users_table(), shops.items_table(), 0, split_unit=unit)
    built = build(surviving["vendor_all"], split, shops.bank(), shops.users_table())
    mode = mode_arrays(built.table, split)
    item = np.zeros((len(mode.items), len(mode.users)))
    item[mode.pairs["train"][:, 1], mode.pairs["train"][:, 0]] = 1
    memory = Factors(
        mode.users, mode.items, np.eye(len(mode.users)), item, np.zeros(len(item)), np.zeros((0, len(mode.users))),
        mode.image_item,
    )  # fmt: skip
    measured = evaluate(memory, mode.pairs["test"], mode.pairs["train"], mode.pairs["validation"])
    assert measured.auc.tolist() == [auc] * len(shops.USERS)


def test_a_user_is_paired_only_if_all_rows_are(catalogue, splits):
    assert mode_arrays(catalogue, splits).paired.tolist() == [True, False]


def test_triplets_become_epochs_of_user_rows_and_images(catalogue, splits, bank):
    data = dataset(mode_arrays(catalogue, splits), triplets(), bank)
    assert data.triplets_user.tolist() == [[1, 0, 1]] * 2
    assert data.triplets_positive.tolist() == [[0, 1, 2]] * 2
    assert data.triplets_negative.tolist() == [[[1, 3], [0, 2], [3, 3]]] * 2


def test_a_table_in_several_chunks_gives_the_same_arrays(catalogue, splits, bank):
    whole = triplets()
    pieces = pa.concat_tables([whole.slice(0, 2), whole.slice(2)])
    mode = mode_arrays(catalogue, splits)
    one, other = dataset(mode, whole, bank), dataset(mode, pieces, bank)
    np.testing.assert_array_equal(one.triplets_negative, other.triplets_negative)
    np.testing.assert_array_equal(one.triplets_user, other.triplets_user)


def test_baselines_need_no_triplets(catalogue, splits, bank):
    data = dataset(mode_arrays(catalogue, splits), None, bank)
    assert data.triplets_user.size == 0 and data.train.tolist() == [[1, 2], [0, 0], [1, 1]]


def test_planted_tastes_are_matched_by_the_shops_ids(catalogue, splits):
    mode = mode_arrays(catalogue, splits)
    users = pa.table({"user": pa.array([8, 5, 3], pa.int32()), "reviewer_id": ["eva", "nobody", "carl"]})
    items = pa.table({"item": pa.array([20, 10, 30], pa.int32()), "asin": ["B2", "B1", "B3"]})
    truth = {
        "reviewer_id": np.array(["eva", "carl", "zoe"]),
        "theta": np.array([[1, 0], [0, 1], [9, 9]], np.float32),
        "asin": np.array(["B3", "B9", "B1", "B2"]),
        "item": np.array([[3, 3], [9, 9], [1, 1], [2, 2]], np.float32),
        "item_bias": np.array([0.3, 0.9, 0.1, 0.2], np.float32),
    }
    factors = planted(truth, mode, users, items)
    assert factors.users.tolist() == [3, 8] and factors.theta.tolist() == [[0, 1], [1, 0]]
    assert factors.item.tolist() == [[1, 1], [2, 2], [3, 3]]
    np.testing.assert_allclose(factors.item_bias, [0.1, 0.2, 0.3])
    assert not factors.sees_pictures


def test_an_id_without_a_planted_taste_is_named(catalogue, splits):
    mode = mode_arrays(catalogue, splits)
    users = pa.table({"user": pa.array([3, 8], pa.int32()), "reviewer_id": ["carl", "eva"]})
    items = pa.table({"item": pa.array([10, 20, 30], pa.int32()), "asin": ["B1", "B2", "B3"]})
    truth = {
        "reviewer_id": np.array(["carl", "eva"]),
        "theta": np.zeros((2, 1)),
        "asin": np.array(["B1", "B2"]),
        "item": np.zeros((2, 1)),
        "item_bias": np.zeros(2),
    }
    with pytest.raises(ValueError, match=r"1 ids are unknown, the first .*B3"):
        planted(truth, mode, users, items)


def in_bank(contents: str) -> Bank:
    index = pa.table({"bank_row": pa.array(range(len(contents)), pa.int32()), "sha256": list(contents)})
    return Bank(Path(), np.zeros((len(contents), 4, 4, 3), np.uint8), index, 4, "bicubic", "d1gest")


def test_the_digest_of_a_modes_pictures_ignores_new_pictures(catalogue, splits):
    mode = mode_arrays(catalogue, splits)
    before, more, other = (dataset(mode, None, in_bank(c)).digest() for c in ("x31xx0x2", "x31xx0x2yz", "x31xx0x9"))
    assert before == more != other


def test_a_catalogue_that_matches_the_bank_is_accepted(catalogue):
    check_bank(catalogue, "c4t", in_bank("x31xx0x2"))


@pytest.mark.parametrize(
    ("contents", "wrong"),
    [("x31xx0x9", 1), ("01234567", 4), ("x31", 2)],  # another picture, another order, a bank with too few rows
)
def test_a_catalogue_that_does_not_match_the_bank_is_refused_with_both_digests(catalogue, contents, wrong):
    said = rf"catalogue c4t and image bank d1gest do not belong .*: {wrong} of 4 pictures .* image_bank, then catalogue"
    with pytest.raises(InputError, match=said):
        check_bank(catalogue, "c4t", in_bank(contents))


def test_an_items_category_is_the_last_element_of_its_path_and_unknown_is_none():
    paths = {
        "B1": ["Clothing", "Women", "Dress"], "B2": ["Clothing", "Men", "Shirt"], "B3": ["Sale", "Dress"], "B4": [],
        "B5": ["Clothing", "Unknown"], "B6": ["Clothing", " "], "C9": ["Clothing", "Hat"],
    }  # fmt: skip
    items = pa.table(
        {"item": pa.array([4, 0, 1, 2, 3, 5, 6], pa.int32()), "asin": [f"B{n}" for n in (5, 1, 2, 3, 4, 6, 7)]}
    )
    products = pa.table({"asin": list(paths), "categories": pa.array(list(paths.values()), pa.list_(pa.string()))})
    found = item_categories(np.arange(7), items, products)
    assert found.tolist() == [0, 1, 0, -1, -1, -1, -1] and found.dtype == np.int32  # B7 is no product
    assert item_categories(np.array([2, 1]), items, products).tolist() == [0, 1]


def test_the_arrays_are_built_without_the_orchestration():
    source = Path(mode_arrays.__code__.co_filename).read_text()
    assert "dagster" not in source
