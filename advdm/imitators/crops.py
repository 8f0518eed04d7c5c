"""How a trainer looks at a painting: squares of it, resized by Pillow, half of them mirrored.

    crop 0: the largest square in the middle
    crop k: a square of side (short side) / z at a random place, z ~ U(1, ZOOM)

All become size x size by Pillow's Lanczos. None of this is the attack's own way of looking (`advdm.views`).
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advdm.models import LatentDiffusion, Posterior
from advdm.paintings import Levels, Painting

ZOOM = 2.0


def crops(paintings: Sequence[Painting], size: int, count: int, seed: int) -> Tensor:
    """`count` crops taken in turn from the paintings, at least one of each: (n, 3, size, size) in [0, 1]."""
    rng = np.random.default_rng(seed)
    cut = []
    for i in range(max(count, len(paintings))):
        painting = paintings[i % len(paintings)]
        centred = i < len(paintings)
        zoom, across, down, mirror = (1, 0.5, 0.5, 1) if centred else (rng.uniform(1, ZOOM), *rng.random(3))
        width, height = painting.size
        side = min(width, height) / zoom
        left, top = across * (width - side), down * (height - side)
        square = square_of(painting.levels, left, top, side, size)
        cut.append(square[:, ::-1] if mirror < 0.5 else square)
    return torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 255


def square_of(levels: Levels, left: float, top: float, side: float, size: int) -> Levels:
    """The square with its corner at (left, top), as (size, size, 3)."""
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(levels).resize((size, size), Image.Resampling.LANCZOS, box))


@torch.no_grad()
def encode_crops(model: LatentDiffusion, paintings: Sequence[Painting], count: int, seed: int) -> Posterior:
    """The posteriors of `count` crops, (n, C, h, w). Each crop is encoded once and drawn from at every step."""

    def moments(pixels: Tensor) -> Tensor:
        posterior = model.encode(pixels.to(model.device))
        return torch.stack((posterior.mean, posterior.std))

    pixels = crops(paintings, model.size, count, seed)
    parts = [model.finite(partial(moments, one)) for one in pixels.split(1)]
    return Posterior(*torch.cat(parts, 1))
