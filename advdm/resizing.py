"""The antialiased bicubic resize that trainers use, as Pillow does it, with a quick way back for gradients."""

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 4
"""Pixels a side from which on a smaller picture has a middle: the kernel reaches two of them to either side."""


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) pixels in [0, 1] to (N, C, *size); antialiased bicubic, clamped, differentiable."""
    device = pixels.device
    # torch has no antialiased resize on Apple's "mps".
    pixels = pixels.cpu() if device.type == "mps" else pixels
    shrinks = all(LEAST <= few <= many for many, few in zip(pixels.shape[-2:], size, strict=True))
    resized: Tensor = (_Shrink.apply if shrinks else _interpolate)(pixels, size)
    return resized.clamp(0, 1).to(device)


def _interpolate(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)


class _Shrink(torch.autograd.Function):
    """`_interpolate` to a smaller picture, whose gradient is enlarged by `_interpolate` in turn.

    Both ways weigh a pair of pixels by the same kernel, only what they divide by differs. torch's own way back takes
    up to twice as long, and on a card it adds in no certain order, so that equal seeds would give unequal bytes.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.shape = pixels.shape[-2:]
        return _interpolate(pixels, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows, columns = (_sums(many, few) for many, few in zip(ctx.shape, gradient.shape[-2:], strict=True))
        shrinking = rows[0][:, None] * columns[0]
        enlarged = _interpolate(gradient / shrinking.to(gradient), ctx.shape)
        for axis, (_, edge) in ((-2, rows), (-1, columns)):
            edge = edge.to(gradient).reshape(-1, *[1] * (-1 - axis))
            enlarged.narrow(axis, 0, len(edge)).mul_(edge)
            enlarged.narrow(axis, enlarged.shape[axis] - len(edge), len(edge)).mul_(edge.flip(0))
        return enlarged, None


@cache
def _sums(many: int, few: int) -> tuple[Tensor, Tensor]:
    """What `_interpolate` divides by along one side, from many pixels to few, (few,), and back.

    Back it is 1 but for as many pixels at either end as the second tensor has.
    """
    scale = many / few
    shrinking = _weights(scale * (torch.arange(few) + 0.5), many, scale)
    enlarging = _weights((torch.arange(math.ceil(2 * scale)) + 0.5) / scale, few, 1)
    return shrinking, enlarging


def _weights(places: Tensor, count: int, width: float) -> Tensor:
    """The sum at each place of the cubic kernel, `width` pixels wide, over `count` pixels, the first at 0.5."""
    first = (places - 2 * width).floor() + 0.5
    pixels = first[:, None] + torch.arange(math.ceil(4 * width) + 1)
    x = (pixels - places[:, None]).abs() / width
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = torch.where(x < 1, near, far)
    return weights.where((x < 2) & (pixels > 0) & (pixels < count), 0).sum(1)
