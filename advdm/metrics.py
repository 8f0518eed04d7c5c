"""How visible the change is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

from advdm.paintings import Painting
from advdm.protection import Protected

STRIP = 1024
"""Rows that are compared at a time, so that memory stays bounded on large paintings."""


@dataclass(frozen=True)
class Comparison:
    """max_change in 8-bit levels; psnr in dB (infinite for equal pictures); ssim in [-1, 1]."""

    max_change: int
    psnr: float
    ssim: float


def compare(painting: Painting, protected: Painting | Protected) -> Comparison:
    """Compare a painting with its protected copy, as computed or as read back from its file; same size assumed."""
    return Comparison(
        max_change=max(int(np.abs(a - b).max()) for a, b in _strips(painting.levels, protected.levels)),
        psnr=psnr(painting.levels, protected.levels),
        ssim=ssim(painting.levels, protected.levels),
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two (H, W, 3) uint8 pictures."""
    squares = sum(float(np.square(x - y).sum()) for x, y in _strips(a, b))
    return math.inf if squares == 0 else 10 * math.log10(255**2 * a.size / squares)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004: Gaussian window, sigma 1.5) of two (H, W, 3) uint8 pictures."""
    values, weights = [], []
    for x, y in _strips(a, b):
        values.append(
            structural_similarity(
                x, y, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
        )
        weights.append(len(x))
    return float(np.average(values, weights=weights))


def _strips(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of horizontal strips as float32, of about STRIP rows each."""
    count = max(1, round(len(a) / STRIP))
    for x, y in zip(np.array_split(a, count), np.array_split(b, count), strict=True):
        yield x.astype(np.float32), y.astype(np.float32)
