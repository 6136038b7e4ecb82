"""A trained generator of either kind is loaded by one call, and drawn from with its own latents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.garments import train as garments
from models.garments.settings import GarmentModelSettings
from models.lsgan import train as lsgan
from models.lsgan.networks import Discriminator
from models.lsgan.settings import LsganSettings
from models.training.files import UnusableFileError
from pipeline.core.generator import generation, trained
from pipeline.core.images.scales import scales

CPU = torch.device("cpu")
NAMES = ("tops", "pants")
PICTURES = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
LABELS = np.arange(16) % 2


@pytest.fixture(scope="module")
def on_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = GarmentModelSettings(
        classes=2, width=0.0625, z_dim=6, class_dim=4, mixed=8, hidden=8, batch_size=4, steps=1, minimum_class=4,
        grid_columns=2, bf16=False,
    )  # fmt: skip
    out = tmp_path_factory.mktemp("on_features")
    garments.train(PICTURES, LABELS, NAMES, settings, scales(CPU), out, CPU)
    return out


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = LsganSettings(
        classes=2, width=0.05, z_dim=6, batch_size=4, steps=1, minimum_class=4, grid_columns=2, z_distribution="uniform"
    )
    out = tmp_path_factory.mktemp("published")
    lsgan.train(PICTURES, LABELS, NAMES, settings, out, CPU)
    return out


def test_a_generator_on_features_brings_its_encoder_and_realism(on_features: Path) -> None:
    made = trained.load(on_features, CPU)
    pictures, labels = torch.from_numpy(PICTURES[:3]).permute(0, 3, 1, 2) / 127.5 - 1, torch.tensor([0, 1, 0])
    assert made.encoder is not None
    z = made.encoder(pictures, labels)
    assert made.generator(z, labels).shape == pictures.shape
    assert made.realism(pictures, labels).shape == (3,)
    assert made.meta["steps"] == 1


def test_a_published_generator_brings_its_discriminator_and_no_encoder(published: Path) -> None:
    made = trained.load(published, CPU)
    assert isinstance(made.realism, Discriminator)
    assert made.encoder is None


def test_pictures_are_drawn_from_each_generators_own_latents(on_features: Path, published: Path) -> None:
    for folder, draw in (
        (on_features, lambda noise: torch.randn(4, 6, generator=noise)),
        (published, lambda noise: torch.rand(4, 6, generator=noise) * 2 - 1),
    ):
        generator, _ = trained.load_generator(folder, CPU)
        wanted = np.array([0, 1, 1, 0])
        with torch.no_grad():
            made = generator(draw(torch.Generator().manual_seed(3)), torch.from_numpy(wanted))
        pixels = ((made + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
        assert np.abs(generation.sample(generator, wanted, 3, CPU) - pixels).max() <= 1


def test_an_unfinished_or_damaged_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished generator"):
        trained.load(tmp_path, CPU)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(UnusableFileError, match=r"meta\.json: cut off or damaged"):
        trained.load_generator(tmp_path, CPU)
