"""Which library computes a layer changes nothing but the time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advdm import cpu
from advdm.cpu import choose_library, convolve, multiply
from advdm.model import LatentDiffusion
from tests.tiny import tiny_pipeline


@pytest.fixture
def patches_taken(monkeypatch):
    """How often a picture was cut into patches; every kernel counts as large."""
    taken = []
    unfold = F.unfold
    monkeypatch.setattr(cpu, "LARGE", 1)
    monkeypatch.setattr(F, "unfold", lambda *given, **named: taken.append(1) or unfold(*given, **named))
    return taken


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("stride", (1, 2))
@pytest.mark.parametrize(("shape", "by_product"), (((2, 5, 4, 7), 1), ((1, 5, 1, 1), 1), ((5, 5, 16, 16), 0)))
def test_the_same_values_and_gradients(monkeypatch, patches_taken, shape, by_product, stride, bias):
    monkeypatch.setattr(cpu, "SMALL", 256 // stride**2)  # the same pictures in either stride
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
    choose_library(other)
    assert torch.equal(other(pictures), wanted) and not patches_taken


def test_small_kernels_are_left_alone(monkeypatch):
    kernel = nn.Conv2d(4, 4, 3, padding=1)
    monkeypatch.setattr(cpu, "LARGE", kernel.weight.numel() + 1)
    choose_library(kernel)
    assert "forward" not in vars(kernel)


@pytest.fixture
def convolutions(monkeypatch):
    """How often something was convolved by name; every linear layer is large, those of one row excepted."""
    taken = []
    conv2d = F.conv2d
    monkeypatch.setattr(cpu, "ROWS", 2)
    monkeypatch.setattr(cpu, "MULTIPLICATIONS", 1)
    monkeypatch.setattr(F, "conv2d", lambda *given, **named: taken.append(1) or conv2d(*given, **named))
    return taken


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize(("shape", "by_convolution"), (((2, 7, 5), 1), ((3, 5), 1), ((2, 3, 4, 5), 1), ((1, 5), 0)))
def test_a_linear_layer_has_the_same_values_and_gradients(convolutions, shape, by_convolution, bias):
    plain = nn.Linear(5, 6, bias=bias)
    vectors = torch.randn(shape, requires_grad=True)
    wanted, found = plain(vectors), multiply(plain, vectors)
    assert len(convolutions) == by_convolution
    torch.testing.assert_close(found, wanted)
    assert found.is_contiguous(), "nothing that comes after it has to copy"
    pull = torch.randn_like(wanted)
    for mine, theirs in zip(
        *(torch.autograd.grad(y, (vectors, plain.weight), pull) for y in (found, wanted)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_small_linear_layers_are_left_alone(convolutions, monkeypatch):
    plain = nn.Linear(5, 6)
    choose_library(plain)
    monkeypatch.setattr(cpu, "MULTIPLICATIONS", 4 * plain.weight.numel())
    plain(torch.randn(3, 5))
    assert not convolutions
    plain(torch.randn(4, 5))
    assert convolutions


def test_layers_with_a_forward_of_their_own_keep_it():
    class Own(nn.Linear):
        def forward(self, vectors):
            return vectors

    choose_library(own := Own(5, 5))
    assert "forward" not in vars(own)


def test_a_denoiser_says_the_same(tiny, patches_taken):
    other = LatentDiffusion(tiny_pipeline(), "other")
    draw = torch.randn(1, 4, 8, 8), torch.tensor([300]), torch.randn(1, 4, 8, 8), tiny.embed("a painting")
    error = other.noise_error(*draw)
    assert patches_taken and other.unet.state_dict().keys() == tiny.unet.state_dict().keys()
    torch.testing.assert_close(error, tiny.noise_error(*draw))
