"""A model lists its parts, and `--ablate` makes a variant of each that the command line would read the same."""

from typing import Any

import pytest

from pipeline.recommenders.registry import get, in_studies
from pipeline.settings.method import Method
from pipeline.study import ablations
from pipeline.study.arguments import arguments, plan_of
from pipeline.study.entries import entry


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, dict[str, Any]] = {
        "without ids": {"item_id": False, "item_bias": False},
        "user free": {"user": "free"},
        "user both, pooled": {"user": "both", "pooling": "1.0"},
        "no prior": {"popularity_weights": (0.0,)},
    }
    monkeypatch.setattr(get("modern"), "ablations", lambda: changes, raising=False)


def test_a_variant_is_written_as_on_the_command_line(parts: None):
    assert ablations.variants("modern+k=32") == {
        "modern+k=32+item_id=false+item_bias=false": "without ids",
        "modern+k=32+user=free": "user free",
        "modern+k=32+user=both+pooling='1.0'": "user both, pooled",
        "modern+k=32+popularity_weights=[0.0]": "no prior",
    }
    assert ablations.variants("popularity") == {} and ablations.variants("nobody") == {}


def test_ablate_adds_the_model_and_its_variants_once(parts: None):
    models = plan_of(arguments(["--models", "vbpr", "modern", "--ablate", "modern"]), Method()).models
    assert models == ("vbpr", "modern", *ablations.variants("modern"))


def test_every_variant_that_a_recommender_lists_is_one_of_its_settings():
    for name, recommender in in_studies().items():
        whole = entry(name, Method()).settings
        for spec, changes in zip(ablations.variants(name), recommender.ablations().values(), strict=True):
            made = entry(spec, Method()).settings
            read = {field: getattr(made, field) for field in changes}
            assert read == {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}, spec
            assert made != whole, f"{spec} changes nothing"
