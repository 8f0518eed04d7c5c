"""The large layers on a CPU, done as oneDNN, the library that torch convolves with, is quickest at them.

oneDNN brings a kernel into an order of its own at every call. In parts that fit the processor's cache that costs
little; a whole one of Stable Diffusion's inner levels, 59 MB for pictures of 8 x 8, costs more than the arithmetic.
torch multiplies with MKL, which leaves half of an AMD processor's arithmetic unused: a linear layer that has enough to
do is there a convolution with a 1 x 1 kernel, and each row a place. See benchmarks/README.md.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 4_000_000
"""Numbers of a kernel that go through oneDNN together, 16 MB in float32."""
MIN_ROWS, MIN_MULTIPLICATIONS = 128, 10_000_000
"""From which on a linear layer is quicker as a convolution."""
MIN_NUMBERS = 20_481
"""From which on torch itself has oneDNN convolve a single picture."""


def quicken(module: nn.Module) -> None:
    """Let the large layers in a module, which is on a CPU, be done as below; no weight changes."""
    amd = is_amd()
    for part in module.modules():
        # Not isinstance: a kind of layer that has a forward of its own keeps it.
        if type(part) is nn.Conv2d and part.weight.numel() > PART and can_be_parted(part):
            part.forward = partial(convolve_in_parts, part)  # type: ignore[method-assign]
        if type(part) is nn.Linear and amd:
            part.forward = partial(convolve_rows, part)  # type: ignore[method-assign]


def is_amd() -> bool:
    """Whether the processor is known to be AMD's (Linux only)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text()


def can_be_parted(convolution: nn.Conv2d) -> bool:
    return convolution.groups == 1 and convolution.padding_mode == "zeros"


def convolve_in_parts(convolution: nn.Conv2d, pictures: Tensor) -> Tensor:
    """What the convolution makes of (N, C, H, W): (N, D, h, w), differentiable."""
    form = {"stride": convolution.stride, "padding": convolution.padding, "dilation": convolution.dilation}
    return _in_parts(pictures, convolution.weight, convolution.bias, **form)


def convolve_rows(linear: nn.Linear, vectors: Tensor) -> Tensor:
    """What the linear layer makes of (..., C): (..., D), differentiable."""
    rows = math.prod(vectors.shape[:-1])
    large = rows >= MIN_ROWS and rows * linear.weight.numel() >= MIN_MULTIPLICATIONS
    # On one thread torch has MKL compute a 1 x 1 convolution.
    if not large or vectors.numel() < MIN_NUMBERS or torch.get_num_threads() == 1:
        return nn.Linear.forward(linear, vectors)
    picture = vectors.reshape(1, 1, rows, -1).permute(0, 3, 1, 2)  # channels_last, as it lies
    convolved = _in_parts(picture, linear.weight[:, :, None, None], linear.bias)
    return convolved.permute(0, 2, 3, 1).reshape(*vectors.shape[:-1], -1)


def _in_parts(pictures: Tensor, kernel: Tensor, bias: Tensor | None, **form: Any) -> Tensor:
    """F.conv2d, a part of the kernel's output channels after the other."""
    if kernel.numel() <= PART:
        return F.conv2d(pictures, kernel, bias, **form)
    count = max(1, PART // kernel[0].numel())
    kernels = kernel.split(count)
    biases = [None] * len(kernels) if bias is None else bias.split(count)
    return torch.cat([F.conv2d(pictures, *part, **form) for part in zip(kernels, biases, strict=True)], 1)
