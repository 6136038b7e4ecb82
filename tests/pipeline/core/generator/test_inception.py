"""FID needs weights that are never downloaded; an error names what is missing and the remedy."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.core.generator import inception

PICTURES = np.zeros((4, 8, 8, 3), np.uint8)
CPU = torch.device("cpu")


def test_missing_weights_are_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere\.pth is missing.*leave ops\.generator_evaluation"):
        inception.scores(PICTURES, PICTURES, str(tmp_path / "nowhere.pth"), CPU)


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "w.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(InputError, match=r"uv pip install '\.\[fid\]'"):
        inception.scores(PICTURES, PICTURES, str(tmp_path / "w.pth"), CPU)


def test_pictures_are_passed_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    given = inception._FidelityPictures(pixels)
    assert len(given) == 3
    assert np.array_equal(given[2].permute(1, 2, 0).numpy(), pixels[2]) and given[2].dtype == torch.uint8
