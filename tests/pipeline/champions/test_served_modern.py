"""A served `modern` scores a new product by its picture, title and categories, without the home it was trained in."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.data.factors import Factors
from models.modern.train import ModernSettings, TrainedModern, train
from pipeline.champions import candidates
from pipeline.champions.served_model import ServedModel, pack, shop_of
from pipeline.champions.served_request import RefusedRequestError, read
from pipeline.core.errors import InputError
from pipeline.core.images import features
from pipeline.core.item_facts import described, shop_facts
from pipeline.core.text_features import FactSettings
from pipeline.home.storage import ModelFolder
from pipeline.recommenders import registry
from pipeline.recommenders.contract import FACTS_FILE, NewItemError
from tests.pipeline.little_shop import CPU, LittleShop, little_shop

NOTHING = np.zeros((0, 2), np.int64)  # pairs of earlier models: there are none
SIZE = 32
ABOUT = {"model": "modern", "bank_size": 16, "bank_filter": "bicubic", "feature_size": SIZE}
WORDS = {0: ("red shirt", ["shop", "warm"]), 1: ("blue shirt", ["shop", "cold"])}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LittleShop:
    found = little_shop(tmp_path_factory.mktemp("shop"))
    title, path = zip(*(WORDS[n % 2] for n in range(found.products.num_rows)), strict=True)
    products = found.products.drop_columns(["title", "categories"])
    found.products = products.append_column("title", pa.array(title)).append_column("categories", pa.array(path))
    return found


@pytest.fixture(scope="module")
def fitted(shop: LittleShop, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedModern, Path]:
    folder = tmp_path_factory.mktemp("modern")
    facts = shop_facts(described(shop.items, shop.products), FactSettings(text_columns=4))
    seen = features.embed(shop.data.bank, size=SIZE)
    settings = ModernSettings(components=8, factors=4)
    trained = train(shop.data, seen, settings, folder, CPU, facts=facts.of(shop.data.items))
    trained.factors.save(folder / "factors.npz")
    facts.bare().save(folder / FACTS_FILE)
    return trained, folder


@pytest.fixture(scope="module")
def served(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], tmp_path_factory: pytest.TempPathFactory
) -> ServedModel:
    out = tmp_path_factory.mktemp("served")
    pack(out, fitted[1], shop_of(shop.arrays, NOTHING, *shop.names), ABOUT)
    return ServedModel(out)


def image_of(shop: LittleShop, item: int) -> int:
    return int(np.flatnonzero(shop.data.image_item == item)[0])


@pytest.mark.parametrize("item", [0, 1])
def test_a_new_product_equal_to_one_of_the_catalogue_gets_its_factors(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], served: ServedModel, item: int
):
    """Apart from what rests on purchases: nobody has bought the new one."""
    trained, _ = fitted
    image = image_of(shop, item)
    factors, _ = served.encode(shop.png[image], WORDS[item][0], tuple(WORDS[item][1]))
    for name in ("image", "text", "category 1"):
        own = trained.model.columns(name)
        np.testing.assert_allclose(factors[own], trained.factors.phi[image, own], atol=2e-3)
    assert not factors[trained.model.columns("bought_together")].any()


def test_its_score_is_that_of_the_model_and_it_is_ranked_among_the_others(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], served: ServedModel
):
    trained, _ = fitted
    picture, title, path = shop.png[0], "blue shirt", ("shop", "cold")
    pick = served.score_new_item(3, picture, title, path)
    factors, bias = served.encode(picture, title, path)
    assert bias == pytest.approx(float(trained.model.new_bias.sum()))
    assert pick.item is None and pick.score == pytest.approx(float(trained.factors.theta[3] @ factors) + bias)
    of_all = trained.factors.theta[3] @ trained.factors.item.T + trained.factors.item_bias
    pairs = np.concatenate([shop.data.train, shop.data.validation, shop.data.test])
    free = ~np.isin(np.arange(len(of_all)), pairs[pairs[:, 0] == 3, 1])
    assert pick.rank == 1 + (of_all[free] > pick.score).sum()


def test_a_title_that_is_not_sent_adds_nothing_and_one_that_fits_the_person_adds_more_than_one_that_does_not(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], served: ServedModel
):
    trained, _ = fitted
    text, picture = trained.model.columns("text"), shop.png[0]
    assert not served.encode(picture)[0][text].any()
    theta = trained.factors.theta[:, text]
    red, blue = (served.encode(picture, title)[0][text] for title in ("red shirt", "blue shirt"))
    reds, blues = theta @ red, theta @ blue
    likes_blue = np.arange(len(theta)) % 2 == 1  # the users of odd rows take the items of odd rows
    assert (blues > reds)[likes_blue].mean() > 0.9 and (reds > blues)[~likes_blue].mean() > 0.9


def test_categories_that_no_item_has_are_refused_with_some_that_there_are(shop: LittleShop, served: ServedModel):
    with pytest.raises(NewItemError, match="but, say, cold, warm") as refused:
        served.score_new_item(0, shop.png[0], None, ("shop", "tepid"))
    assert refused.value.field == "categories"


def test_without_facts_a_title_is_refused_and_a_picture_is_still_scored(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], served: ServedModel, tmp_path: Path
):
    shutil.copytree(served.folder, tmp_path / "bare")
    (tmp_path / "bare" / FACTS_FILE).unlink()
    bare = ServedModel(tmp_path / "bare")
    assert bare.score_new_item(0, shop.png[0]) == served.score_new_item(0, shop.png[0])
    with pytest.raises(NewItemError, match="no text part in this version: leave it out"):
        bare.score_new_item(0, shop.png[0], "red shirt")


def test_a_version_registered_without_the_network_says_what_to_do(
    shop: LittleShop, served: ServedModel, tmp_path: Path
):
    shutil.copytree(served.folder, tmp_path / "old")
    (tmp_path / "old" / "trunk.pt").unlink()
    with pytest.raises(ValueError, match="materialise modern and recommender_champion again"):
        ServedModel(tmp_path / "old").score_new_item(0, shop.png[0])


@pytest.fixture(scope="module")
def blind(
    shop: LittleShop, fitted: tuple[TrainedModern, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedModern, Path]:
    folder = tmp_path_factory.mktemp("blind") / "modern"
    shutil.copytree(fitted[1], folder)
    seen = features.embed(shop.data.bank, size=SIZE)
    trained = train(shop.data, seen, ModernSettings(parts=("popularity", "bought_together"), factors=4), folder, CPU)
    trained.factors.save(folder / "factors.npz")
    return trained, folder


def test_a_version_without_a_picture_part_refuses_a_picture(
    shop: LittleShop, blind: tuple[TrainedModern, Path], tmp_path: Path
):
    pack(tmp_path, blind[1], shop_of(shop.arrays, NOTHING, *shop.names), ABOUT)
    with pytest.raises(NewItemError, match="no picture part in this version") as refused:
        ServedModel(tmp_path).score_new_item(0, shop.png[0])
    assert refused.value.field == "picture"


def test_a_modern_without_a_picture_part_does_not_make_designs_where_another_model_sees(
    blind: tuple[TrainedModern, Path], fitted: tuple[TrainedModern, Path], tmp_path: Path
):
    shutil.copytree(blind[1], tmp_path / "modern")
    shutil.copytree(blind[1], tmp_path / "dvbpr")
    models = {name: ModelFolder(tmp_path, name) for name in ("modern", "dvbpr")}
    assert candidates.sees(models) == ["dvbpr"]
    shutil.copyfile(fitted[1] / "modern.npz", tmp_path / "modern" / "modern.npz")
    assert candidates.sees(models) == ["modern", "dvbpr"]


def test_where_no_model_sees_designs_say_what_is_missing(blind: tuple[TrainedModern, Path]):
    models = {"modern": ModelFolder(blind[1].parent, "modern")}
    assert candidates.sees(models) == ["modern"]
    with pytest.raises(InputError, match=r"no picture part .* add image to its setting `parts`"):
        registry.get("modern").taste(blind[1], ABOUT, CPU)


def test_the_served_factors_are_those_that_were_trained(fitted: tuple[TrainedModern, Path], served: ServedModel):
    np.testing.assert_array_equal(Factors.load(served.folder / "factors.npz").theta, fitted[0].factors.theta)


PICTURE = base64.b64encode(b"anything").decode()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"title": 5}, "row 0: title=5: text was expected"),
        ({"title": " "}, "row 0: title=' ': it is empty"),
        ({"categories": "tops"}, "row 0: categories='tops': a list of category names was expected"),
        ({"categories": []}, "row 0: categories=[]: a list of category names was expected"),
        ({"categories": ["tops", 3]}, r"row 0: categories=['tops', 3]: a list of category names"),
        ({"categories": np.array(["tops", ""])}, "row 0: categories=['tops', '']: it is empty"),
    ],
)
def test_a_title_or_path_of_another_form_is_refused_with_row_field_and_reason(row: dict[str, object], said: str):
    with pytest.raises(RefusedRequestError) as refused:
        read([{"user_id": "R1", "picture": PICTURE, **row}])
    assert said in str(refused.value)


@pytest.mark.parametrize("field", [{"title": "red shirt"}, {"categories": ["shop"]}])
def test_a_description_without_a_picture_is_refused(field: dict[str, object]):
    with pytest.raises(RefusedRequestError, match=f"row 0: {next(iter(field))}: it describes a new item, and there is"):
        read([{"user_id": "R1", **field}])
