"""The loss in words: the same numbers everywhere, and a warning only above the share of the settings."""

import pytest

from pipeline.core.dataset.loss import PictureLoss
from pipeline.core.errors import InputError
from pipeline.settings.assets import LossSettings
from pipeline.settings.method import Method
from pipeline.views.loss import is_large, line, plain

LOSS = PictureLoss(1000, 880, {"http_404": 70, "no_product": 30, "no_usable_address": 15, "too_small": 5})


def test_a_line_names_every_reason_with_its_count():
    assert line("vendor_all", plain(LOSS, 0.05)) == (
        "vendor_all: 120 of 1,000 items of the 5-core (12.0%) have no picture: 70 broken (http_404),"
        " 30 no such product, 15 no address given, or none that can be used, 5 too small"
    )
    whole = plain(PictureLoss(7, 7, {}), 0.05)
    assert line("vendor_all", whole) == "vendor_all: all 7 items of the 5-core have a picture"


def test_only_a_larger_share_than_the_settings_say_is_warned_of():
    assert is_large(plain(LOSS, 0.119)) and not is_large(plain(LOSS, 0.12))
    assert Method().settings(LossSettings, "splits").warn_lost == 0.05
    with pytest.raises((ValueError, InputError), match="warn_lost is 5"):
        LossSettings(5)
