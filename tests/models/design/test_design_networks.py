"""Designs with the generator on frozen features: the same search, with the heads' realism for the discriminator."""

import numpy as np
import torch

from models.design.from_noise import personal_designs
from models.design.preference import PictureTaste
from models.design.restyle import restyle
from models.design.settings import DesignSettings
from models.garments.features import FrozenFeatures
from models.garments.generator import Generator, settle
from models.garments.heads import Heads, Realism
from models.garments.settings import GarmentModelSettings
from models.garments.trunk import RandomTrunk

MODEL = GarmentModelSettings(size=32, width=0.0625, z_dim=6, class_dim=4, mixed=8, classes=2)
SETTINGS = DesignSettings(starts=2, best=1, steps=4, eta=0.1, rows_at_once=8, approximation_steps=20)


def networks() -> tuple[Generator, Realism]:
    generator, features = Generator(MODEL), FrozenFeatures(RandomTrunk(width=0.2), 8, 0)
    generator.prior.fit(torch.randn(20, 6), torch.full((20, 6), 0.1), torch.arange(20) % 2)
    settle(generator, 2, 0)
    realism = Realism(features, Heads(MODEL, features.shapes(32)[1]).eval())
    labels = torch.arange(16) % 2
    realism.calibrate([(features(generator(torch.randn(16, 6), labels).detach()), labels)])
    return generator.eval(), realism.eval()


def taste() -> PictureTaste:
    noise = torch.Generator().manual_seed(1)
    phi = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 8, stride=8), torch.nn.Tanh(), torch.nn.Flatten())
    return PictureTaste(phi, 32, torch.randn(3, 6 * 4 * 4, generator=noise))


def test_scores_rise_and_the_realism_is_that_of_each_picture_alone() -> None:
    generator, realism = networks()
    designs = personal_designs(generator, realism, taste(), [0, 1], settings=SETTINGS)
    assert (designs.objective[..., -1] > designs.objective[..., 0]).all()
    assert designs.kept.shape == (3, 2, 1, 32, 32, 3)
    picture = torch.from_numpy(designs.kept[2, 1, 0]).permute(2, 0, 1)[None].float() / 127.5 - 1
    alone = realism(picture, torch.tensor([1])).item()
    np.testing.assert_allclose(designs.after[1][2, 1, 0], alone, atol=1e-3, rtol=1e-3)


def test_a_product_is_approximated_and_restyled() -> None:
    generator, realism = networks()
    products = np.full((2, 32, 32, 3), (200, 60, 60), np.uint8)
    restyled = restyle(generator, realism, taste(), products, np.array([0, 1]), settings=SETTINGS)
    assert restyled.pictures.shape == (2, 3, 5, 32, 32, 3)
    near = np.abs(restyled.approximation.astype(int) - products).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(restyled.distance, near, atol=1)
