"""Pictures reach the network resized as by Pillow, normalised, and in the requested order."""

import numpy as np
import pytest
import torch
from PIL import Image

from models.data.pictures import Pictures, normalise, resize

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", list(PILLOW))
@pytest.mark.parametrize(("side", "size"), [(50, 24), (24, 50), (88, 64)])
def test_every_filter_equals_pillow_within_one_grey_level(name: str, side: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype(np.uint8)
    ours = resize(torch.from_numpy(pixels), size, name).numpy().astype(int)
    theirs = np.stack([np.asarray(Image.fromarray(p).resize((size, size), PILLOW[name])) for p in pixels]).astype(int)
    assert np.abs(ours - theirs).max() <= (0 if name == "nearest" else 1)


def test_normalising_maps_0_and_255_to_minus_one_and_one_channels_first() -> None:
    pixels = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)
    torch.testing.assert_close(normalise(pixels), torch.tensor([[[[-1.0]], [[1.0]], [[-0.6]]]]))


@pytest.mark.parametrize("size", [8, 16, 24])
def test_batches_are_the_requested_pictures_in_order(size: int) -> None:
    bank = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    bank_row = np.array([4, 0, 8, 3])
    pictures = Pictures(bank, bank_row, size, CPU)
    images = np.array([[3, 0], [1, 1], [2, 3]])
    got = torch.cat(list(pictures.batches(images, 2)))
    expected = resize(torch.from_numpy(bank[bank_row[images.ravel()]]), size, "bicubic")
    assert torch.equal(got, expected)
    assert ("shrunk once" in pictures.note, "enlarged" in pictures.note) == (size < 16, size > 16)


def test_batches_are_the_same_if_the_device_holds_the_pictures(monkeypatch) -> None:
    bank = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
    mapped = Pictures(bank, np.arange(9), 16, CPU)
    monkeypatch.setattr("models.training.device.fits", lambda *_: True)
    resident = Pictures(bank, np.arange(9), 16, CPU)
    assert (mapped.resident, resident.resident) == (False, True)
    for one, other in zip(
        mapped.batches(np.arange(9)[::-1], 4), resident.batches(np.arange(9)[::-1].copy(), 4), strict=True
    ):
        assert torch.equal(one, other)


def test_an_invalid_bank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[rows, side, side, 3\] was expected"):
        Pictures(np.zeros((2, 4, 4, 3), np.float32), np.arange(2), 4, CPU)
