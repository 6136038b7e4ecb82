"""The method of a run: preset, profile, fields set on the asset; a later layer overrides an earlier one."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.design.settings import DesignSettings
from models.dvbpr.train import PRESETS, DvbprSettings
from models.lsgan.settings import LsganSettings
from models.modern.settings import ModernSettings
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.errors import InputError
from pipeline.settings.assets import EvaluationSettings, SplitSettings
from pipeline.settings.launchpad import (
    DvbprConfig,
    EvaluationConfig,
    LsganConfig,
    ModernConfig,
    SplitsConfig,
    config_of,
)
from pipeline.settings.method import Method


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "resources: {method: {config: {preset: kang2017}}}\n"
        "ops: {dvbpr: {config: {epochs: 3, batch_size: 32}}, lsgan: {config: {z_dim: 8}}}\n"
    )
    return str(path)


def test_the_default_preset_is_paper():
    assert Method().settings(DvbprSettings, "dvbpr") == PRESETS["paper"]


def test_a_profiles_preset_applies_if_the_run_names_none(profile: str):
    settings = Method(profile=profile).settings(DvbprSettings, "dvbpr")
    assert (settings.k, settings.padding) == (PRESETS["kang2017"].k, "same")


def test_the_runs_preset_overrides_the_profiles(profile: str):
    assert Method(preset="paper", profile=profile).settings(DvbprSettings, "dvbpr").k == PRESETS["paper"].k


def test_a_profile_overrides_only_the_fields_that_it_sets(profile: str):
    settings = Method(profile=profile).settings(DvbprSettings, "dvbpr")
    assert (settings.epochs, settings.batch_size) == (3, 32)
    assert settings.dropout == PRESETS["kang2017"].dropout


def test_fields_set_on_the_asset_override_the_profile(profile: str):
    settings = Method(profile=profile).settings(DvbprSettings, "dvbpr", DvbprConfig(epochs=9))
    assert (settings.epochs, settings.batch_size) == (9, 32)


def test_a_profiles_section_applies_to_its_own_op_only(profile: str):
    assert Method(profile=profile).settings(TripletSettings, "triplets").epochs != 3
    assert Method(profile=profile).settings(LsganSettings, "lsgan").z_dim == 8


def test_zero_and_false_count_as_set():
    config = LsganConfig(weight_decay=0.0, input_batch_norm=False)
    settings = Method(preset="kang2017").settings(LsganSettings, "lsgan", config)
    assert settings.input_batch_norm is False and settings.weight_decay == 0.0


def test_lists_of_the_config_become_the_tuples_of_the_settings():
    assert Method().settings(DvbprSettings, "dvbpr", DvbprConfig(betas=[0.5, 0.9])).betas == (0.5, 0.9)


def test_modern_reads_the_settings_of_its_own_op(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "resources: {method: {config: {preset: modern}}}\n"
        "ops: {dvbpr: {config: {epochs: 3}}, modern: {config: {factors: 16, parts: [image, popularity]}}}\n"
    )
    method = Method(profile=str(path))
    settings = method.settings(ModernSettings, "modern", ModernConfig(whiten=0.25))
    assert settings == replace(ModernSettings(), factors=16, parts=("image", "popularity"), whiten=0.25)
    beside = method.settings(DvbprSettings, "dvbpr", DvbprConfig(batch_size=32))
    assert (beside.epochs, beside.batch_size, beside.k) == (3, 32, PRESETS["paper"].k)
    with pytest.raises(InputError, match=r"modern: ModernSettings.whiten=2.0"):
        method.settings(ModernSettings, "modern", ModernConfig(whiten=2.0))


def test_a_preset_skips_the_main_recommender_of_the_others():
    assert Method(preset="modern").leaves_out("dvbpr") and not Method(preset="modern").leaves_out("modern")
    assert Method(preset="paper").leaves_out("modern") and not Method(preset="paper").leaves_out("triplets")


def test_recommenders_that_run_and_profile_add_are_trained_besides_the_presets(tmp_path: Path):
    asked = Method(preset="modern", with_recommenders=["dvbpr"])
    assert [one.name for one in asked.recommenders()] == ["modern", "dvbpr"]
    profile = tmp_path / "own.yaml"
    profile.write_text("resources: {method: {config: {preset: paper, with_recommenders: [modern]}}}")
    assert not Method(profile=str(profile)).leaves_out("dvbpr") and not Method(profile=str(profile)).leaves_out(
        "modern"
    )
    with pytest.raises(InputError, match="popularity is no main recommender; there are: modern, dvbpr"):
        Method(with_recommenders=["popularity"]).check()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("resources: {method: {config: {with_recommenders: [popularity]}}}")
    with pytest.raises(InputError, match=r"with_recommenders is \['popularity'\]; allowed: a list of modern, dvbpr"):
        Method(profile=str(wrong)).check()


@pytest.mark.parametrize(
    ("profile", "trained"),
    [
        ("quick", ["modern"]), ("cpu", ["modern"]), ("gpu", ["modern"]), ("modern", ["modern"]), ("paper", ["dvbpr"]),
        ("demo", ["modern", "dvbpr"]),
    ],
)  # fmt: skip
def test_every_profile_trains_its_recommenders(profile: str, trained: list[str]):
    assert [one.name for one in Method(profile=profile).recommenders()] == trained


def test_modern_uses_the_papers_values_if_it_has_none():
    assert Method(preset="modern").settings(TripletSettings, "triplets") == Method().settings(
        TripletSettings, "triplets"
    )
    Method(profile="modern").check()


def test_settings_without_presets_have_one_default():
    for preset in ("paper", "kang2017", "modern"):
        assert Method(preset=preset).settings(EvaluationSettings, "recommender_evaluation") == EvaluationSettings()


def test_an_unknown_preset_is_refused_and_the_known_ones_listed():
    with pytest.raises(InputError, match=r"preset 'kang' is unknown; allowed: paper, kang2017, modern"):
        Method(preset="kang").settings(DvbprSettings, "dvbpr")


def test_invalid_values_are_refused_with_op_and_field():
    with pytest.raises(InputError, match=r"dvbpr: .*padding='smae'"):
        Method().settings(DvbprSettings, "dvbpr", DvbprConfig(padding="smae"))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("split_unit", "row", r"split_unit: 'row' is not one of interaction, image"),
        ("hold_out", "first", r"hold_out: 'first' is not one of random, latest"),
    ],
)
def test_an_unknown_hold_out_is_refused_before_any_work_and_the_known_ones_listed(tmp_path: Path, field, value, said):
    path = tmp_path / "mine.yaml"
    path.write_text(f"ops: {{splits: {{config: {{{field}: {value}}}}}}}\n")
    with pytest.raises(InputError, match=rf"splits: {said}"):
        Method(profile=str(path)).check()
    with pytest.raises(InputError, match=said):
        Method().settings(SplitSettings, "splits", SplitsConfig(**{field: value}))


def test_item_score_defaults_to_the_mean_and_its_help_says_what_leaks():
    assert Method().settings(EvaluationSettings, "recommender_evaluation").item_score == "mean"
    assert "leak" in EvaluationConfig.model_fields["item_score"].description
    with pytest.raises(InputError, match=r"recommender_evaluation: item_score: 'median' is not one of mean, max, sum"):
        Method().settings(EvaluationSettings, "recommender_evaluation", EvaluationConfig(item_score="median"))


def test_the_default_split_unit_is_the_interaction_and_its_help_says_what_leaks():
    assert Method().settings(SplitSettings, "splits").split_unit == "interaction"
    assert "leaks" in SplitsConfig.model_fields["split_unit"].description


def test_two_settings_with_one_field_name_cannot_share_a_config():
    with pytest.raises(TypeError, match="seed"):
        config_of(DesignSettings, EvaluationSettings)


def test_a_setting_without_help_is_named():
    @dataclass(frozen=True)
    class Bare:
        k: int = 5

    with pytest.raises(TypeError, match=r"Bare\.k has no help"):
        config_of(Bare)


def test_the_launchpad_shows_the_help_and_the_default_of_every_field():
    fields = DvbprConfig.model_fields
    assert fields["k"].description == "Latent factors. When not set: the profile's value, else paper 50, kang2017 100."
    assert all(field.description for field in fields.values())
    assert all(not field.is_required() for field in fields.values())
