"""The antialiased bicubic resize that trainers use, as Pillow does it, with a quick way back for gradients."""

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) pixels in [0, 1] to (N, C, *size); antialiased bicubic, clamped, differentiable."""
    device = pixels.device
    # Not every torch has the antialiased one on Apple's "mps".
    pixels = pixels.cpu() if device.type == "mps" else pixels
    resized: Tensor = _Resize.apply(pixels, size)  # type: ignore[no-untyped-call]
    return resized.clamp(0, 1).to(device)


def _interpolate(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False)


class _Resize(torch.autograd.Function):
    """`_interpolate`, whose gradient goes back by `_interpolate` in turn.

    Both ways weigh a pair of pixels by the same kernel; only the sums that they divide by differ. torch's own way back
    takes up to twice as long, and on a card it adds in no certain order, so that equal seeds would give unequal bytes.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.size = pixels.shape[-2:]
        return _interpolate(pixels, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        sides = tuple(zip(ctx.size, gradient.shape[-2:], strict=True))
        rows, columns = (_sums(*side).to(gradient) for side in sides)
        back = _interpolate(gradient / (rows[:, None] * columns), ctx.size)
        for axis, (before, after) in zip((-2, -1), sides, strict=True):
            sums = _sums(after, before).to(gradient)
            for part in _uneven(before, after):
                back.transpose(axis, -1)[..., part] *= sums[part]
        return back, None


@lru_cache(maxsize=64)  # a painting seen whole comes again and again, a random square hardly ever
def _sums(source: int, target: int) -> Tensor:
    """Along one side, the sums of the kernel over the source's pixels at each of the target's: (target,)."""
    scale = source / target
    width = max(scale, 1)
    places = scale * (torch.arange(target) + 0.5)
    pixels = (places - 2 * width).floor()[:, None] + torch.arange(math.ceil(4 * width) + 1) + 0.5
    x = (pixels - places[:, None]).abs() / width
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    weights = torch.where(x < 1, near, far)
    return weights.where((x < 2) & (pixels > 0) & (pixels < source), 0).sum(1)


def _uneven(before: int, after: int) -> list[slice]:
    """Where `_sums(after, before)` are not 1: near the ends only, if a side was shrunk; large pictures gain by that."""
    reach = math.ceil(2 * before / after)
    return [slice(reach), slice(-reach, None)] if before >= max(after, 2 * reach) else [slice(None)]
