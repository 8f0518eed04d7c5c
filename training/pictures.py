"""The pictures atelier learns from: painted ones from `scenes.py`, and views of real paintings in a folder."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.scenes import Scene

VALIDATION = 256
"""The last painted pictures are kept out of training."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Painted pictures and real paintings, as 8-bit levels.

    painted: (N, S, S, 3) uint8, memory-mapped, of the N scenes. real: whole paintings, each (H, W, 3) uint8.
    """

    painted: np.ndarray
    real: tuple[np.ndarray, ...]
    real_titles: tuple[str, ...]
    scenes: tuple[Scene, ...]

    def training_painted(self) -> np.ndarray:
        return self.painted[:-VALIDATION]

    def validation(self) -> np.ndarray:
        return self.painted[-VALIDATION:]


def load_pictures(painted: Path, paintings: Path) -> Pictures:
    """Read what `training.scenes` wrote to `painted`, and every WebP in `paintings` with its CREDITS.md."""
    levels, scenes = read_painted(painted)
    files = sorted(paintings.glob("*.webp"))
    titles = {row["file"]: row["title"] for row in read_credits(paintings / "CREDITS.md")}
    return Pictures(
        painted=levels,
        real=tuple(np.asarray(Image.open(file).convert("RGB")) for file in files),
        real_titles=tuple(titles[file.name] for file in files),
        scenes=scenes,
    )


def read_painted(folder: Path) -> tuple[np.ndarray, tuple[Scene, ...]]:
    """The pictures (N, S, S, 3) uint8, memory-mapped, and the scenes that `training.scenes` wrote."""
    scenes = tuple(Scene(*scene) for scene in json.loads((folder / "scenes.json").read_text()))
    return np.load(folder / "pictures.npy", mmap_mode="r"), scenes


def read_credits(credits: Path) -> list[dict[str, str]]:
    """The rows of the Markdown table of a folder of paintings, each by the names of its columns."""
    with credits.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader((line for line in lines if line.startswith("|")), delimiter="|")
        cells = [[cell.strip() for cell in row] for row in rows]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def view_of_painting(painting: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A square view of a real painting at a random scale: (size, size, 3) uint8, and the share of the short side.

    The scale is log-uniform from pixel for pixel to the whole short side, so that broad compositions and
    the surface of single strokes are both seen.
    """
    height, width = painting.shape[:2]
    short = min(height, width)
    side = round(float(np.exp(rng.uniform(np.log(min(size, short)), np.log(short)))))
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = Image.fromarray(painting[top : top + side, left : left + side])
    view = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    return view, side / short


def real_views(pictures: Pictures, count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`count` views: levels (count, size, size, 3), painting numbers (count,), shares of the short side (count,)."""
    views = np.empty((count, size, size, 3), np.uint8)
    numbers = np.arange(count) % len(pictures.real)
    shares = np.empty(count)
    for i, number in enumerate(numbers):
        views[i], shares[i] = view_of_painting(pictures.real[number], size, np.random.default_rng([seed, i]))
    return views, numbers, shares


def random_crops(levels: np.ndarray, count: int, size: int, rng: np.random.Generator) -> Tensor:
    """`count` random square crops, half of them mirrored, of (N, S, S, 3) levels: (count, 3, size, size) in [-1, 1]."""
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop in crops:
        picture = levels[rng.integers(len(levels))]
        top, left = rng.integers(picture.shape[0] - size + 1, size=2)
        crop[:] = picture[top : top + size, left : left + size]
        if rng.random() < 0.5:
            crop[:] = crop[:, ::-1].copy()
    return to_signed(crops)


def to_signed(levels: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 levels to (N, 3, H, W) float32 in [-1, 1], the range at the door of the autoencoder."""
    return torch.from_numpy(levels.astype(np.float32)).permute(0, 3, 1, 2).div(127.5).sub(1).contiguous()
