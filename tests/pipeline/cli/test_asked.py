"""The arguments of `run` that choose part of the data become settings of ops, and a wrong one is refused early."""

import pytest

from pipeline.cli import asked
from pipeline.cli.run import arguments
from pipeline.core.errors import InputError
from pipeline.core.schemas import IMAGE_MODES
from pipeline.runtime.exits import WRONG_CALL
from pipeline.settings.assets import DesignTargetSettings, FiveCoreSettings, ImageUrlSettings
from pipeline.settings.method import Method


def five_core(*argv: str) -> FiveCoreSettings:
    options = arguments(list(argv))
    return asked.settings(Method(profile=options.profile), FiveCoreSettings, "five_core", options.changes)


def test_without_arguments_the_profile_is_paper_and_nothing_is_changed():
    options = arguments([])
    assert (options.profile, options.modes, options.changes) == ("paper", list(IMAGE_MODES), {})


def test_quick_is_a_profile_with_a_sample_in_one_mode():
    options = arguments(["--quick"])
    assert (options.profile, options.modes, options.changes) == ("quick", ["vendor_single"], {})
    assert five_core("--quick") == FiveCoreSettings(k=5, sample_users=10_000, sample_seed=0)
    method = Method(profile="quick")
    assert method.settings(ImageUrlSettings, "image_urls").modes == ("vendor_single",)
    for op in ("personal_designs", "restyled_products"):
        assert method.settings(DesignTargetSettings, op).mode == "vendor_single"


def test_arguments_win_over_the_profile_of_quick():
    asked_for = five_core("--quick", "--users", "500", "--seed", "7", "--min-interactions", "3")
    assert asked_for == FiveCoreSettings(k=3, sample_users=500, sample_seed=7)
    assert five_core("--quick", "--seed", "7") == FiveCoreSettings(sample_users=10_000, sample_seed=7)


def test_quick_in_other_modes_lists_their_pictures():
    options = arguments(["--quick", "--modes", "vendor_all"])
    assert options.modes == ["vendor_all"] and options.changes == {"image_urls": {"modes": ["vendor_all"]}}
    assert arguments(["--modes", "vendor_all"]).changes == {}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--min-interactions", "0"], "--min-interactions must be at least 1, not 0"),
        (["--users", "0"], "--users must be at least 1, not 0"),
        (["--users", "many"], "invalid int value: 'many'"),
        (["--quick", "--profile", "cpu"], "--quick is the profile quick"),
    ],
)
def test_a_value_that_cannot_be_is_a_wrong_call(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        arguments(argv)
    assert caught.value.code == WRONG_CALL and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--seed", "1"], "say how many with --users N"),
        (["--retry", "gone"], "'gone' is no reason of the ledger; there are: all, http_404, "),
    ],
)
def test_a_value_without_meaning_is_refused_before_any_work(argv: list[str], said: str):
    options = arguments(argv)
    with pytest.raises(InputError, match=said):
        asked.check(Method(profile=options.profile), options.changes)


def test_a_setting_of_the_launchpad_is_checked_in_the_same_way():
    from pipeline.settings.launchpad import CONFIGS

    for wrong, said in (({"k": 0}, "k is 0"), ({"sample_users": -1}, "sample_users is -1")):
        with pytest.raises(InputError, match=said):
            Method().settings(FiveCoreSettings, "five_core", CONFIGS["five_core"](**wrong))
    with pytest.raises(InputError, match="modes: 'vendor' is not one of"):
        Method().settings(ImageUrlSettings, "image_urls", CONFIGS["image_urls"](modes=["vendor"]))
