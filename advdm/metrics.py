"""How visible a change is, and how wrong a model is about a painting."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from skimage.metrics import mean_squared_error, structural_similarity
from torch import Tensor

from advdm.models import LatentDiffusion
from advdm.paintings import Levels, Painting
from advdm.settings import PROMPT
from advdm.visibility import visibility

STRIP = 1024
"""Rows that are compared at a time, so that memory stays bounded on large paintings."""
COARSE = 12
"""Pixels a side to which `likeness` reduces pictures: composition stays, and what any treatment does to it goes."""
DRAWS, DRAW_SEED = 64, 2**63
"""Timesteps and noises of the noise error; a seed that no attack accepts."""


@dataclass(frozen=True)
class Comparison:
    """max_change in 8-bit levels; visibility in JOD, 10 for equal; psnr in dB, infinite for equal; ssim in [-1, 1]."""

    max_change: int
    visibility: float
    psnr: float
    ssim: float


def compare(painting: Painting, protected: Painting) -> Comparison:
    """Compare a painting with its protected copy, as computed or as read back from its file; same size assumed."""
    a, b = painting.levels, protected.levels
    return Comparison(max_change(a, b), visibility(a, b), psnr(a, b), ssim(a, b))


def max_change(a: Levels, b: Levels) -> int:
    """The largest change of any channel of any pixel, in 8-bit levels."""
    return max(int(np.abs(x - y).max()) for x, y, _ in _strips(a, b))


def psnr(a: Levels, b: Levels) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 pictures."""
    error = sum(share * float(mean_squared_error(x, y)) for x, y, share in _strips(a, b))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: Levels, b: Levels) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window, sigma 1.5) of two (H, W, 3) uint8 pictures."""
    total = 0.0
    for x, y, share in _strips(a, b):
        total += share * structural_similarity(
            x, y, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    return float(total)


def likeness(a: Levels, b: Levels) -> float:
    """Correlation in [-1, 1] of two pictures of any size seen from afar, (H, W, 3) uint8 each; 1 for two plain ones.

    Of 214 paintings two different ones reached 0.5 in one of a hundred pairs; one with a tenth of its height and width
    cut away fell to 0.64 at worst.
    """
    x, y = (_from_afar(levels) for levels in (a, b))
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale else float(np.allclose(x, y))


@torch.no_grad()
def noise_error(painting: Painting, model: LatentDiffusion) -> float:
    """The model's own error on the whole painting, a mean over DRAWS timesteps and noises.

    These depend on the painting's shape alone: a painting and its copy get the same.
    """

    def errors() -> Tensor:
        generator = torch.Generator().manual_seed(DRAW_SEED)
        mean = model.encode(model.see(painting.levels)).mean
        timesteps = torch.randint(model.timesteps, (DRAWS,), generator=generator)
        noise = torch.randn((DRAWS, *mean.shape[1:]), generator=generator)
        chunks = zip(timesteps.split(model.at_once), noise.split(model.at_once), strict=True)
        condition = model.embed(PROMPT)
        return torch.cat(
            [model.noise_error(mean.expand_as(n), t.to(model.device), n.to(model.device), condition) for t, n in chunks]
        )

    return model.finite(errors).mean().item()


def _from_afar(levels: Levels) -> np.ndarray:
    """COARSE x COARSE x 3 numbers, the mean of each row taken away: a sky above a field is no likeness."""
    reduced = Image.fromarray(levels).resize((COARSE, COARSE), Image.Resampling.BOX)
    numbers: np.ndarray = np.asarray(reduced, np.float64)
    numbers = numbers - numbers.mean(1, keepdims=True)
    return numbers.ravel()


def _strips(a: Levels, b: Levels) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Pairs of horizontal strips as float32, of about STRIP rows each, and the share of all rows that they hold."""
    count = max(1, round(len(a) / STRIP))
    for x, y in zip(np.array_split(a, count), np.array_split(b, count), strict=True):
        yield x.astype(np.float32), y.astype(np.float32), len(x) / len(a)
