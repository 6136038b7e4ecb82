"""The loss in words: the same numbers everywhere, and a warning only above the share of the settings."""

import re
from pathlib import Path

import pytest

from pipeline.core.dataset.loss import PictureLoss
from pipeline.core.errors import InputError
from pipeline.core.raw import addresses
from pipeline.core.raw.unusable import KINDS, NOTHING
from pipeline.core.shop import picture_files
from pipeline.settings.assets import LossSettings
from pipeline.settings.method import Method
from pipeline.views.loss import is_large, line, plain

LOST = {
    "http_404": 70,
    "no_product": 20,
    "no_address": 11,
    "unusable_local_refused": 9,
    "outside_folders": 6,
    "too_small": 4,
}
LOSS = PictureLoss(1000, 880, LOST)


def test_a_line_names_every_reason_with_its_count():
    assert line("vendor_all", plain(LOSS, 0.05)) == (
        "vendor_all: 120 of 1,000 items of the 5-core (12.0%) have no picture: 70 broken (http_404),"
        " 20 no such product, 11 no address given,"
        " 9 unusable address (local paths or s3:// in a file that was fetched),"
        " 6 unusable address (outside the folders), 4 too small"
    )
    whole = plain(PictureLoss(7, 7, {}), 0.05)
    assert line("vendor_all", whole) == "vendor_all: all 7 items of the 5-core have a picture"


def test_only_a_larger_share_than_the_settings_say_is_warned_of():
    assert is_large(plain(LOSS, 0.119)) and not is_large(plain(LOSS, 0.12))
    assert Method().settings(LossSettings, "splits").warn_lost == 0.05
    with pytest.raises((ValueError, InputError), match="warn_lost is 5"):
        LossSettings(5)


def test_every_kind_of_address_that_ingest_refuses_has_words():
    source = Path(addresses.__file__).read_text() + Path(picture_files.__file__).read_text()
    raised = set(re.findall(r'UnusableError\("(\w+)"\)', source))
    assert raised <= {*KINDS, *NOTHING}
    assert [kind for kind in KINDS if f'"{kind}"' not in source] == []
