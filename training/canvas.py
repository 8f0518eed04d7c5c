"""The canvas of the painter program: shapes in light and shade, and the way strokes run on them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from training.brushes import Array, Rng, Study, grid, noise

Point = tuple[float, float]
Colour = Array  # (3,) float32 in 0..1
Box = tuple[int, int, int, int]  # x, y, width, height in pixels
SKY, GROUND, FORM, ACCENT, OTHER = range(5)  # which hue of the palette a thing takes
UP = np.pi / 2  # upright strokes, or a fall of light from top to bottom


def curve(x: Array, y: Array) -> Array:
    """Points (k, 2)."""
    return np.stack([x, y], 1)


def ribbon(x: Array, half: Array, y: Array) -> Array:
    """The outline (2 k, 2) of a band about the line x, y (k,), `half` wide to each side."""
    return np.concatenate([curve(x - half, y), curve(x + half, y)[::-1]])


def box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


class Canvas:
    """A composition in the making. Coordinates are 0..1, x to the right, y down; colours are RGB in 0..1."""

    def __init__(self, n: int, rng: Rng, dark: Colour, light: Colour, hues: Array):
        self.n, self.rng, self.dark, self.light, self.hues = n, rng, dark, light, hues
        self.colour = np.tile(hues[SKY], (n, n, 1)).astype(np.float32)
        self.angle = (0.35 * noise(rng, n, 3)).astype(np.float32)
        self.side = float(rng.choice([-1, 1]))  # where the light comes from: left or right

    def study(self) -> Study:
        """The finished composition; large soft shifts of tone keep any area from being one flat colour."""
        shift = 1 + 0.05 * noise(self.rng, self.n, 5) + 0.025 * noise(self.rng, self.n, 20)
        colour = np.clip(self.colour * shift[..., None], 0, 1).astype(np.float32)
        return Study(colour, self.angle, self.dark, self.light, self.hues)

    def tone(self, hue: int, value: float, jitter: float = 0.06) -> Colour:
        """A hue of the palette at a lightness: 0 the dark, 0.5 the hue itself, 1 the light."""
        value = float(np.clip(value + self.rng.normal(0, jitter), 0, 1))
        middle = self.hues[hue % len(self.hues)]
        if value < 0.5:
            return self.dark + 2 * value * (middle - self.dark)
        return middle + (2 * value - 1) * (self.light - middle)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, *choices: Any) -> Any:
        return self.rng.choice(choices).item()

    def count(self, low: int, high: int) -> range:
        """A range of low..high repetitions."""
        return range(int(self.rng.integers(low, high + 1)))

    def lay(self, mask: Array, corner: tuple[int, int], paint: Array, angle: Array | float | None) -> None:
        """Blends paint (h, w, 3) or (3,) in where mask (h, w) in 0..1 says so, from the corner x, y on."""
        x, y = corner
        where = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
        view = self.colour[where]
        view += mask[..., None] * (paint - view)
        if angle is not None:
            inside = mask > 0.5
            self.angle[where][inside] = angle[inside] if isinstance(angle, np.ndarray) else angle

    def window(self, points: Array) -> tuple[Box, Array, Array] | None:
        """The box that points (k, 2) span, and the coordinates x, y (h, w) in it; None outside the picture."""
        low = np.clip(np.floor(points.min(0) * self.n) - 1, 0, self.n).astype(int)
        high = np.clip(np.ceil(points.max(0) * self.n) + 2, 0, self.n).astype(int)
        if (high <= low).any():
            return None
        x, y, w, h = *low.tolist(), *(high - low).tolist()
        gx, gy = (g[y : y + h, x : x + w] for g in grid(self.n))
        return (x, y, w, h), gx, gy

    def mask_of(self, points: Array, place: Box) -> Array:
        """Coverage (h, w) in 0..1 of a polygon inside a box."""
        x, y, w, h = place
        mask = np.zeros((h, w), np.uint8)
        fixed = np.round((points * self.n - (x, y)) * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255

    def shape(
        self,
        points: Sequence[Point] | Array,
        lit: Colour,
        shade: Colour | None = None,
        fall: float | None = None,
        angle: Array | float | None = None,
    ) -> None:
        """A polygon that turns from lit to shade along `fall` in radians (default: away from the light)."""
        points = np.asarray(points, np.float32)
        if (window := self.window(points)) is None:
            return
        (x, y, w, h), gx, gy = window
        fall = (0.5 if self.side < 0 else np.pi - 0.5) if fall is None else fall
        ends = points @ np.float32([np.cos(fall), np.sin(fall)])
        t = (gx * np.cos(fall) + gy * np.sin(fall) - ends.min()) / (np.ptp(ends) + 1e-6)
        paint = lit if shade is None else lit + np.clip(t, 0, 1)[..., None].astype(np.float32) * (shade - lit)
        angle = angle[y : y + h, x : x + w] if isinstance(angle, np.ndarray) else angle
        self.lay(self.mask_of(points, (x, y, w, h)), (x, y), paint, angle)

    def rect(self, x0: float, y0: float, x1: float, y1: float, lit: Colour, shade: Colour | None = None) -> None:
        """An upright rectangle with upright strokes."""
        self.shape(box(x0, y0, x1, y1), lit, shade, angle=UP)

    def ball(
        self, x: float, y: float, rx: float, ry: float, lit: Colour, shade: Colour, turn: float = 0.0, k: int = 22
    ) -> None:
        """An ellipse modelled as a ball under the light; strokes run around it."""
        t = np.linspace(0, 2 * np.pi, k, endpoint=False)
        c, s = np.cos(turn), np.sin(turn)
        px, py = rx * np.cos(t), ry * np.sin(t)
        points = curve(x + c * px - s * py, y + s * px + c * py).astype(np.float32)
        if (window := self.window(points)) is None:
            return
        place, gx, gy = window
        dx, dy = (gx - x) / max(rx, ry), (gy - y) / max(rx, ry)
        depth = np.hypot(dx - 0.35 * self.side, dy + 0.4)
        paint = lit + np.clip(depth * 0.95 - 0.2, 0, 1)[..., None] * (shade - lit)
        self.lay(self.mask_of(points, place), place[:2], paint, np.arctan2(dy, dx) + UP)

    def glow(self, x: float, y: float, reach: float, colour: Colour, strength: float) -> None:
        """Light that fades outwards; strokes circle around it."""
        window = self.window(np.float32([[x - 2 * reach, y - 2 * reach], [x + 2 * reach, y + 2 * reach]]))
        if window is None:
            return
        (bx, by, w, h), gx, gy = window
        mask = strength * np.exp(-((gx - x) ** 2 + (gy - y) ** 2) / (0.6 * reach**2))
        self.lay(mask.astype(np.float32), (bx, by), colour, None)
        near = mask > 0.12 * strength
        self.angle[by : by + h, bx : bx + w][near] = (np.arctan2(gy - y, gx - x) + UP)[near]

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A band of constant width along points; strokes follow it."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = np.hypot(x1 - x0, y1 - y0) + 1e-6
            ox, oy = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
            corners = [(x0 + ox, y0 + oy), (x1 + ox, y1 + oy), (x1 - ox, y1 - oy), (x0 - ox, y0 - oy)]
            self.shape(corners, colour, angle=float(np.arctan2(y1 - y0, x1 - x0)))

    def shadow(self, x: float, y: float, rx: float, ry: float) -> None:
        """A soft flat shadow on the ground, thrown away from the light."""
        x -= self.side * 0.6 * rx
        window = self.window(np.float32([[x - 1.5 * rx, y - 1.5 * ry], [x + 1.5 * rx, y + 1.5 * ry]]))
        if window is None:
            return
        place, gx, gy = window
        mask = 0.65 * np.exp(-((((gx - x) / rx) ** 2 + ((gy - y) / ry) ** 2) ** 2))
        self.lay(mask.astype(np.float32), place[:2], self.tone(OTHER, 0.12), None)

    def ridge(
        self, y: float, rough: float, bumps: int, lit: Colour, shade: Colour, angle: float | None = None
    ) -> Array:
        """Land below an uneven skyline about y; returns the heights (64,) of that line."""
        knots = self.rng.normal(0, rough, bumps + 2)
        x = np.linspace(0, 1, 64)
        line = y + np.interp(x * (bumps + 1), np.arange(bumps + 2), knots)
        line = np.convolve(np.pad(line, 2, "edge"), np.ones(5) / 5, "valid")
        outline = np.concatenate([curve(x, line), [(1, 1.02), (0, 1.02)]])
        self.shape(outline, lit, shade, fall=UP, angle=angle)
        return line
