"""Which of torch's two libraries computes a large layer on a CPU: oneDNN, which convolves, or MKL, which multiplies.

torch goes by the name of the layer. oneDNN brings a kernel into an order of its own at every call: where that is much
larger than what it convolves, as in the inner levels of Stable Diffusion, this takes longer than the arithmetic, and a
matrix product takes the kernel as it lies. MKL in turn leaves half of an AMD processor's arithmetic unused: where a
linear layer has enough to do, it is a convolution of 1 x 1 kernels, a row a place. See benchmarks/README.md.
"""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

LARGE = 10_000_000
"""Numbers of a kernel from which on the product pays; from 1280 to 1280 channels it has 14.7 million."""
SMALL = 256
"""Places of all results of a batch together up to which it pays."""
ROWS, MULTIPLICATIONS = 128, 10_000_000
"""Of a linear layer, the least from which on the convolution pays."""


def choose_library(module: nn.Module) -> None:
    """Let the large layers in a module be computed by the library that is quicker at them; no weight changes."""
    for part in module.modules():
        if type(part) is nn.Conv2d and part.weight.numel() >= LARGE and is_plain(part):
            part.forward = partial(convolve, part)  # type: ignore[method-assign]
        if type(part) is nn.Linear:
            part.forward = partial(multiply, part)  # type: ignore[method-assign]


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


def multiply(linear: nn.Linear, vectors: Tensor) -> Tensor:
    """(..., C) to (..., D), differentiable: of many rows a picture (1, C, 1, rows), which lies in memory as they do."""
    rows = math.prod(vectors.shape[:-1])
    if rows < ROWS or rows * linear.weight.numel() < MULTIPLICATIONS:
        return nn.Linear.forward(linear, vectors)
    picture = vectors.reshape(1, 1, rows, -1).permute(0, 3, 1, 2)
    convolved = F.conv2d(picture, linear.weight[:, :, None, None], linear.bias)
    return convolved.permute(0, 2, 3, 1).reshape(*vectors.shape[:-1], -1)
