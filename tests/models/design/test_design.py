"""Preference maximisation on small random networks: scores rise, belong to the shown pictures, and do not mix users."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.io import decode_image

from models.data import picture_grid
from models.design.from_noise import Designs, personal_designs
from models.design.preference import PictureTaste, picture_features
from models.design.restyle import restyle
from models.design.settings import DesignSettings
from models.lsgan.networks import Discriminator, Generator
from models.lsgan.settings import LsganSettings

SETTINGS = DesignSettings(starts=3, best=2, steps=4, rows_at_once=16, approximation_starts=1)
SIZE = 80


def networks(z_distribution: str = "normal") -> tuple[Generator, Discriminator]:
    """Make random networks with varied pictures: large weights and settled batch-norm statistics."""
    settings = LsganSettings(width=0.0625, z_dim=8, classes=3, z_distribution=z_distribution, input_batch_norm=True)
    generator, discriminator = Generator(settings), Discriminator(settings)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        generator.output.weight.mul_(10)
        for module in [*generator.modules(), *discriminator.modules()]:
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # a plain mean: at 0.1 the initial variance of 1 would linger
        for _ in range(8):
            labels = torch.randint(3, (16,), generator=noise)
            discriminator(generator(torch.randn(16, 8, generator=noise), labels), labels)
    return generator.eval(), discriminator.eval()


def recommender(users: int = 3) -> PictureTaste:
    noise = torch.Generator().manual_seed(1)
    phi = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 8, stride=8), torch.nn.Tanh(), torch.nn.Dropout(0.5), torch.nn.Flatten(),
        torch.nn.Linear(6 * (SIZE // 8) ** 2, 5),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in phi.parameters():
            parameter.normal_(std=0.1, generator=noise)
    return PictureTaste(phi, SIZE, torch.randn(users, 5, generator=noise))


@pytest.fixture(scope="module")
def designs() -> Designs:
    return personal_designs(*networks(), recommender(), [0, 2], settings=SETTINGS)


def test_objective_and_score_rise_for_every_user_and_class(designs: Designs) -> None:
    objective = designs.score - SETTINGS.eta * (designs.realism - 1) ** 2
    assert (objective[..., -1] > objective[..., 0]).all()
    assert (designs.gain > 0).all()
    assert designs.gain.shape == (3, 2)


def test_the_shown_score_is_that_of_the_shown_picture(designs: Designs) -> None:
    taste = recommender()
    taste.phi.eval()
    for user, c, place in np.ndindex(designs.best.shape):
        x = torch.from_numpy(designs.kept[user, c, place].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        score = taste.theta[user] @ taste.phi(F.interpolate(x, size=SIZE, mode="nearest"))[0]
        assert designs.after[0][user, c, place] == pytest.approx(score.item(), abs=1e-4)
    gap = designs.pictures[:, :, -1].astype(int) - designs.kept[:, :, 0]
    assert np.abs(gap).max() <= 1  # drawn in another batch: a value half-way may round otherwise


def test_the_recorded_score_belongs_to_the_picture_of_the_same_step(designs: Designs) -> None:
    for user, c, place in np.ndindex(designs.best.shape):
        recorded = designs.score[user, c, designs.best[user, c, place]]
        shown = [designs.before[0][user, c, place], designs.after[0][user, c, place]]
        # apart by the rounding to grey levels only, less than a step's rise
        np.testing.assert_allclose(shown, recorded[[0, -1]], atol=0.3 * np.diff(recorded).max())


def test_the_starts_with_the_highest_final_objective_are_kept_best_first(designs: Designs) -> None:
    last = designs.score[..., -1] - SETTINGS.eta * (designs.realism[..., -1] - 1) ** 2
    np.testing.assert_allclose(designs.objective[..., -1], last, rtol=1e-5, atol=1e-5)
    assert (designs.best == np.argsort(-last, axis=2)[..., :2]).all()


def test_a_kept_latent_generates_the_kept_picture(designs: Designs) -> None:
    generator, _ = networks()
    assert designs.path.shape == (3, 2, 2, 5, 8)
    for user, c, place in np.ndindex(designs.best.shape):
        z = torch.from_numpy(designs.path[user, c, place, -1].copy())[None]
        with torch.no_grad():
            drawn = generator(z, torch.tensor([[0, 2][c]]))[0].permute(1, 2, 0).numpy()
        assert np.abs((drawn + 1) * 127.5 - designs.kept[user, c, place]).max() < 0.51


def test_the_designs_of_a_user_do_not_depend_on_the_other_users(designs: Designs) -> None:
    everyone = recommender()
    alone = PictureTaste(everyone.phi, SIZE, everyone.theta[2:3])
    mine = personal_designs(*networks(), alone, [2], settings=replace(SETTINGS, rows_at_once=2))
    np.testing.assert_allclose(mine.path[0, 0], designs.path[2, 1], atol=1e-4)
    np.testing.assert_allclose(mine.score[0, 0], designs.score[2, 1], atol=1e-4)


def test_the_batched_search_equals_a_search_of_one_latent_at_a_time(designs: Designs) -> None:
    (generator, discriminator), taste = networks(), recommender()
    taste.phi.eval()
    kept = int(designs.best[2, 1, 0])
    start = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(SETTINGS.seed))[2, kept] * 0.5
    z, label = start[None].clone().requires_grad_(), torch.tensor([2])
    adam = torch.optim.Adam([z], lr=0.05)
    for step in range(5):
        picture = generator(z, label)
        score = taste.phi(F.interpolate(picture, size=SIZE, mode="nearest")) @ taste.theta[2]
        assert designs.score[2, 1, kept, step] == pytest.approx(score.item(), abs=1e-4)
        if step < 4:
            adam.zero_grad()
            ((discriminator(picture, label) - 1) ** 2 - score).sum().backward()
            adam.step()
    np.testing.assert_allclose(designs.path[2, 1, 0, -1], z[0].detach().numpy(), atol=1e-4)


def test_more_weight_on_realism_gives_more_realistic_designs() -> None:
    ends = []
    for eta in (0.0, 100.0):
        found = personal_designs(*networks(), recommender(1), [1], settings=replace(SETTINGS, eta=eta))
        ends.append(((found.realism[..., -1] - 1) ** 2).mean())
    assert ends[1] < ends[0]


def test_latents_of_a_uniform_generator_stay_within_one() -> None:
    wild = replace(SETTINGS, start_sd=5.0, every_step=False)
    found = personal_designs(*networks("uniform"), recommender(2), [0], settings=wild)
    assert np.abs(found.path).max() <= 1
    assert found.shown_step.tolist() == [0, 4]
    assert found.pictures.shape == (2, 1, 2, 64, 64, 3)


def test_the_search_leaves_the_networks_unchanged() -> None:
    (generator, discriminator), taste = networks(), recommender(1)
    generator.train()
    taste.phi.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    personal_designs(generator, discriminator, taste, [0], settings=SETTINGS)
    assert generator.training
    assert taste.phi.training
    assert all(parameter.requires_grad for parameter in taste.phi.parameters())
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())


def test_the_error_for_an_unknown_class_names_the_class() -> None:
    with pytest.raises(ValueError, match=r"classes \[7\] asked for; the generator knows 0 to 2"):
        personal_designs(*networks(), recommender(), [0, 7], settings=SETTINGS)


def test_a_product_that_the_generator_can_draw_is_approximated_and_restyled_for_each_user() -> None:
    generator, discriminator = networks()
    with torch.no_grad():
        z = torch.randn(2, 8, generator=torch.Generator().manual_seed(7)) * 0.5
        x = generator(z, torch.tensor([0, 2]))
    products = ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    labels, taste = np.array([0, 2]), recommender()
    settings = replace(SETTINGS, approximation_steps=60)
    found = restyle(generator, discriminator, taste, products, labels, settings=settings)
    short = restyle(
        generator, discriminator, taste, products, labels, settings=replace(settings, approximation_steps=1)
    )
    assert (found.distance < 0.5 * short.distance).all()
    gap = np.abs(found.approximation.astype(int) - products.astype(int)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found.distance, gap, atol=0.5)
    assert found.pictures.shape == (2, 3, 5, 64, 64, 3)
    assert found.z.shape == (2, 3, 8)
    assert set(found.start) <= {0}
    for user in range(3):  # the same beginning for all, then each their own way
        assert np.array_equal(found.pictures[:, user, 0], found.approximation)
    assert (found.shown_score[..., -1] > found.shown_score[..., 0]).all()
    own = picture_features(taste, products) @ taste.theta.numpy().T
    np.testing.assert_allclose(found.product_score, own, rtol=1e-5)


def test_a_product_of_an_unknown_class_is_refused() -> None:
    products = np.zeros((2, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"classes \[3\]; the generator knows 0 to 2"):
        restyle(*networks(), recommender(), products, np.array([0, 3]), settings=SETTINGS)


def test_a_strip_holds_its_pictures_unchanged_and_survives_as_png() -> None:
    pictures = np.random.default_rng(0).integers(0, 200, (3, 8, 8, 3), dtype=np.uint8)
    sheet = picture_grid.strip(pictures)
    for place, picture in enumerate(pictures):
        assert np.array_equal(sheet[2:10, 2 + 10 * place : 10 + 10 * place], picture)
    labelled = picture_grid.grid(pictures[:, None], row_labels=("a", "b", "c"))
    assert labelled.shape[1] > 12
    data = torch.frombuffer(bytearray(picture_grid.png_bytes(labelled)), dtype=torch.uint8)
    decoded = decode_image(data)
    assert np.array_equal(decoded.permute(1, 2, 0).numpy(), labelled)


@pytest.mark.parametrize(("field", "value"), [("eta", -1), ("steps", 0), ("best", 0), ("lr", 0)])
def test_the_error_for_an_invalid_setting_names_it(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(SETTINGS, **{field: value})  # type: ignore[arg-type]
