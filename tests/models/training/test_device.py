"""A run gets the device that it asks for, or a clear error."""

import pytest
import torch

from models.training import device


def test_auto_takes_the_best_available_device() -> None:
    assert device.resolve("auto").type == device.available()[0]
    assert device.resolve("cpu") == torch.device("cpu")


def test_the_error_for_cuda_without_a_gpu_lists_the_devices_and_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"'cuda' was asked for.*this machine offers .*cpu.*choose auto"):
        device.resolve("cuda")


def test_a_gpu_index_beyond_the_last_one_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("cuda:1") == torch.device("cuda:1")
    with pytest.raises(RuntimeError, match=r"has 2 GPU\(s\), cuda:0 to cuda:1"):
        device.resolve("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:1", "cuda:x"])
def test_the_error_for_an_unknown_name_lists_the_allowed_ones(name: str) -> None:
    with pytest.raises(ValueError, match="auto, cuda, mps, cpu"):
        device.resolve(name)


@pytest.mark.parametrize(("able", "chosen"), [({}, "float32"), ({"avx512_bf16": True}, "bfloat16")])
def test_auto_is_bfloat16_on_a_cpu_that_multiplies_in_it(monkeypatch, able, chosen) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    cpu = torch.device("cpu")
    assert device.precision("auto", cpu) == chosen
    assert device.precision("float32", cpu) == "float32", "what is asked for wins"
    with device.autocast("auto", cpu):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, chosen)
