"""A whole run with preset `modern`: that method is trained in DVBPR's place, and all that follows is of it."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.factors import Factors
from models.design.preference import picture_features
from models.modern.model import ModernModel
from pipeline.champions.model_registry import (
    RECOMMENDER,
    RECOMMENDER_NEEDS,
    VISUAL_CHAMPION,
    Registry,
    model_name,
)
from pipeline.champions.served_model import ServedModel
from pipeline.core.errors import InputError
from pipeline.core.images.bank import open_bank
from pipeline.core.images.ledger import PictureStore
from pipeline.home import instance
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import get
from tests.pipeline.champions.serving import ask, post, serving
from tests.pipeline.conftest import TINY, Home, made, materialise

pytestmark = pytest.mark.slow
MODE = "vendor_all"
KNOBS = "{components: 16, factors: 8}"


def modern_profile(folder: Path) -> Path:
    """The tiny profile with the other preset."""
    text = TINY.read_text().replace("preset: paper", "preset: modern")
    text = text.replace("      starts: 2\n      steps: 2\n", "      starts: 2\n      steps: 20\n")  # enough to climb
    path = folder / "modern.yaml"
    path.write_text(f"{text.rstrip()}\n  modern:\n    config: {KNOBS}\n")
    return path


@pytest.fixture(scope="module")
def modern(environment: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which everything ran once with preset `modern`."""
    folder = tmp_path_factory.mktemp("modern")
    return made(environment, folder, profile=modern_profile(folder))


def factors(home: Home) -> Factors:
    return Factors.load(home.model("recommender", MODE) / "factors.npz")


def test_the_model_says_that_it_is_modern_and_what_it_was_made_from(modern: Home):
    manifest = json.loads((modern.model("recommender", MODE) / "manifest.json").read_text())
    assert manifest["model"] == "modern" and manifest["settings"]["components"] == 16
    assert set(manifest["inputs"]) == {"catalogue", "splits", "image_features", "item_facts"}
    assert manifest["feature_size"] == 32
    assert {entry["epoch"] for entry in manifest["history"]} == set(range(1, len(manifest["history"]) + 1))
    said = " ".join(manifest["notes"])
    assert all(f"{part}: weight" in said for part in ("image", "text", "category 1", "popularity", "recency"))


def test_the_other_models_are_held_against_it_and_nothing_is_called_dvbpr(modern: Home):
    table = modern.table("recommender_comparison").to_pandas()
    assert "dvbpr" not in set(table["model"]) and {"modern", "vbpr"} <= set(table["model"])
    own = table["model"] == "modern"
    assert table[own]["difference_to_main"].isna().all() and table[~own]["difference_to_main"].notna().all()
    assert table["paper_auc"].isna().all()  # the paper published no such model
    figures = modern.summary["modes"][MODE]["models"]
    assert "modern" in figures and "dvbpr" not in figures


def test_coverage_and_gini_of_the_evaluation_stand_in_the_comparison(modern: Home):
    table = modern.table("recommender_comparison").to_pandas().set_index(["mode", "model", "split"])
    for model, splits in modern.summary["modes"][MODE]["models"].items():
        row = table.loc[(MODE, model, "test")]
        assert (row["coverage_at_10"], row["gini_at_10"]) == (
            splits["test"]["coverage_at_10"], splits["test"]["gini_at_10"],
        )  # fmt: skip
    of = table["coverage_at_10"]
    assert of[MODE, "popularity", "test"] < of[MODE, "random", "test"]


def test_the_picks_are_those_of_its_factors(modern: Home):
    found, picks = factors(modern), modern.table("recommendations", MODE).to_pandas()
    splits = modern.table("splits", MODE).to_pandas()
    for row, user in enumerate(found.users[:5]):
        scores = found.theta[row] @ found.item.T + found.item_bias
        scores[np.isin(found.items, splits[splits["user"] == user]["item"])] = -np.inf
        assert picks[picks["user"] == user].sort_values("rank")["item"].iloc[0] == found.items[scores.argmax()]


def test_a_design_is_judged_by_what_the_model_sees_of_any_picture(modern: Home):
    found, catalogue = factors(modern), modern.table("catalogue", MODE)
    folder = modern.model("recommender", MODE)
    manifest = json.loads((folder / "manifest.json").read_text())
    judged = get("modern").taste(folder, manifest, torch.device("cpu"))
    judge, users = judged.recommender, judged.users
    bank = open_bank(modern.folder / "bank")
    pixels = torch.from_numpy(np.ascontiguousarray(bank.pixels[catalogue["bank_row"].to_numpy()[:6]]))
    pictures = pixels.permute(0, 3, 1, 2).float()
    pictures = torch.nn.functional.interpolate(pictures, (judge.size, judge.size), mode="bilinear", antialias=True)
    pictures = ((pictures - 127.5) / 127.5).requires_grad_()
    phi = judge.phi(pictures)
    own = ModernModel.load(folder).columns("image")
    close = 1e-4 * float(np.abs(found.phi[:, own]).max())  # float32 features; theta decides how large phi is
    np.testing.assert_allclose(phi.detach().numpy(), found.phi[:6, own], atol=close)
    seen = picture_features(judge, bank.pixels[catalogue["bank_row"].to_numpy()[:6]])
    np.testing.assert_allclose(seen, judged.catalogue[:6], atol=close)  # as the features were made that it learnt from
    assert np.array_equal(users, found.users)
    (judge.theta[:6] * phi).sum().backward()
    assert pictures.grad is not None and (pictures.grad.abs().amax((1, 2, 3)) > 0).all()


