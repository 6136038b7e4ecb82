"""A generator's figures: what is compared with what, what is left out and said, and that nothing depends on chance."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.metrics.judge import Judge, fit_judge
from pipeline.core import schemas
from pipeline.core.generator import figures
from pipeline.core.generator.figures import Figures
from pipeline.core.generator.garment_classes import carrying
from pipeline.core.generator.independent import Ruler
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from tests.models.metrics.shapes import NAMES, draw_shapes

HELD_OUT = (24, 24, 10)  # pictures a class; the last has too few for a judge
LABEL = np.repeat(np.arange(3), np.array(HELD_OUT) + 24)
PIXELS = draw_shapes(LABEL, 20)
SETTINGS = GenerationMetricSettings(judge_minimum=20, feature_size=32)


def garments() -> pa.Table:
    place = np.concatenate([np.arange(count + 24) for count in HELD_OUT])
    rows = [
        {"garment": n, "asin": f"B{n}", "item": None, "garment_class": NAMES[LABEL[n]], "source": "vendor",
         "sha256": f"{n:064}", "held_out": bool(place[n] < HELD_OUT[LABEL[n]])}
        for n in range(len(LABEL))
    ]  # fmt: skip
    return carrying(pa.Table.from_pylist(rows, schema=schemas.GARMENTS), NAMES)


def corners(pictures: np.ndarray, **_: object) -> np.ndarray:
    """Compute features as quickly as possible."""
    return pictures[:, ::16, ::16].reshape(len(pictures), -1).astype(np.float32)


def evaluated(settings: GenerationMetricSettings = SETTINGS) -> Figures:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures.features, "embed", corners)
        return figures.evaluate(
            lambda wanted: draw_shapes(wanted, 21), PIXELS, garments(), settings, torch.device("cpu")
        )


@pytest.fixture(scope="module")
def found() -> Figures:
    return evaluated()


def test_half_of_the_held_out_pictures_trains_the_judge_and_half_is_compared(found: Figures):
    assert found.pictures == {"compared": 24 + 10, "judge": 24, "reference": 24, "floors": 48}


def test_the_judge_learns_only_from_held_out_pictures_that_nothing_is_compared_with(monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, set[bytes]] = {}

    def recording(pictures: np.ndarray, *more: object) -> Judge:
        seen["judge"] = {picture.tobytes() for picture in pictures}
        return fit_judge(pictures, *more)

    def ruler(judge: Judge, reference: np.ndarray) -> Ruler:
        seen["reference"] = {picture.tobytes() for picture in reference}
        return Ruler(judge, reference)

    monkeypatch.setattr(figures, "fit_judge", recording)
    monkeypatch.setattr(figures.independent, "Ruler", ruler)
    evaluated()
    held = {picture.tobytes() for picture in PIXELS[np.asarray(garments()["held_out"])]}
    assert len(seen["judge"]) == len(seen["reference"]) == 24 and not seen["judge"] & seen["reference"]
    assert seen["judge"] | seen["reference"] <= held


def test_a_class_with_too_few_held_out_pictures_is_left_out_of_the_judges_figures_and_named(found: Figures):
    judged = {name for name, of in found.by_class.items() if "judge_agreement" in of}
    assert judged == {"bar", "disc"}
    assert found.notes == [
        "beam is not judged: it has 10 held-out pictures of 10 products, 20 are needed, of products that can be halved"
    ]
    assert "diversity_ssim" in found.by_class["beam"]


def test_figures_in_features_that_a_training_may_use_stand_apart_under_names_that_say_so(found: Figures):
    assert found.shared and all("efflite0_32px" in name for name in found.shared)
    assert not [name for name in found.overall if "efflite0" in name]


def test_every_figure_has_a_floor_of_real_pictures(found: Figures):
    for of in (found.overall, found.shared, *found.by_class.values()):
        assert {f"real_{name}" for name in of if not name.startswith("real_")} <= of.keys()
    assert {
        "judge_agreement", "judge_kernel", "judge_recall", "pixel_kernel", "pixel_recall", "pixel_precision",
        "spectrum_distance", "colour_distance", "memorisation_ratio_l1", "memorisation_ratio_judge",
    } <= found.overall.keys()  # fmt: skip


def test_the_figures_are_the_same_every_time(found: Figures):
    again = evaluated()
    assert (again.overall, again.by_class, again.shared) == (found.overall, found.by_class, found.shared)


def test_without_two_classes_to_judge_nothing_is_judged_and_the_reason_is_said():
    few = evaluated(GenerationMetricSettings(judge_minimum=30, feature_size=32))
    assert not [name for name in few.overall if "judge" in name or "pixel" in name]
    assert len(few.notes) == 4 and "a judge needs two classes with enough pictures" in few.notes[-1]
    assert "diversity_ssim" in few.overall and few.shared


def test_a_least_count_of_pictures_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="judge_minimum=3"):
        GenerationMetricSettings(judge_minimum=3)
