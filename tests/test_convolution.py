"""Convolving small pictures with large kernels by a product changes nothing but the time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advdm import convolution
from advdm.convolution import convolve, multiply_large_kernels
from advdm.model import LatentDiffusion
from tests.tiny import tiny_pipeline


@pytest.fixture
def patches_taken(monkeypatch):
    """How often a picture was cut into patches; every kernel counts as large."""
    taken = []
    unfold = F.unfold
    monkeypatch.setattr(convolution, "LARGE", 1)
    monkeypatch.setattr(F, "unfold", lambda *given, **named: taken.append(1) or unfold(*given, **named))
    return taken


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("stride", (1, 2))
@pytest.mark.parametrize(("shape", "by_product"), (((2, 5, 4, 7), 1), ((1, 5, 1, 1), 1), ((5, 5, 16, 16), 0)))
def test_the_same_values_and_gradients(monkeypatch, patches_taken, shape, by_product, stride, bias):
    monkeypatch.setattr(convolution, "SMALL", 256 // stride**2)  # the same pictures in either stride
    plain = nn.Conv2d(5, 6, 3, padding=1, stride=stride, bias=bias)
    pictures = torch.randn(shape, requires_grad=True)
    wanted, found = plain(pictures), convolve(plain, pictures)
    assert len(patches_taken) == by_product
    torch.testing.assert_close(found, wanted)
    pull = torch.randn_like(wanted)
    for mine, theirs in zip(
        *(torch.autograd.grad(y, (pictures, plain.weight), pull) for y in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "other",
    (
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, stride=3),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, padding="same"),
    ),
)
def test_other_convolutions_are_left_alone(patches_taken, other):
    pictures = torch.randn(1, 4, 6, 6)
    wanted = other(pictures)
    multiply_large_kernels(other)
    assert torch.equal(other(pictures), wanted) and not patches_taken


def test_small_kernels_are_left_alone(monkeypatch):
    kernel = nn.Conv2d(4, 4, 3, padding=1)
    monkeypatch.setattr(convolution, "LARGE", kernel.weight.numel() + 1)
    multiply_large_kernels(kernel)
    assert "forward" not in vars(kernel)


def test_a_denoiser_says_the_same(tiny, patches_taken):
    other = LatentDiffusion(tiny_pipeline(), "other")
    draw = torch.randn(1, 4, 8, 8), torch.tensor([300]), torch.randn(1, 4, 8, 8), tiny.embed("a painting")
    error = other.noise_error(*draw)
    assert patches_taken and other.unet.state_dict().keys() == tiny.unet.state_dict().keys()
    torch.testing.assert_close(error, tiny.noise_error(*draw))
