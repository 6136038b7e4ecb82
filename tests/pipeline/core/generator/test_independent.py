"""Planted generators: copying, one silhouette and lost colours are found, and real pictures lie at the floor."""

import numpy as np
import pytest

from models.metrics.judge import fit_judge
from models.metrics.memorisation import memorisation_ratio, nearest_features, nearest_l1
from pipeline.core.generator import independent
from pipeline.core.generator.independent import Described, Ruler, compare, measure, memorisation
from tests.models.metrics.shapes import NAMES, balanced, draw_shapes

REFERENCE, TRAINING = balanced(20), balanced(60)
TRAIN = draw_shapes(TRAINING, 11)


@pytest.fixture(scope="module")
def ruler() -> Ruler:
    return Ruler(fit_judge(draw_shapes(balanced(20), 10), balanced(20), NAMES), draw_shapes(REFERENCE, 12))


@pytest.fixture(scope="module")
def sides(ruler: Ruler) -> tuple[Described, Described]:
    """Describe the reference and the training pictures; every training picture is a product of its own."""
    return ruler.describe(draw_shapes(REFERENCE, 12), REFERENCE), ruler.describe(TRAIN, TRAINING)


def measured(ruler: Ruler, sides: tuple[Described, Described], fakes: np.ndarray) -> dict[str, float]:
    return measure(ruler.describe(fakes, REFERENCE), *sides, np.arange(len(TRAIN)), NAMES, 0).overall


def shaken(pictures: np.ndarray) -> np.ndarray:
    """Add a little noise, as a generator that copies would."""
    noise = np.random.default_rng(0).integers(-3, 4, pictures.shape)
    return (pictures.astype(int) + noise).clip(0, 255).astype(np.uint8)


def below(found: dict[str, float], name: str) -> float:
    """Return how far a figure lies below its floor, in standard deviations of the floor."""
    return (found[f"real_{name}"] - found[name]) / found[f"real_{name}_sd"]


def test_real_pictures_in_the_place_of_generated_ones_lie_at_the_floor(ruler, sides):
    found = measured(ruler, sides, draw_shapes(REFERENCE, 13))
    names = [name for name in found if not name.startswith("real_")]
    assert len(names) == 11
    assert all(f"real_{name}" in found for name in names)
    for name in names:
        assert abs(found[name] - found[f"real_{name}"]) <= 4 * found[f"real_{name}_sd"] + 0.02, name


def test_a_generator_that_copies_training_pictures_is_below_the_floor_of_memorisation(ruler, sides):
    rows = np.arange(len(TRAINING)).reshape(3, -1)[:, :20].ravel()  # 20 of each class
    copied, fresh = (measured(ruler, sides, shaken(x)) for x in (TRAIN[rows], draw_shapes(REFERENCE, 13)))
    for name in ("memorisation_ratio_l1", "memorisation_ratio_judge"):
        assert copied[name] < 0.9 * copied[f"real_{name}"] and below(copied, name) > 3
        assert abs(below(fresh, name)) < 3
    assert copied["judge_agreement"] > 0.9 and copied["pixel_recall"] > 0.5  # nothing else gives it away


def test_one_silhouette_a_class_has_full_agreement_and_no_recall(ruler, sides):
    found = measured(ruler, sides, shaken(np.repeat(draw_shapes(np.arange(3), 14), 20, axis=0)))
    assert found["judge_agreement"] > 0.95 and found["pixel_precision"] > 0.9
    assert found["pixel_recall"] == 0 and found["judge_recall"] < 0.1
    assert found["pixel_kernel"] > 10 * found["real_pixel_kernel_sd"]


def test_a_wrong_class_lowers_agreement_in_that_class_alone(ruler, sides):
    shown = np.where(REFERENCE == 2, 0, REFERENCE)
    found = measure(ruler.describe(draw_shapes(shown, 15), REFERENCE), *sides, np.arange(len(TRAIN)), NAMES, 0)
    agreement = {name: of["judge_agreement"] for name, of in found.by_class.items()}
    assert agreement["beam"] < 0.2 and min(agreement["bar"], agreement["disc"]) > 0.8
    assert found.overall["judge_agreement"] == pytest.approx(np.mean(list(agreement.values())))
    assert found.by_class["bar"]["real_judge_agreement"] > 0.8


