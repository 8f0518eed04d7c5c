"""How an imitator looks at a painting before training on it: whole or a square of it, resized, perhaps mirrored.

Trainers never see the painting's own pixels; an attack that looks through the same antialiased resize survives it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advdm.resizing import resize

LEVELS = 255
"""8-bit levels between black and white."""
SMALLEST_SQUARE = 0.5
"""Random squares are at least this share of the painting's short side."""
MOST_SHRINK = 32
"""Times that one resize makes a picture smaller; what is left to do, plain means of squares of pixels do before."""


@dataclass(frozen=True)
class View:
    """A box on the painting, in pixels, and the (height, width) that it is resized to."""

    top: int
    left: int
    height: int
    width: int
    target: tuple[int, int]
    mirrored: bool = False

    def crop(self, plane: Tensor) -> Tensor:
        """The box out of (..., H, W), without a copy."""
        return plane[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def see(self, levels: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """What `look` makes of 8-bit levels (H, W, 3): (1, 3, *target) in [0, 1] on the device.

        No more of a painting than the box becomes float.
        """
        planes = torch.from_numpy(levels).permute(2, 0, 1)[None]
        return self.look(self.crop(planes).to(device).float() / LEVELS)

    def look(self, pixels: Tensor) -> Tensor:
        """Resize the cropped pixels (N, 3, height, width) to (N, 3, *target); differentiable, antialiased."""
        # On a card torch has no way to shrink by more than 47.
        shrink = math.ceil(max(self.height / self.target[0], self.width / self.target[1]) / MOST_SHRINK)
        pixels = F.avg_pool2d(pixels, shrink, ceil_mode=True) if shrink > 1 else pixels
        seen = resize(pixels, self.target)
        return seen.flip(-1) if self.mirrored else seen


def whole_view(height: int, width: int, size: int, factor: int) -> View:
    """All of the painting in its own shape, with about as many pixels as the model's size x size."""
    scale = size / (height * width) ** 0.5
    target = (max(1, round(height * scale / factor)) * factor, max(1, round(width * scale / factor)) * factor)
    return View(0, 0, height, width, target)


def square_view(height: int, width: int, size: int, generator: torch.Generator) -> View:
    """A random square, half of the short side up to all of it, at the model's size; half of them mirrored."""
    share, down, along, mirror = torch.rand(4, generator=generator).tolist()
    side = round(min(height, width) * (SMALLEST_SQUARE + (1 - SMALLEST_SQUARE) * share))
    top, left = round(down * (height - side)), round(along * (width - side))
    return View(top, left, side, side, (size, size), mirrored=mirror < 0.5)


def random_view(height: int, width: int, size: int, factor: int, generator: torch.Generator) -> View:
    """The whole painting every fourth time, else a random square."""
    if torch.rand((), generator=generator).item() < 0.25:
        return whole_view(height, width, size, factor)
    return square_view(height, width, size, generator)
