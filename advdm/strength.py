"""The epsilon of a strength: the largest at which a copy should be no more visible than the strength says.

    epsilon = max {e: visibility(x, x + pattern * e * share) >= STRENGTHS[strength]},   1 <= e <= MOST_EPSILON

The pattern stands for that of an attack, which would take too long to try: blobs of its size, on all axes at once.
"""

import torch
from torch import Tensor

from advdm.budget import Share, whole_levels
from advdm.paintings import Levels, is_grey
from advdm.settings import MOST_EPSILON
from advdm.visibility import bands, jod_between, tiles

GRAIN = 20 / 128
"""Waves of the attack's pattern across a painting's short side, for each pixel of the model's: measured on atelier."""
HARDNESS = 1.5
"""Of the pattern's edges: with it the presets come out as visible as asked, by ColorVideoVDP, after 25 steps on twelve
training paintings (benchmarks/visibility.py)."""
START = 20
"""The epsilon that is tried first."""
GROWTH = 1.4


def epsilon_for(levels: Levels, share: Share, jod: float, size: int, colour: Tensor) -> int:
    """The largest epsilon, 1 to 64 levels, at which an attack should leave a painting at `jod` or above; else 1.

    levels (H, W, 3) uint8; share (H, W), that of epsilon that each pixel may use; size: the model's side in
    pixels; colour: the axes that the attack moves along, `torch.eye(3)` for red, green and blue by themselves. The
    attack is imitated by a seeded pattern of its spectrum, on all axes at once as it does, within epsilon * share.
    """
    pixels = tiles(levels)
    axes = torch.ones(3) if is_grey(levels) else colour.sum(1)
    limits = tiles(whole_levels(share, MOST_EPSILON)[..., None])  # rounded as finely as can be
    step = limits * _pattern(limits.shape, GRAIN * size / min(levels.shape[:2])) * axes.view(3, 1, 1)
    original = list(bands(pixels))

    # What is seen grows about as epsilon ** GROWTH, so each try points at the next: mostly there are three, where
    # halving the range takes six. low passes, high does not.
    low, high, epsilon = 0, MOST_EPSILON + 1, START
    while high - low > 1:
        epsilon = min(max(epsilon, low + 1), high - 1)
        changed = (pixels * 255 + (epsilon * step).round()).clamp(0, 255) / 255
        seen = 10 - jod_between(original, changed)
        low, high = (epsilon, high) if seen <= 10 - jod else (low, epsilon)
        epsilon = int(epsilon * max(0, (10 - jod) / seen) ** (1 / GROWTH)) if seen else high
    return max(1, low)


def _pattern(shape: torch.Size, frequency: float) -> Tensor:
    """Blobs in [-1, 1], most of them near an end, of so many waves a pixel: a difference of Gaussians, of noise."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.fft.fftfreq(shape[-2])[:, None], torch.fft.rfftfreq(shape[-1])
    squares = (rows**2 + columns**2) / frequency**2
    # Most passes where squares is 1.
    passed = torch.exp(-0.603 * squares) - torch.exp(-0.603 * 2.56 * squares)
    blobs = torch.fft.irfft2(torch.fft.rfft2(noise) * passed, s=shape[-2:])
    pattern: Tensor = (HARDNESS * blobs / blobs.std()).clamp(-1, 1)
    return pattern