def test_grey_garments_and_blurred_ones_are_found_by_colours_and_spectrum(ruler, sides):
    fresh = draw_shapes(REFERENCE, 13)
    grey = fresh.mean(axis=3, keepdims=True).repeat(3, axis=3).astype(np.uint8)
    blurred = fresh.reshape(-1, 16, 4, 16, 4, 3).mean(axis=(2, 4)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    assert below(measured(ruler, sides, grey), "colour_distance") < -4
    assert below(measured(ruler, sides, blurred), "spectrum_distance") < -4


def test_kernel_and_recall_equal_slow_loops(ruler, sides):
    reference, fakes = sides[0], ruler.describe(draw_shapes(REFERENCE, 16), REFERENCE)
    found, _ = compare(fakes, reference, NAMES)
    for name in ("judge", "pixel"):
        real, fake = (
            [[float(v) for v in row] for row in (one.judged if name == "judge" else one.pixel)]
            for one in (reference, fakes)
        )

        def kernel(a: list[float], b: list[float]) -> float:
            return (sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3

        n = len(real)
        within = sum(kernel(s[i], s[j]) for s in (real, fake) for i in range(n) for j in range(n) if i != j)
        across = sum(kernel(a, b) for a in real for b in fake)
        assert found[f"{name}_kernel"] == pytest.approx(within / (n * (n - 1)) - 2 * across / n**2, rel=1e-6)

        def reach(points: list[list[float]]) -> list[float]:  # to the fifth neighbour; the nearest is the point itself
            return [sorted(np.linalg.norm(np.subtract(points, one), axis=1))[5] for one in points]

        for which, inside, outside in (("recall", fake, real), ("precision", real, fake)):
            balls = list(zip(inside, reach(inside), strict=True))
            covered = [any(np.linalg.norm(np.subtract(x, c)) <= r for c, r in balls) for x in outside]
            assert found[f"{name}_{which}"] == pytest.approx(np.mean(covered))


@pytest.mark.parametrize(("norm", "nearest"), [(1.0, nearest_l1), (2.0, nearest_features)])
def test_memorisation_equals_the_plain_ratio_of_each_draw(norm, nearest):
    rng = np.random.default_rng(0)
    fakes, reference, training = (rng.normal(size=(n, 6)).astype(np.float32) for n in (10, 12, 40))
    draws = [(np.arange(12), np.arange(20, 32)), (np.arange(5, 17), np.arange(28, 40))]
    of_fakes, of_real = memorisation(fakes, reference, training, draws, norm)
    for place, (as_fakes, as_training) in enumerate(draws):
        seen = training[as_training]
        assert of_fakes[place] == pytest.approx(memorisation_ratio(fakes, seen, reference, nearest=nearest))
        real = memorisation_ratio(training[as_fakes], seen, reference, nearest=nearest)
        assert of_real[place] == pytest.approx(real)


def test_pictures_of_one_product_are_never_on_both_sides_of_a_draw():
    product, label = np.arange(40) // 4, np.zeros(40, int)
    for as_fakes, as_training in independent.draws_of_real(np.zeros(12, int), label, product, 0):
        assert len(as_fakes) == len(as_training) == 12
        assert not set(product[as_fakes]) & set(product[as_training])


def test_one_product_alone_has_no_floor(ruler, sides):
    found = measure(*(ruler.describe(draw_shapes(REFERENCE, s), REFERENCE) for s in (13, 12)), sides[1],
                    np.zeros(len(TRAIN), int), NAMES, 0).overall  # fmt: skip
    assert "pixel_recall" in found and not [name for name in found if name.startswith(("real_", "memorisation"))]
