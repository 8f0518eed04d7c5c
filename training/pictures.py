"""The pictures atelier learns from: painted ones and views of real paintings, made on all cores and kept in files."""

import csv
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from training.scenes import SIZE, Scene, painted, scene_of

VIEWS_EACH = 60
"""Views of each real painting."""
LARGE = 160
"""Side in pixels of the views that the autoencoder cuts its crops from."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """8-bit levels, memory-mapped: painted (N, 128, 128, 3) of N scenes, and VIEWS_EACH views of each real painting.

    views (M, 128, 128, 3), large (M, 160, 160, 3); titles of the paintings; shares (M,) of the short side in a view.
    """

    painted: np.ndarray
    scenes: list[Scene]
    views: np.ndarray
    large: np.ndarray
    titles: tuple[str, ...]
    shares: np.ndarray


def make_pictures(work: Path, paintings: Path, count: int, seed: int, more: Callable[[], bool]) -> Pictures:
    """`count` painted pictures, or fewer where `more` said stop, and views of what `paintings`/CREDITS.md lists."""
    rows = read_credits(paintings / "CREDITS.md")
    files = [paintings / row["file"] for row in rows]

    def views(size: int) -> np.ndarray:
        make = partial(views_of, files=files, size=size, seed=seed)
        return keep(work / f"views_{size}", (VIEWS_EACH, size, size, 3), len(files), make).reshape(-1, size, size, 3)

    sizes = [Image.open(file).size for file in files]
    shares = [side / min(size) for i, size in enumerate(sizes) for _, _, side in squares(*size, SIZE, seed, i)]
    titles, large, small = tuple(row["title"] for row in rows), views(LARGE), views(SIZE)
    return Pictures(*painted_pictures(work, count, seed, more), small, large, titles, np.array(shares))


def painted_pictures(
    work: Path, count: int, seed: int, more: Callable[[], bool] = lambda: True
) -> tuple[np.ndarray, list[Scene]]:
    """(N, 128, 128, 3) uint8, and the N scenes."""
    pictures = keep(work / f"painted_{seed}", (SIZE, SIZE, 3), count, partial(painted, seed=seed), more)
    return pictures, [scene_of(i, seed) for i in range(len(pictures))]


def keep(
    file: Path,
    shape: tuple[int, ...],
    count: int,
    make: Callable[[int], np.ndarray],
    more: Callable[[], bool] = lambda: True,
) -> np.ndarray:
    """make(0), make(1), ..., uint8 of `shape`, from `file`: (count, *shape), or fewer where `more` said stop.

    What is not there yet is made on all cores; interrupted, they go on where they were.
    """
    if not file.exists():
        unfinished, size = file.with_suffix(".part"), math.prod(shape)
        # Spawned, not forked: a fork of a process whose torch has started threads may hang.
        workers = min(os.cpu_count() or 1, count)
        with unfinished.open("ab") as output, get_context("spawn").Pool(workers, one_thread) as pool:
            there = output.tell() // size
            output.truncate(there * size)
            for array in pool.imap(make, range(there, count), chunksize=4):
                output.write(array.tobytes())
                if not more():
                    break
        unfinished.rename(file)
    return np.memmap(file, np.uint8, "c").reshape(-1, *shape)


def one_thread() -> None:
    """Each worker has one core; OpenCV must not start threads of its own on top."""
    cv2.setNumThreads(1)


def views_of(number: int, files: list[Path], size: int, seed: int) -> np.ndarray:
    """Views (VIEWS_EACH, size, size, 3) uint8 of one real painting."""
    image = Image.open(files[number]).convert("RGB")
    boxes = [(x, y, x + side, y + side) for x, y, side in squares(*image.size, size, seed, number)]
    return np.stack([np.asarray(image.crop(box).resize((size, size), Image.Resampling.LANCZOS)) for box in boxes])


def squares(width: int, height: int, size: int, seed: int, number: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and side of VIEWS_EACH random squares of painting `number`.

    The scale is log-uniform from pixel for pixel to the whole short side, so that broad compositions and
    the surface of single strokes are both seen.
    """
    rng, short = np.random.default_rng([seed, number]), min(width, height)
    for _ in range(VIEWS_EACH):
        side = round(float(np.exp(rng.uniform(np.log(min(size, short)), np.log(short)))))
        yield int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1)), side


def read_credits(credits: Path) -> list[dict[str, str]]:
    """The rows of the Markdown table of a folder of paintings, each by the names of its columns."""
    with credits.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader((line for line in lines if line.startswith("|")), delimiter="|")
        cells = [[cell.strip() for cell in row] for row in rows]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
