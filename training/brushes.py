"""Brushes of the painter program: a study, surfaces to paint on, and strokes."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


@dataclass(frozen=True)
class Study:
    """What to paint: colour (n, n, 3), stroke angle (n, n) in radians; dark, light (3,), hues (k, 3)."""

    colour: Array
    angle: Array
    dark: Array
    light: Array
    hues: Array

    @property
    def size(self) -> int:
        return self.colour.shape[0]


# ---- surfaces ----


@lru_cache(maxsize=4)
def grid(n: int) -> tuple[Array, Array]:
    """Pixel centres x, y, each (n, n) in 0..1."""
    axis = (np.arange(n, dtype=np.float32) + 0.5) / n
    return np.meshgrid(axis, axis)


def noise(rng: Rng, n: int, cells: int) -> Array:
    """Smooth noise (n, n) of unit variance, `cells` bumps a side."""
    bumps = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    return cv2.resize(bumps, (n, n), interpolation=cv2.INTER_CUBIC)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur by `sigma` pixels; any number of channels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def luminance(colour: Array) -> Array:
    """Perceived lightness (...) in 0..1 of colours (..., 3)."""
    return colour @ np.float32([0.3, 0.59, 0.11])


def warp(image: Array, dx: Array, dy: Array) -> Array:
    """Image whose pixels are fetched from dx, dy pixels away."""
    x, y = grid(image.shape[0])
    n = image.shape[0]
    return cv2.remap(image, x * n - 0.5 + dx, y * n - 0.5 + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def wobble(image: Array, rng: Rng, amount: float, cells: int = 14) -> Array:
    """Image with the unsteady contours of a hand, off by about `amount` pixels."""
    n = image.shape[0]
    return warp(image, amount * noise(rng, n, cells), amount * noise(rng, n, cells))


def bristles(rng: Rng, angle: Array, cells: int, steps: int = 4, stride: float = 3.0) -> Array:
    """Furrows of a brush (n, n), about unit variance: noise smeared along the direction of the strokes."""
    furrows = noise(rng, angle.shape[0], cells)
    dx, dy = np.cos(angle), np.sin(angle)
    # Each pass doubles the reach, so a few passes make long furrows.
    for power in range(steps):
        reach = stride * 1.6**power
        furrows = 0.5 * (warp(furrows, reach * dx, reach * dy) + warp(furrows, -reach * dx, -reach * dy))
    return (furrows - furrows.mean()) / (furrows.std() + 1e-6)


def relief(height: Array, side: float, depth: float) -> Array:
    """Light and shade (n, n, 1) around 1 that a lamp at angle `side` throws on a height map (n, n)."""
    dx, dy = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3)
    return 1 + np.clip(depth * (np.cos(side) * dx + np.sin(side) * dy), -0.45, 0.45)[..., None]


def weave(rng: Rng, n: int) -> Array:
    """Threads of a canvas (n, n) in -1..1; coarse, so that they are still seen at half the size."""
    x, y = grid(n)
    threads = n / rng.uniform(6.5, 8.5)
    bend = 0.15 * noise(rng, n, 10)
    return 0.5 * (np.sin(2 * np.pi * threads * x + bend) + np.sin(2 * np.pi * threads * y + bend)).astype(np.float32)


def posterise(colour: Array, rng: Rng, count: int) -> tuple[Array, Array]:
    """The picture in `count` flat colours: swatches (count, 3), label (n, n)."""
    sample = colour[2::5, 2::5].reshape(-1, 3)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 6, 0)
    _, _, swatches = cv2.kmeans(sample, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    # |c|^2 is the same for all swatches, so the nearest one is a single matrix product away.
    score = colour.reshape(-1, 3) @ (2 * swatches.T) - (swatches**2).sum(1)
    return swatches, score.argmax(1).reshape(colour.shape[:2])


def cells_of(rng: Rng, n: int, count: int) -> Array:
    """Labels (n, n) float32 of the Voronoi cells of `count` random seeds."""
    seeds = np.full((n, n), 255, np.uint8)
    seeds.flat[rng.choice(seeds.size, count, replace=False)] = 0
    _, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return label.astype(np.float32)


# ---- strokes ----


def scatter(rng: Rng, n: int, spacing: float) -> Array:
    """Points (k, 2) in pixels, one in each cell of a jittered grid, in random order."""
    axis = np.arange(spacing / 2, n, spacing, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    points += rng.uniform(-0.6 * spacing, 0.6 * spacing, points.shape).astype(np.float32)
    return np.clip(rng.permutation(points), 0, n - 1)


def pick(image: Array, points: Array) -> Array:
    """Values (k, ...) of an image at points (k, 2) in pixels."""
    at = np.clip(points.astype(np.int32), 0, image.shape[0] - 1)
    return image[at[:, 1], at[:, 0]]


def trace(angle: Array, starts: Array, length: Array | float, steps: int) -> Array:
    """Paths (k, steps + 1, 2) along the direction field from starts (k, 2), each `length` pixels long."""
    stride = (np.broadcast_to(np.float32(length), len(starts)) / steps)[:, None]
    path, heading = [starts], None
    for _ in range(steps):
        here = pick(angle, path[-1])
        step = np.stack([np.cos(here), np.sin(here)], 1)
        if heading is not None:  # A direction has no sign: keep going forwards.
            step *= np.where((step * heading).sum(1, keepdims=True) < 0, -1, 1)
        heading = step
        path.append(path[-1] + stride * step)
    return np.stack(path, 1)


def broken(colours: Array, study: Study, rng: Rng, value: float, hue: float) -> Array:
    """Colours (k, 3) off a loaded brush: uneven in value, with a touch of another hue of the palette."""
    k = len(colours)
    other = study.hues[rng.integers(len(study.hues), size=k)]
    # The foreign touch keeps the lightness of the place, as painters do: the drawing stays readable.
    other = np.clip(other + (luminance(colours) - luminance(other))[:, None], 0, 1)
    touch = hue * rng.random((k, 1), np.float32) ** 2
    mixed = colours + touch * (other - colours)
    return np.clip(mixed * (1 + value * rng.standard_normal((k, 1))) + 0.02 * rng.standard_normal((k, 3)), 0, 1)


def draw(image: Array, paths: Array, colours: Array, widths: Array) -> Array:
    """Draws paths (k, m, 2) on image (n, n, c) uint8 in place; colours (k, c) in 0..1, widths (k,) pixels."""
    points = np.round(paths).astype(np.int32)
    inks = np.round(255 * colours).tolist()
    for path, ink, width in zip(points, inks, np.maximum(1, np.round(widths)).astype(int).tolist(), strict=True):
        cv2.polylines(image, [path], False, ink, width)
    return image


def to_bytes(colour: Array) -> Array:
    """0..1 to uint8."""
    return np.round(255 * np.clip(colour, 0, 1)).astype(np.uint8)


def to_unit(image: Array) -> Array:
    """uint8 to 0..1 float32."""
    return image.astype(np.float32) / 255


def ground(study: Study, rng: Rng, amount: float) -> Array:
    """A toned underpainting (n, n, 3) in 0..1: the blurred study sunk into one colour of the palette."""
    tint = study.hues[rng.integers(len(study.hues))]
    n = study.size
    return blur(study.colour, n / 50) * (1 - amount) + amount * tint * (1 + 0.08 * noise(rng, n, 12)[..., None])


def spread(rng: Rng, count: int, low: float, high: float) -> Array:
    """`count` sizes between low and high."""
    return rng.uniform(low, high, count).astype(np.float32)


def edge_angle(colour: Array, angle: Array, sigma: float) -> Array:
    """Directions (n, n) along the contours of the picture where it has any, else `angle`."""
    grey = blur(luminance(colour), sigma)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength = np.minimum(1, np.hypot(dx, dy) * 12)
    # Doubled angles: the mean of two directions that differ by half a turn is that direction, not nonsense.
    contour = 2 * (np.arctan2(dy, dx) + np.pi / 2)
    c = strength * np.cos(contour) + (1 - strength) * np.cos(2 * angle)
    s = strength * np.sin(contour) + (1 - strength) * np.sin(2 * angle)
    return np.arctan2(s, c) / 2


def touch_up(image: Array, study: Study, rng: Rng, unit: float, tolerance: float = 0.3) -> Array:
    """Small strokes on image (n, n, 3) uint8, in place, where it has lost the drawing of the study."""
    goal = blur(study.colour, 1)
    wrong = blur(np.abs(goal - to_unit(image)).sum(2), 2.5 * unit)
    starts = scatter(rng, study.size, 5 * unit)
    starts = starts[pick(wrong, starts) > tolerance]
    paths = trace(edge_angle(goal, study.angle, 1.5), starts, spread(rng, len(starts), 6, 11) * unit, 2)
    return draw(
        image, paths, broken(pick(goal, starts), study, rng, 0.06, 0.2), spread(rng, len(starts), 3.5, 5) * unit
    )
