"""Convolutions of large kernels over small pictures, on a CPU.

oneDNN, which torch convolves with, brings a kernel into an order of its own at every call. Where the kernel is much
larger than what it convolves, as in the inner levels of Stable Diffusion, that takes longer than the arithmetic. A
matrix product takes the kernel as it lies.
"""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

LARGE = 10_000_000
"""Numbers of a kernel from which on the product pays; from 1280 to 1280 channels it has 14.7 million."""
SMALL = 256
"""Places of all results of a batch together up to which it pays; see benchmarks/README.md."""


def multiply_large_kernels(module: nn.Module) -> None:
    """Let the large 3 x 3 kernels in a module convolve small pictures by a product; no weight changes."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.weight.numel() >= LARGE and is_plain(part):
            part.forward = partial(convolve, part)  # type: ignore[method-assign]


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether it is what `convolve` computes: 3 x 3, at every place or every other, zeros around it, one group."""
    form = (convolution.kernel_size, convolution.padding, convolution.dilation)
    usual = form == ((3, 3), (1, 1), (1, 1)) and convolution.stride in ((1, 1), (2, 2))
    return usual and convolution.groups == 1 and convolution.padding_mode == "zeros"


def convolve(convolution: nn.Conv2d, pictures: Tensor) -> Tensor:
    """(N, C, H, W) to (N, D, h, w), differentiable: of few places kernel (D, 9 C) @ patches (9 C, N h w)."""
    stride = convolution.stride[0]
    batch, height, width = len(pictures), *(math.ceil(side / stride) for side in pictures.shape[2:])
    if batch * height * width > SMALL:
        return nn.Conv2d.forward(convolution, pictures)
    patches = F.unfold(pictures, 3, padding=1, stride=stride).transpose(0, 1).flatten(1)
    planes = convolution.weight.flatten(1) @ patches
    if convolution.bias is not None:
        planes = planes + convolution.bias[:, None]
    convolved: Tensor = planes.unflatten(1, (batch, height, width)).transpose(0, 1)
    return convolved
