"""The resize that everything is seen through: torch's own there, and a way back of ours that must equal torch's."""

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
    ((90, 90), (128, 128)),
    ((90, 300), (128, 64)),
    ((40, 40), (1, 3)),
    ((1, 3), (7, 2)),
    ((5, 9), (11, 400)),
)


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_the_gradient_is_that_of_torch(before, after):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((2, 3, *before), generator=generator).round().requires_grad_()  # overshoots, and is clamped
    pull = torch.randn((2, 3, *after), generator=generator)
    resized = F.interpolate(pixels, after, mode="bicubic", antialias=True, align_corners=False)
    wanted = torch.autograd.grad((resized.clamp(0, 1) * pull).sum(), pixels)[0]
    seen = resize(pixels, after)
    gradient = torch.autograd.grad((seen * pull).sum(), pixels)[0]
    assert torch.equal(seen, resized.clamp(0, 1))
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_the_way_back_is_not_that_of_torch():
    """Which is slower, and on a card not the same each time."""
    pixels = torch.rand(1, 3, 20, 20).requires_grad_()
    names, waiting = set(), [resize(pixels, (8, 30)).grad_fn]
    while waiting:
        function = waiting.pop()
        names.add(type(function).__name__)
        waiting += [earlier for earlier, _ in function.next_functions if earlier]
    assert names == {"ClampBackward1", "_ResizeBackward", "AccumulateGrad"}
