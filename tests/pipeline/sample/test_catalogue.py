"""The written folder: reproducible bytes, pictures of the right size, and no foreign files overwritten."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageStat

from pipeline.sample.__main__ import main
from pipeline.sample.catalogue import SampleCatalogue, open_catalogue, write_catalogue
from pipeline.sample.plan import CataloguePlan
from pipeline.sample.settings import SampleSettings

TINY = SampleSettings(
    items=14, users=4, casual_users=3, extra_items=2, other_products=4, purchases_min=5, purchases_max=7
)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_settings_write_the_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    first = _bytes(write_catalogue(tmp_path / "a", TINY).folder)
    assert first == _bytes(write_catalogue(tmp_path / "b", TINY).folder)
    other = _bytes(write_catalogue(tmp_path / "c", replace(TINY, seed=8)).folder)
    assert not set(other.values()) & set(first.values())


def test_a_finished_catalogue_is_reused_but_one_with_a_missing_picture_is_drawn_again(tmp_path: Path) -> None:
    written = write_catalogue(tmp_path / "a", TINY)
    again = write_catalogue(tmp_path / "a", TINY)
    assert (written.reused, again.reused) == (False, True)
    assert again.planted_auc == written.planted_auc
    lost = next(written.pictures.iterdir())
    lost.unlink()
    assert not write_catalogue(tmp_path / "a", TINY).reused
    assert lost.exists()


def test_other_settings_replace_the_catalogue_and_leave_no_old_picture(tmp_path: Path) -> None:
    old = {path.name for path in write_catalogue(tmp_path / "a", TINY).pictures.iterdir()}
    new = write_catalogue(tmp_path / "a", replace(TINY, seed=9))
    names = {path.name for path in new.pictures.iterdir()}
    assert len(names) == new.counts["pictures"]
    assert not names & old


def test_a_folder_with_other_files_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no sample catalogue"):
        write_catalogue(tmp_path, TINY)
    assert main(["write", "--out", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_catalogue_is_not_reused(tmp_path: Path) -> None:
    written = write_catalogue(tmp_path, TINY)
    (written.folder / "catalogue.json").write_text(json.dumps({"unfinished": True}))
    with pytest.raises(FileNotFoundError, match=r"pipeline\.sample write"):
        open_catalogue(tmp_path)
    assert not write_catalogue(tmp_path, TINY).reused


def test_pictures_have_the_heights_that_their_names_promise(catalogue: SampleCatalogue) -> None:
    heights = {path.name: Image.open(path).size[1] for path in catalogue.pictures.iterdir()}
    for name, height in heights.items():
        expected = 50 if "_SY50_" in name else 88 if "_SY88" in name else 224
        assert height == expected, name
    assert set(heights.values()) == {50, 88, 224}


def test_a_products_first_picture_is_square_with_white_corners_and_a_large_garment(
    catalogue: SampleCatalogue, plan: CataloguePlan
) -> None:
    for product in plan.products:
        path = catalogue.pictures / f"{product.pictures[0]}.jpg"
        if product.warts & {"no_metadata", "no_pictures"}:
            assert not path.exists()
            continue
        pixels = np.asarray(Image.open(path)).astype(int)
        assert pixels.shape == (224, 224, 3)
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() > 225, product
        assert (pixels.min(axis=2) < 225).mean() > 0.08, product


def test_the_small_vendor_picture_is_the_large_one_shrunk(catalogue: SampleCatalogue, plan: CataloguePlan) -> None:
    product = next(product for product in plan.products if not product.warts)
    for name in product.pictures:
        large = Image.open(catalogue.pictures / f"{name}.jpg")
        small = Image.open(catalogue.pictures / f"{name}._SY50_.jpg")
        difference = np.abs(
            np.asarray(large.resize(small.size, Image.Resampling.LANCZOS), int) - np.asarray(small, int)
        )
        assert difference.mean() < 4


def test_the_cloth_of_a_garment_is_closest_to_its_hue(plan: CataloguePlan) -> None:
    from pipeline.sample.others import draw
    from pipeline.sample.styles import HUES

    for product in [product for product in plan.products[:60] if product.style.pattern == "plain"]:
        garment = draw(product.style, np.random.default_rng(0))
        cloth, mask = garment.whole
        middle = np.array(ImageStat.Stat(cloth, mask).median)
        # Compared by direction from black, because shading darkens all channels alike.
        nearest = min(HUES, key=lambda hue: np.abs(np.array(HUES[hue]) * 0.92 - middle).sum())
        assert nearest == product.style.hue, product.style


def test_the_planted_truth_ranks_the_purchases_and_loads_without_pickle(
    catalogue: SampleCatalogue, plan: CataloguePlan
) -> None:
    with np.load(io.BytesIO(catalogue.truth.read_bytes()), allow_pickle=False) as truth:
        assert truth["asin"].tolist() == [product.asin for product in plan.products[:60]]
        assert truth["reviewer_id"].shape[0] == truth["theta"].shape[0] == 74
        assert truth["theta"].shape[1] == truth["item"].shape[1]
        assert {truth[name].dtype for name in ("theta", "item", "item_bias")} == {np.dtype(np.float32)}
        # By hand, one user at a time: held-out purchases against everything never bought.
        rng = np.random.default_rng(0)
        wins = []
        for user, bought in enumerate(plan.shoppers.purchases[:50]):
            utility = truth["item"] @ truth["theta"][user] + truth["item_bias"]
            never = [row for row in range(60) if row not in bought]
            pairs = [
                1.0 if utility[held] > utility[row] else 0.5 if utility[held] == utility[row] else 0.0
                for held in rng.choice(bought, 2, replace=False)
                for row in never
            ]
            wins.append(sum(pairs) / len(pairs))
    assert catalogue.planted_auc == pytest.approx(np.mean(wins), abs=1e-3)


@pytest.mark.parametrize(
    ("field", "value"), [("items", 3), ("users", 0), ("purchases_max", 4), ("photo_share", 1.5), ("port", 99_999)]
)
def test_the_error_for_an_impossible_setting_names_it(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SampleSettings(**{field: value})  # ty: ignore[invalid-argument-type]
