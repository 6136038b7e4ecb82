"""The trunk of the garments' generator: EfficientNet-Lite0's own maps, whatever the precision around it."""

import torch

from models.garments.features import check_maps
from pipeline.core.images import trunks
from pipeline.core.images.scales import scales

CPU = torch.device("cpu")


def test_the_maps_are_those_of_the_network_that_gives_the_features() -> None:
    network, pictures = trunks.load(None, CPU), torch.rand(2, 3, 64, 64) * 2 - 1
    maps = scales(CPU)(pictures)
    assert [tuple(scale.shape[1:]) for scale in maps] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    check_maps(maps)
    features = network.bn2(network.conv_head(maps[-1])).mean(dim=(2, 3))
    torch.testing.assert_close(features, network(pictures), atol=1e-4, rtol=1e-3)


def test_gradients_reach_the_pictures_in_bfloat16_as_in_float32() -> None:
    trunk, pictures = scales(CPU), (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    gradients = []
    for on in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            total = sum(scale.float().square().mean() for scale in trunk(pictures))
        gradients += torch.autograd.grad(total, pictures)
    exact, rounded = (gradient.flatten() for gradient in gradients)
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.95
    assert not torch.equal(exact, rounded)


def test_the_network_of_the_features_is_left_as_it_is() -> None:
    network = trunks.load(None, CPU)
    before = [type(module) for module in network.modules()]
    scales(CPU)
    assert [type(module) for module in network.modules()] == before