def test_designs_are_made_with_it_and_raise_what_they_maximise(modern: Home):
    assert modern.table("personal_designs").num_rows
    steps = modern.table("design_steps").to_pandas().sort_values("step")
    of_starts = steps.groupby(["user", "garment_class", "start"])["objective"]
    assert (of_starts.last() - of_starts.first()).mean() > 0
    assert modern.table("restyled_products").num_rows
    assert (modern.summary["designs"]["objective"], modern.summary["designs"]["recommender"]) == ("distinct", "modern")
    assert "until Modern says that this person would like the garment more than" in " ".join(
        Path(modern.summary["lookbook"]).with_name("designs.html").read_text().split()
    )


def test_served_over_http_it_ranks_known_items_and_scores_a_new_one_by_picture_title_and_categories(
    modern: Home, tmp_path: Path
):
    from mlflow.tracking import MlflowClient

    uri = modern.summary["mlflow"]["tracking_uri"]
    store = Registry(MlflowClient(tracking_uri=uri), uri)
    reigning = store.champion(model_name(RECOMMENDER, MODE), VISUAL_CHAMPION)
    assert reigning is not None and reigning.made == modern.model("recommender", MODE).name
    folder = store.folder(reigning)
    served = ServedModel(folder / "artifacts" / RECOMMENDER)
    needed = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert needed == {*RECOMMENDER_NEEDS, "scikit-learn", "timm", "torchvision"}
    products = modern.table("products").to_pandas()
    product = products[products["asin"] == served.shop.asin[0]].iloc[0]
    picture = _jpeg(modern, 0)
    described = {"title": product["title"], "categories": list(product["categories"])}
    user = modern.table("users")["reviewer_id"][0].as_py()
    shown = {"user_id": user, "picture": base64.b64encode(picture).decode()}
    with serving(reigning.uri, uri, tmp_path) as server:
        assert len(ask(server, {"user_id": user, "k": 5})) == 5
        bare, whole = ask(server, shown, {**shown, **described})
        assert bare["item"] is whole["item"] is None and bare["score"] != whole["score"]
        expected = served.score_new_item(served.user(user), picture, described["title"], tuple(described["categories"]))
        assert (whole["score"], whole["rank"]) == (pytest.approx(expected.score, abs=1e-4), expected.rank)
        for wrong, said in (
            ({**shown, "title": 5}, "row 1: title=5.0: text was expected"),
            ({"user_id": user, "title": "dress"}, "row 1: title: it describes a new item, and there is no picture"),
            ({**shown, "categories": ["no such thing"]}, "row 1: categories: no item of the catalogue has one of them"),
            ({**shown, "categories": "dress"}, "row 1: categories='dress': a list of category names was expected"),
            ({**shown, "picture": "%"}, "row 1: picture: not base64"),
        ):
            status, answer = post(server, json.dumps({"dataframe_records": [shown, wrong]}))
            assert status == 400 and said in answer["message"]


def _jpeg(home: Home, row: int) -> bytes:
    """Read the file of a picture of the mode's catalogue."""
    sha = home.table("catalogue", MODE)["sha256"][row].as_py()
    return next(data for _, data in PictureStore(home.folder / "pictures").read([sha]))


def test_the_page_names_the_method_it_shows(modern: Home):
    page = Path(modern.summary["lookbook"]).with_name("recommender.html").read_text()
    assert "Difference to Modern" in page and "Difference to DVBPR" not in page


def test_the_profile_trains_its_own_recommender_and_does_not_plan_the_other(modern: Home):
    with instance.open_instance(modern.folder) as opened:
        made = {key.to_user_string() for key in opened.all_asset_keys() if opened.get_latest_materialization_event(key)}
    assert "modern" in made and "dvbpr" not in made


def test_dvbpr_beside_it_is_another_model_and_becomes_the_current_one(modern: Home):
    """The last test but one of this module: the home's recommenders are DVBPR's from here on."""
    before = modern.model("recommender", MODE)
    materialise("key:dvbpr")
    assert modern.model("recommender", MODE) != before and (before / "factors.npz").is_file()


def test_features_of_another_bank_are_refused_with_the_mend(modern: Home):
    storage = Storage(root=str(modern.folder))
    path, bank = storage.current_features(), open_bank(modern.folder / "bank")
    kept = path.read_bytes()
    try:
        np.save(path, np.zeros((3, 4), np.float32))
        with pytest.raises(InputError, match=rf"3 pictures, .* has {len(bank.pixels)} .*materialise image_features"):
            storage.frozen_features(len(bank.pixels), bank.digest)
        (path.parent / "current.json").unlink()
        with pytest.raises(InputError, match=r"current\.json is missing: materialise image_features"):
            storage.frozen_features(len(bank.pixels), bank.digest)
    finally:
        path.write_bytes(kept)
