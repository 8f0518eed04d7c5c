"""How a CPU does a large layer changes nothing but the time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advdm.models import cpu
from advdm.models.cpu import convolve_in_parts, convolve_rows, quicken
from advdm.models.latent_diffusion import LatentDiffusion
from tests.tiny import tiny_pipeline


@pytest.fixture
def convolutions(monkeypatch):
    """The kernels that F.conv2d was given; every layer is large, but for linear ones of one row."""
    kernels = []
    conv2d = F.conv2d

    def convolve(pictures, kernel, *given, **named):
        kernels.append(kernel)
        return conv2d(pictures, kernel, *given, **named)

    for name, least in (("PART", 1), ("MIN_ROWS", 2), ("MIN_MULTIPLICATIONS", 1), ("MIN_NUMBERS", 1)):
        monkeypatch.setattr(cpu, name, least)
    monkeypatch.setattr(cpu, "is_amd", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(F, "conv2d", convolve)
    return kernels


def assert_same(layer, by_us, given):
    wanted, found = layer(given), by_us(layer, given)
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(wanted)
    for mine, theirs in zip(
        *(torch.autograd.grad(y, (given, layer.weight), pull) for y in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    return found


@pytest.mark.parametrize(("part", "calls"), ((1, 7), (45, 7), (3 * 45, 3), (7 * 45, 1)))
@pytest.mark.parametrize(
    "form", ({}, {"stride": 2}, {"bias": False}, {"dilation": 2, "padding": 2}, {"padding": "same"})
)
def test_a_convolution_in_parts_has_the_same_values_and_gradients(convolutions, monkeypatch, part, calls, form):
    monkeypatch.setattr(cpu, "PART", part)
    layer = nn.Conv2d(5, 7, 3, **{"padding": 1} | form)
    assert_same(layer, convolve_in_parts, torch.randn(2, 5, 4, 6, requires_grad=True))
    assert len(convolutions) == 1 + calls, "the layer's own, and ours"


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize(("shape", "calls"), (((2, 7, 5), 3), ((3, 5), 3), ((2, 3, 4, 5), 3), ((1, 5), 0)))
def test_a_convolution_of_rows_has_the_same_values_and_gradients(convolutions, monkeypatch, shape, calls, bias):
    monkeypatch.setattr(cpu, "PART", 2 * 5)
    found = assert_same(nn.Linear(5, 6, bias=bias), convolve_rows, torch.randn(shape, requires_grad=True))
    assert len(convolutions) == calls
    assert found.is_contiguous(), "nothing that comes after it has to copy"


def test_onednn_convolves_rows_as_it_stands():
    """With the real thresholds, on the least that reaches them."""
    if torch.get_num_threads() == 1 or not torch.backends.mkldnn.is_available():
        pytest.skip("needs two threads and oneDNN")
    layer, vectors = nn.Linear(161, 512), torch.randn(1, cpu.MIN_ROWS, 161, requires_grad=True)
    with torch.profiler.profile() as seen:
        assert_same(layer, convolve_rows, vectors)
    assert any(event.key == "aten::mkldnn_convolution" for event in seen.key_averages())


@pytest.mark.parametrize(("name", "least"), (("MIN_ROWS", 4), ("MIN_MULTIPLICATIONS", 4 * 30), ("MIN_NUMBERS", 4 * 5)))
def test_small_linear_layers_are_left_alone(convolutions, monkeypatch, name, least):
    layer = nn.Linear(5, 6)
    quicken(layer)
    monkeypatch.setattr(cpu, name, least)
    layer(torch.randn(3, 5))
    assert not convolutions
    layer(torch.randn(4, 5))
    assert convolutions


def test_linear_layers_are_left_alone_on_one_thread_and_on_other_processors(convolutions, monkeypatch):
    layer, other = nn.Linear(5, 6), nn.Linear(5, 6)
    quicken(layer)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    layer(torch.randn(4, 5))
    monkeypatch.setattr(cpu, "is_amd", lambda: False)
    quicken(other)
    assert not convolutions and "forward" not in vars(other)


class OwnLinear(nn.Linear):
    """As a library's that quantises."""


class OwnConvolution(nn.Conv2d):
    """As a library's that adapts."""


@pytest.mark.parametrize(
    "other",
    (
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        OwnConvolution(4, 4, 3),
        OwnLinear(4, 4),
    ),
)
def test_other_layers_are_left_alone(convolutions, other):
    quicken(other)
    assert "forward" not in vars(other)


def test_small_kernels_are_left_alone(monkeypatch):
    layer = nn.Conv2d(4, 4, 3, padding=1)
    monkeypatch.setattr(cpu, "PART", layer.weight.numel())
    quicken(layer)
    assert "forward" not in vars(layer)


def test_a_denoiser_says_the_same(tiny, convolutions):
    other = LatentDiffusion(tiny_pipeline(), "other")
    draw = torch.randn(1, 4, 8, 8), torch.tensor([300]), torch.randn(1, 4, 8, 8), tiny.embed("a painting")
    error = other.noise_error(*draw)
    assert {kernel.shape[2:] for kernel in convolutions} == {(1, 1), (3, 3)}
    assert other.unet.state_dict().keys() == tiny.unet.state_dict().keys()
    torch.testing.assert_close(error, tiny.noise_error(*draw))
