"""How visible the change is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from advdm.judge import LEAST_SIDE, shared_judge
from advdm.paintings import Painting
from advdm.protection import Protected

STRIP = 1024
"""Rows that are compared at a time, so that memory stays bounded on large paintings."""
SQUARE, ACROSS = 224, 3
"""A perceptual distance is that of squares of so many pixels, the side that the judge was trained at, of which so many
lie across the picture and so many down: it takes about a second whatever the size."""

COARSE = 12
"""Pixels a side to which `likeness` reduces pictures: composition stays, and what any treatment does to it goes."""


@dataclass(frozen=True)
class Comparison:
    """max_change in 8-bit levels; psnr in dB (infinite for equal pictures); ssim in [-1, 1]; perceptual in [0, 4]."""

    max_change: int
    psnr: float
    ssim: float
    perceptual: float


def compare(painting: Painting, protected: Painting | Protected) -> Comparison:
    """Compare a painting with its protected copy, as computed or as read back from its file; same size assumed."""
    return Comparison(
        max_change=max(int(np.abs(a - b).max()) for a, b in _strips(painting.levels, protected.levels)),
        psnr=psnr(painting.levels, protected.levels),
        ssim=ssim(painting.levels, protected.levels),
        perceptual=perceptual(painting.levels, protected.levels),
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


def perceptual(a: np.ndarray, b: np.ndarray) -> float:
    """How different two (H, W, 3) uint8 pictures look at 100 %, to an independent network: `advdm.judge`; 0 for equal.

    The mean over squares that are spread evenly, and overlap or leave gaps as the size will have it.
    """
    x, y = (torch.from_numpy(_squares(levels)).permute(0, 3, 1, 2).float() / 255 for levels in (a, b))
    return float(shared_judge().perceptual_distance(x, y).mean())


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation in [-1, 1] of two pictures of any size seen from afar, (H, W, 3) uint8 each; 1 for two plain ones.

    Of atelier's 206 training paintings and the examples, two different ones reached 0.5 in one of a hundred pairs, and
    one with a tenth of its height and width cut away fell to 0.64 at worst.
    """
    x, y = (_from_afar(levels) for levels in (a, b))
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / scale if scale else float(np.allclose(x, y))


def _from_afar(levels: np.ndarray) -> np.ndarray:
    """COARSE x COARSE x 3 numbers, the mean of each row taken away: a sky above a field is no likeness."""
    reduced = Image.fromarray(levels).resize((COARSE, COARSE), Image.Resampling.BOX)
    numbers: np.ndarray = np.asarray(reduced, np.float64)
    numbers = numbers - numbers.mean(1, keepdims=True)
    return numbers.ravel()


def _squares(levels: np.ndarray) -> np.ndarray:
    """At most ACROSS x ACROSS squares (n, h, w, 3) of SQUARE pixels, less where the picture is smaller."""
    height, width = levels.shape[:2]
    h, w = min(SQUARE, height), min(SQUARE, width)
    tops, lefts = (
        np.linspace(0, side - part, min(ACROSS, math.ceil(side / part))).round().astype(int)
        for side, part in ((height, h), (width, w))
    )
    squares = np.stack([levels[top : top + h, left : left + w] for top in tops for left in lefts])
    missing = [(0, max(0, LEAST_SIDE - side)) for side in (h, w)]
    return np.pad(squares, ((0, 0), *missing, (0, 0)), mode="edge")


def _strips(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of horizontal strips as float32, of about STRIP rows each."""
    count = max(1, round(len(a) / STRIP))
    for x, y in zip(np.array_split(a, count), np.array_split(b, count), strict=True):
        yield x.astype(np.float32), y.astype(np.float32)
