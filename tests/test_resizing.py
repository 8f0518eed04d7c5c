"""The resize that everything is seen through: torch's own there, and a way back that must equal torch's."""

import pytest
import torch
import torch.nn.functional as F

from advdm.resizing import resize

SIZES = (
    ((500, 606), (128, 128)),
    ((401, 300), (144, 112)),
    ((130, 129), (128, 128)),
    ((128, 128), (128, 128)),
    ((50, 40), (4, 5)),
    ((16, 300), (16, 24)),
    ((90, 90), (128, 128)),  # larger, and larger one way only: torch's own way back
    ((90, 300), (128, 64)),
    ((40, 40), (1, 3)),
)


@pytest.mark.parametrize(("large", "small"), SIZES)
def test_the_gradient_is_that_of_torch(large, small):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((2, 3, *large), generator=generator).round().requires_grad_()  # overshoots, and is clamped
    pull = torch.randn((2, 3, *small), generator=generator)
    resized = F.interpolate(pixels, small, mode="bicubic", antialias=True, align_corners=False)
    wanted = torch.autograd.grad((resized.clamp(0, 1) * pull).sum(), pixels)[0]
    seen = resize(pixels, small)
    gradient = torch.autograd.grad((seen * pull).sum(), pixels)[0]
    assert torch.equal(seen, resized.clamp(0, 1))
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
