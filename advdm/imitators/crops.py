"""How a trainer looks at a painting: squares of it, resized by Pillow, half of them mirrored.

    crop 0: the largest square in the middle
    crop k: a square of side (short side) / z at a random place, z ~ U(1, ZOOM)

All become size x size by Pillow's Lanczos. None of this is the attack's own way of looking (`advdm.views`).
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

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


def crop_encoder(
    model: LatentDiffusion, paintings: Sequence[Painting], count: int, seed: int
) -> Callable[[Sequence[int]], Posterior]:
    """Posteriors (n, C, h, w) of crops by their numbers, below `count`. Each is encoded once, when first asked for."""
    pixels = crops(paintings, model.size, count, seed)

    def moments(number: int) -> Tensor:
        posterior = model.encode(pixels[number : number + 1].to(model.device))
        return torch.stack((posterior.mean, posterior.std))

    @cache
    @torch.no_grad()
    def encoded(number: int) -> Tensor:
        return model.finite(partial(moments, number))

    return lambda numbers: Posterior(*torch.cat([encoded(number) for number in numbers], 1))
