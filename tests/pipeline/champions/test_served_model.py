"""The served recommender: known and unknown users, its rankings, and items that it was never trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.factors import Factors
from pipeline.champions import served_model
from pipeline.champions.served_model import ServedModel, hashed, pack, shop_of
from pipeline.recommenders.contract import NewItemError
from tests.pipeline.little_shop import LittleShop, little_shop

NOTHING = np.zeros((0, 2), np.int64)  # pairs of earlier models: there are none


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LittleShop:
    return little_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def served(shop: LittleShop, tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    trained, out = shop.finish("one"), tmp_path_factory.mktemp("served")
    pack(out, trained.path, shop_of(shop.arrays, NOTHING, *shop.names), {"bank_size": 16, "bank_filter": "bicubic"})
    return ServedModel(out)


def scores(shop: LittleShop, user: int) -> np.ndarray:
    factors = Factors.load(shop.storage.current("recommender", "vendor_all").path / "factors.npz")
    return factors.theta[user] @ factors.item.T + factors.item_bias


def owned(shop: LittleShop, user: int) -> set[str]:
    pairs = np.concatenate([shop.data.train, shop.data.validation, shop.data.test])
    return {f"B{shop.data.items[item]:04}" for item in pairs[pairs[:, 0] == user, 1]}


def test_only_reviewers_of_the_training_data_are_known(shop: LittleShop, served: ServedModel):
    assert [served.user(f"R{user}") for user in shop.data.users] == list(range(len(shop.data.users)))
    assert served.user("R99999") is served.user("") is served.user(None) is None


def test_the_folder_has_no_reviewer_id(shop: LittleShop, served: ServedModel):
    whole = b"".join(path.read_bytes() for path in served.folder.iterdir())
    assert b"B0500" in whole.replace(b"\0", b"")  # item ids are there, with four bytes per letter
    for reviewer in shop.users["reviewer_id"].to_pylist():
        assert reviewer.encode() not in whole.replace(b"\0", b"")


def test_the_ranking_is_the_models_order_without_the_users_own_items(shop: LittleShop, served: ServedModel):
    picks = served.recommend(3, 7)
    order = [f"B{shop.data.items[item]:04}" for item in np.argsort(-scores(shop, 3), kind="stable")]
    assert [pick.item for pick in picks] == [item for item in order if item not in owned(shop, 3)][:7]
    assert [pick.rank for pick in picks] == list(range(1, 8))
    assert [pick.score for pick in picks] == sorted((pick.score for pick in picks), reverse=True)


def test_the_users_own_items_are_ranked_on_request(shop: LittleShop, served: ServedModel):
    every = len(shop.data.items)
    assert owned(shop, 3) <= {pick.item for pick in served.recommend(3, every, exclude_seen=False)}
    assert len(served.recommend(3, every)) == every - len(owned(shop, 3))  # fewer candidates than k


def test_a_class_restricts_the_ranking_and_keeps_its_order(shop: LittleShop, served: ServedModel):
    kind = dict(zip(shop.products["asin"].to_pylist(), shop.products["garment_class"].to_pylist(), strict=True))
    whole = [pick.item for pick in served.recommend(3, 60)]
    tops = [pick.item for pick in served.recommend(3, 60, garment_class="men_tops")]
    assert tops == [item for item in whole if kind[item] == "men_tops"] and tops


def test_an_unknown_class_is_refused_with_the_known_ones(served: ServedModel):
    with pytest.raises(ValueError, match="class 'hats' is unknown; there are: men_tops, women_tops"):
        served.recommend(0, garment_class="hats")


def test_less_than_one_item_is_refused(served: ServedModel):
    with pytest.raises(ValueError, match="k=0"):
        served.recommend(0, 0)


def test_an_unknown_user_gets_the_most_popular_items(shop: LittleShop, served: ServedModel):
    picks = served.recommend(None, 5)
    count = np.bincount(shop.data.train[:, 1], minlength=len(shop.data.items))
    best = np.argsort(-count, kind="stable")[:5]
    assert [(pick.item, pick.score) for pick in picks] == [(f"B{shop.data.items[i]:04}", count[i]) for i in best]


def test_a_catalogue_picture_gets_its_embedding_from_training(shop: LittleShop, served: ServedModel):
    factors = Factors.load(shop.storage.current("recommender", "vendor_all").path / "factors.npz")
    for image in (0, 41, 88):
        np.testing.assert_allclose(served.encode(shop.png[image])[0], factors.phi[image], rtol=1e-4, atol=1e-6)


def test_a_new_item_is_scored_and_ranked_among_the_others_without_training(shop: LittleShop, served: ServedModel):
    factors = Factors.load(shop.storage.current("recommender", "vendor_all").path / "factors.npz")
    pick = served.score_new_item(3, shop.png[41])
    expected = factors.theta[3] @ factors.phi[41]
    assert pick.item is None and pick.score == pytest.approx(expected, rel=1e-4, abs=1e-7)
    free = [f"B{item:04}" not in owned(shop, 3) for item in shop.data.items]
    assert pick.rank == 1 + (scores(shop, 3)[free] > pick.score).sum()


def test_a_new_item_is_scored_with_the_mean_factors_for_an_unknown_user(shop: LittleShop, served: ServedModel):
    theta = Factors.load(shop.storage.current("recommender", "vendor_all").path / "factors.npz").theta.mean(0)
    assert served.score_new_item(None, shop.png[0]).score == pytest.approx(
        float(theta @ served.encode(shop.png[0])[0]), abs=1e-7
    )


@pytest.mark.parametrize("described", [{"title": "blue shirt"}, {"categories": ("tops",)}])
def test_a_model_that_sees_pictures_alone_refuses_a_title_and_categories(
    shop: LittleShop, served: ServedModel, described: dict[str, Any]
):
    with pytest.raises(NewItemError, match="by its picture alone: leave it out") as refused:
        served.score_new_item(3, shop.png[0], **described)
    assert refused.value.field == next(iter(described))


@pytest.mark.parametrize("junk", [b"", b"GIF89a", b"<html>", b"\xff\xd8\xff" + bytes(50)])
def test_bytes_that_are_no_picture_are_refused(served: ServedModel, junk: bytes):
    with pytest.raises(ValueError, match="not_a_picture"):
        served.encode(junk)


def test_users_missing_in_the_tables_are_refused_with_the_remedy(shop: LittleShop):
    with pytest.raises(ValueError, match=r"1 user\(s\), 0 item\(s\) of the model .* train the recommender again"):
        shop_of(shop.arrays, NOTHING, shop.users.slice(1), shop.items, shop.products)


def test_factors_of_another_shop_are_not_packed(shop: LittleShop, tmp_path: Path):
    whole = shop_of(shop.arrays, NOTHING, *shop.names)
    short = served_model.TrainingShop(**{**vars(whole), "asin": whole.asin[1:]})
    with pytest.raises(ValueError, match="factors of 60 users and 60 items, the shop has 60 and 59"):
        pack(tmp_path, shop.storage.current("recommender", "vendor_all").path, short, {})


def test_a_hash_depends_on_the_id_alone():
    assert hashed(["a", "b"])[1] == hashed(["b"])[0] and len(set(hashed([f"R{n}" for n in range(10_000)]))) == 10_000
