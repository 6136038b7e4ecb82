"""Profiles: those in the package are valid; an error names the file, the key and what is allowed."""

import dataclasses
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.settings import launchpad, profiles
from pipeline.settings.method import Method
from pipeline.settings.ops import OPS
from pipeline.settings.presets import PRESET_NAMES
from tests.pipeline.conftest import TINY


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return make


def refusal(name: str) -> str:
    with pytest.raises(InputError) as caught:
        profiles.load(name)
    return str(caught.value)


def test_an_unknown_profile_is_refused_and_the_known_ones_listed():
    said = refusal("paris")
    assert "paris" in said and all(name in said for name in profiles.names())


def test_a_file_with_a_yaml_error_is_named(write):
    path = write("ops: [unclosed")
    assert path in refusal(path)


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("opps: {}", "opps", ("ops", "resources")),
        ("ops: {dvbprr: {config: {}}}", "ops.dvbprr", ("dvbpr", "lsgan")),
        ("ops: {dvbpr: {settings: {}}}", "ops.dvbpr.settings", ("config",)),
        ("ops: {dvbpr: {config: {epoch: 3}}}", "ops.dvbpr.config.epoch", ("epochs", "learning_rate")),
        ("ops: {modern: {config: {whitten: 3}}}", "ops.modern.config.whitten", ("parts", "whiten")),
        ("resources: {storage: {}}", "resources.storage", ("method",)),
        (
            "resources: {method: {config: {presett: paper}}}",
            "resources.method.config.presett",
            ("preset",),
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_what_is_allowed(write, text: str, key: str, allowed):
    path = write(text)
    said = refusal(path)
    assert path in said and f"unknown key {key};" in said
    assert all(name in said for name in allowed)


def test_an_unknown_key_next_to_the_methods_config_is_named(write):
    assert "confg" in refusal(write("resources: {method: {confg: {preset: kang2017}}}"))


def test_a_profile_that_names_another_is_refused_with_the_fix(write):
    path = write("resources: {method: {config: {profile: cpu}}}")
    said = refusal(path)
    assert path in said and "resources.method.config.profile" in said and "'cpu'" in said and "Copy" in said


@pytest.mark.parametrize(
    ("op", "field", "value", "type_"),
    [
        ("dvbpr", "epochs", "many", "integer"),
        ("dvbpr", "betas", "0.9", "list"),
        ("lsgan", "balanced", "[1]", "boolean"),
        ("image_ledger", "read_timeout", "soon", "number"),
    ],
)
def test_an_ill_typed_value_is_named_with_its_file_its_key_and_the_type(write, op, field, value, type_):
    path = write(f"ops: {{{op}: {{config: {{{field}: {value}}}}}}}")
    said = refusal(path)
    assert path in said and f"ops.{op}.config.{field} is " in said and type_ in said


def test_a_section_that_is_not_a_mapping_is_named(write):
    path = write("ops: {dvbpr: {config: [1, 2]}}")
    assert refusal(path) == f"{path}: ops.dvbpr.config must be a mapping, not list."


def test_an_empty_section_sets_nothing(write):
    assert profiles.load(write("ops: {dvbpr: {}}")).ops.get("dvbpr", {}) == {}


def test_a_number_that_yaml_reads_as_text_is_a_number(write):
    # YAML 1.1 needs a point in the mantissa, so it reads 1e-3 as text; the author means 0.001.
    assert profiles.load(write("ops: {dvbpr: {config: {learning_rate: 1e-3}}}")).ops["dvbpr"]["learning_rate"] == 1e-3


def test_a_date_without_quotes_is_the_text_that_its_author_wrote(write):
    assert profiles.load(write("ops: {splits: {config: {cut: 2017-12-01}}}")).ops["splits"]["cut"] == "2017-12-01"


def test_an_unknown_preset_is_refused_and_the_known_ones_listed(write):
    path = write("resources: {method: {config: {preset: kang2016}}}")
    said = refusal(path)
    assert path in said and "kang2016" in said and all(name in said for name in PRESET_NAMES)


def settable(cls: type) -> set[str]:
    """List the fields of a settings class that a run may set, not the environment or the data."""
    names = {f.name for f in dataclasses.fields(cls)} - launchpad.FROM_ENVIRONMENT
    return {name for name in names if (cls, name) not in launchpad.FROM_DATA}


@pytest.mark.parametrize("op", sorted(OPS))
def test_every_ops_config_has_the_fields_of_its_settings(op: str):
    assert set(launchpad.CONFIGS[op].model_fields) == {name for cls in OPS[op] for name in settable(cls)}


@pytest.mark.parametrize("name", [*profiles.names(), str(TINY)])
def test_every_profile_makes_settings_for_every_op(name: str):
    method = Method(profile=name)
    for op, classes in OPS.items():
        wanted = profiles.load(name).ops.get(op, {})
        for cls in classes:
            settings = method.settings(cls, op)
            for key, value in wanted.items():
                if hasattr(settings, key):
                    made = getattr(settings, key)
                    assert (list(made) if isinstance(made, tuple) else made) == value, (op, key)


@pytest.mark.parametrize("name", [*profiles.names(), str(TINY)])
def test_a_profile_samples_as_many_epochs_of_triplets_as_dvbpr_trains(name: str):
    from models.dvbpr.train import DvbprSettings
    from pipeline.core.dataset.triplets import TripletSettings

    method = Method(profile=name)
    assert method.settings(TripletSettings, "triplets").epochs >= method.settings(DvbprSettings, "dvbpr").epochs
