"""What platforms do to a picture before an imitator gets it: JPEG, resizing, a slight blur; all of it differentiable.

Pixels in and out are (N, 3, H, W) float32 in [0, 1], of any size.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from advdm.resizing import resize

Treatment = Callable[[Tensor], Tensor]

# The quantisation tables for luma and chroma at quality 50: ITU-T T.81, annex K, rows of vertical frequency.
LUMA = """
16 11 10 16 24 40 51 61    12 12 14 19 26 58 60 55    14 13 16 24 40 57 69 56      14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
CHROMA = """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99
"""
# From RGB to luma, blue difference and red difference, as JFIF has them.
YCBCR = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def jpeg(pixels: Tensor, quality: int) -> Tensor:
    """Baseline JPEG with 4:2:0 chroma at `quality` 1 to 100, as libjpeg counts it."""
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels, (0, -width % 16, 0, -height % 16), mode="replicate")
    matrix = YCBCR.to(padded)
    luma, chroma = _rounded(torch.einsum("ij,njhw->nihw", matrix, 255 * padded)).split((1, 2), 1)
    luma = _quantised(luma - 128, LUMA, quality) + 128
    chroma = _quantised(_rounded(F.avg_pool2d(chroma, 2)), CHROMA, quality)
    # Bilinear at twice the size is the triangle filter with which libjpeg brings chroma back.
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    decoded = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], 1)) / 255
    return decoded[..., :height, :width].clamp(0, 1)


def _rounded(numbers: Tensor) -> Tensor:
    """Rounded, with the gradient of what is not (straight through; Bengio et al. 2013), for its own is 0."""
    return numbers + (numbers.round() - numbers).detach()


def _quantised(planes: Tensor, table: str, quality: int) -> Tensor:
    """(N, C, H, W) planes around 0, in levels, through the rounded coefficients of their blocks of 8 x 8."""
    count, channels, height, width = planes.shape
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = torch.tensor([int(number) for number in table.split()]).reshape(8, 8)
    steps = ((base * scale + 50) / 100).floor().clamp(1, 255).to(planes)
    basis = _cosines().to(planes)
    blocks = planes.reshape(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    coefficients = steps * _rounded(basis @ blocks @ basis.T / steps)
    blocks = basis.T @ coefficients @ basis
    return blocks.transpose(3, 4).reshape(planes.shape)


def _cosines() -> Tensor:
    """The orthonormal discrete cosine transform of 8 numbers, (8, 8)."""
    frequency, place = torch.arange(8.0)[:, None], torch.arange(8.0)
    basis = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def shrink(pixels: Tensor, share: float) -> Tensor:
    """Resized to `share` in (0, 1] of each side and back, antialiased bicubic."""
    height, width = pixels.shape[-2:]
    small = (max(1, round(height * share)), max(1, round(width * share)))
    return resize(resize(pixels, small), (height, width))


def blur(pixels: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with standard deviation `sigma` in pixels."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-torch.arange(-reach, reach + 1).to(pixels).square() / (2 * sigma**2))
    weights = weights / weights.sum()
    channels = pixels.shape[1]
    padded = F.pad(pixels, (reach,) * 4, mode="replicate")
    down = F.conv2d(padded, weights.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, weights.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels).clamp(0, 1)


def random_treatment(generator: torch.Generator) -> Treatment:
    """Equally often nothing, JPEG of quality 50 to 95, 50 to 90 % of the size and back, or a blur of 0.4 to 1 pixel."""
    kind, strength = torch.rand(2, generator=generator).tolist()
    treatments: tuple[Treatment, ...] = (
        lambda pixels: pixels,
        partial(jpeg, quality=round(95 - 45 * strength)),
        partial(shrink, share=0.9 - 0.4 * strength),
        partial(blur, sigma=0.4 + 0.6 * strength),
    )
    return treatments[int(kind * len(treatments))]
