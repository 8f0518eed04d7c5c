"""What `textural`, `mist` and `ace` drive a painting towards: a pattern of its own size, or another picture."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Levels, Painting
from advdm.views import LEVELS, View

DIAMONDS = 8
"""Of the pattern, along the short side of the painting."""
REMEMBERED = 16
"""Views whose latents are kept: the whole painting comes back every few steps, a random square hardly ever."""

Target = Callable[[View], Tensor]
"""The latent (1, C, h, w) of the target through a view of the painting."""


def pattern(height: int, width: int) -> Levels:
    """Black and white diamonds, edge to edge: (height, width, 1) uint8.

    As far from any painting as a picture can be, and of the same scale in every view.
    """
    period = max(2, min(height, width) // DIAMONDS)
    # Both halves of a diamond rise and fall evenly, so that as much is black as white.
    down, across = (np.abs(np.arange(side, dtype=np.int16) % period * 2 - period) for side in (height, width))
    return np.where(np.add.outer(down, across) < period, np.uint8(255), np.uint8(0))[..., None]


def target_levels(painting: Painting, picture: Painting | None) -> Levels:
    """The target at the painting's size, (H, W, 1 or 3) uint8: the picture stretched to it, or the pattern."""
    width, height = painting.size
    if picture is None:
        return pattern(height, width)
    return np.array(Image.fromarray(picture.levels).resize((width, height), Image.Resampling.BICUBIC))


def target_latents(levels: Levels, model: LatentDiffusion) -> Target:
    """Encode (H, W, 1 or 3) levels as each view shows them, without gradient; of the posterior the mean."""
    planes = torch.from_numpy(levels).permute(2, 0, 1)[None].to(model.device)

    # By dtype too, because a step that ran out of half precision's range is redone in float32.
    @lru_cache(maxsize=REMEMBERED)
    @torch.no_grad()
    def encoded(view: View, dtype: torch.dtype) -> Tensor:
        pixels = view.crop(planes).float() / LEVELS
        return model.encode(view.look(pixels.expand(-1, 3, -1, -1))).mean

    return lambda view: encoded(view, model.dtype)
