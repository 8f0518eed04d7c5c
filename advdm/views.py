"""How the attack looks at a painting at each step: whole, or a random square of it, resized, perhaps mirrored.

    square: side = (short side) * u, u ~ U(SMALLEST_SQUARE, 1), at a random place, to size x size

Imitators train on resized pictures; an attack that looks through an antialiased resize survives it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 255
"""8-bit levels between black and white."""
SMALLEST_SQUARE = 0.5
WHOLE = 0.25
"""Share of the steps that look at the whole painting."""
MOST_SHRINK = 32
"""Times that one resize makes a picture smaller. On a card torch shrinks by at most 47; plain means do the rest."""


@dataclass(frozen=True)
class View:
    """A box on the painting, in pixels, and the (height, width) that it is resized to."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    mirrored: bool = False

    def crop(self, plane: Tensor) -> Tensor:
        """The box out of (..., H, W), without a copy."""
        return plane[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def see(self, levels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """What `look` makes of 8-bit levels (H, W, 3): (1, 3, *size) in [0, 1] on the device."""
        planes = torch.from_numpy(levels).permute(2, 0, 1)[None]
        return self.look(self.crop(planes).to(device).float() / LEVELS)

    def look(self, pixels: Tensor) -> Tensor:
        """Resize the cropped pixels (N, 3, height, width) to (N, 3, *size); differentiable, antialiased."""
        shrink = math.ceil(max(self.height / self.size[0], self.width / self.size[1]) / MOST_SHRINK)
        pixels = F.avg_pool2d(pixels, shrink, ceil_mode=True) if shrink > 1 else pixels
        seen = F.interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        return seen.flip(-1) if self.mirrored else seen


def whole_view(height: int, width: int, size: int, factor: int) -> View:
    """All of the painting in its own shape, with about as many pixels as the model's size x size."""
    scale = size / (height * width) ** 0.5
    seen = (max(1, round(height * scale / factor)) * factor, max(1, round(width * scale / factor)) * factor)
    return View(0, 0, height, width, seen)


def square_view(height: int, width: int, size: int, generator: torch.Generator) -> View:
    """A random square; half of them mirrored."""
    share, down, along, mirror = torch.rand(4, generator=generator).tolist()
    side = round(min(height, width) * (SMALLEST_SQUARE + (1 - SMALLEST_SQUARE) * share))
    top, left = round(down * (height - side)), round(along * (width - side))
    return View(top, left, side, side, (size, size), mirrored=mirror < 0.5)


def random_view(height: int, width: int, size: int, factor: int, generator: torch.Generator) -> View:
    """The whole painting once in a while, else a random square."""
    if torch.rand((), generator=generator).item() < WHOLE:
        return whole_view(height, width, size, factor)
    return square_view(height, width, size, generator)
