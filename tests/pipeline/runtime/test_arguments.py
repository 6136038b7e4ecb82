"""Options that several commands share."""

import pytest

from pipeline.study import generator_sources, grid


@pytest.mark.parametrize("command", [grid, generator_sources])
def test_a_study_takes_a_profile_and_a_preset(command):
    options = command.arguments(["--profile", "demo", "--preset", "modern"])
    assert (options.profile, options.preset) == ("demo", "modern")
    assert (command.arguments([]).profile, command.arguments([]).preset) == ("", "")
