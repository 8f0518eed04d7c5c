"""Which statistic of the judge's network tells painters apart, and is not fooled by noise: advdm/judge.py's table.

    python -m benchmarks.judge --paintings DIR --van-gogh examples

DIR is a folder of real paintings with CREDITS.md; painters with at least three works in it count.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from advdm.resizing import resize
from PIL import Image
from torch import Tensor

from advdm.judge import BATCH, Judge, root_gram
from training.pictures import read_credits

SIZE = 128
VIEWS = 6
WORKS = 3
BLURS = ((0, 0), (0, 1.2), (0.7, 1.2))
"""Of painting and imitation, in pixels: both sharp; a weak imitator; a weak imitator seen by a soft decoder."""
LAYERS = (2, 4, 7, 10, 14)

Levels = np.ndarray
"""(..., S, S, 3) float32, 0 to 255."""
Description = dict[tuple[str, int], Tensor]
"""Statistic and block: (works, n, D)."""


def mean_std(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)
    return F.normalize(torch.cat([F.normalize(flat.mean(2)), F.normalize(flat.std(2))], dim=1))


def plain_gram(maps: Tensor) -> Tensor:
    flat = maps.flatten(2)
    gram = flat @ flat.transpose(1, 2)
    row, column = torch.triu_indices(*gram.shape[1:])
    return F.normalize(gram[:, row, column])


STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean and std": mean_std,
    "Gram": plain_gram,
    "root of Gram": root_gram,
}
CHOICES = (
    ("mean and std", (2, 4, 7), 128),
    ("mean and std", (4, 7), 128),
    ("mean and std", (2, 4, 7, 10, 14), 128),
    ("Gram", (2, 4, 7), 128),
    ("Gram", (4, 7), 128),
    ("root of Gram", (2, 4, 7), 128),
    ("root of Gram", (2,), 128),
    ("root of Gram", (4,), 128),
    ("root of Gram", (7,), 128),
    ("root of Gram", (10, 14), 128),
    ("root of Gram", (4, 7), 128),
    ("mean and std", (4, 7), 224),
    ("root of Gram", (4, 7), 224),
)


def works(paintings: Path, van_gogh: Path) -> list[tuple[str, Path]]:
    """(painter, file) of every work of a painter with at least WORKS works."""
    painters = [(row["painter"], paintings / row["file"]) for row in read_credits(paintings / "CREDITS.md")]
    painters += [("Vincent van Gogh", file) for file in sorted(van_gogh.glob("*.webp"))]
    count = Counter(painter for painter, _ in painters)
    return [(painter, file) for painter, file in painters if count[painter] >= WORKS]


def views(file: Path, rng: np.random.Generator) -> Levels:
    """VIEWS random squares, half of the short side up to all of it, at SIZE: (VIEWS, SIZE, SIZE, 3)."""
    painting = Image.open(file).convert("RGB")
    short, found = min(painting.size), []
    for _ in range(VIEWS):
        side = round(short * rng.uniform(0.5, 1))
        left, top = (int(rng.integers(whole - side + 1)) for whole in painting.size)
        square = painting.crop((left, top, left + side, top + side))
        found.append(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)))
    return np.float32(found)


def blurred(pictures: Levels, sigma: float) -> Levels:
    if sigma == 0:
        return pictures
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    return np.float32([cv2.GaussianBlur(picture, (0, 0), sigma) for picture in flat]).reshape(pictures.shape)


def harms(pictures: Levels, rng: np.random.Generator) -> Iterator[Levels]:
    """Copies of the pictures with noise or dirt on them, nine kinds."""
    yield pictures + rng.uniform(-8, 8, pictures.shape)
    for sigma in (5, 10, 20):
        yield pictures + rng.normal(0, sigma, pictures.shape)
    for sigma, strength in ((1, 10), (1, 20), (2, 10), (2, 20), (4, 20)):
        spots = blurred(rng.normal(size=pictures.shape), sigma)
        yield pictures + strength * spots / spots.std()


@torch.no_grad()
def described(judge: Judge, pictures: Levels, size: int) -> Description:
    """Every statistic of every layer, (works, n, D), of pictures (works, n, S, S, 3) rounded to 8 bits, at `size`."""
    levels = torch.from_numpy(np.clip(np.rint(pictures), 0, 255).astype(np.float32)).flatten(0, 1)
    found: dict[tuple[str, int], list[Tensor]] = {(name, layer): [] for name in STATISTICS for layer in LAYERS}
    for batch in levels.permute(0, 3, 1, 2).div(255).split(BATCH):
        for layer, maps in zip(LAYERS, judge.maps(resize(batch, (size, size)), LAYERS), strict=True):
            for name, statistic in STATISTICS.items():
                found[name, layer].append(statistic(maps))
    return {key: torch.cat(parts).unflatten(0, pictures.shape[:2]) for key, parts in found.items()}


def joined(description: Description, name: str, layers: tuple[int, ...]) -> Tensor:
    return F.normalize(torch.cat([description[name, layer] for layer in layers], dim=-1), dim=-1)


def auc(styles: Tensor, painters: np.ndarray) -> float:
    """Chance that a view of another work of the same painter is nearer than one of another painter.

    styles (works x VIEWS, D), painters (works,). Mean over the works of a painter, then over painters.
    """
    distances = torch.cdist(styles, styles).numpy()
    work = np.repeat(np.arange(len(painters)), VIEWS)
    painter = painters[work]
    chances = []
    for i, row in enumerate(distances):
        same = row[(painter == painter[i]) & (work != work[i])]
        other = row[painter != painter[i]]
        chances.append((same[:, None] < other[None]).mean())
    return float(np.mean([np.mean(np.array(chances)[painter == name]) for name in np.unique(painter)]))


def nearer(harmed: Tensor, before: Tensor, target: Tensor) -> float:
    """Percent of paintings to which the harmed views are nearer than before: each (works, views, D)."""
    goal = target.mean(1)
    gain = (before.mean(1) - goal).norm(dim=1) - (harmed.mean(1) - goal).norm(dim=1)
    return float(100 * (gain > 0).float().mean())


def table(judge: Judge, seen: Levels, painters: np.ndarray, size: int) -> Iterator[str]:
    """Rows of the choices that look at `size` pixels; seen (works, VIEWS, S, S, 3)."""
    rng = np.random.default_rng(1)
    plain = described(judge, seen, size)
    choices = [(name, layers) for name, layers, at in CHOICES if at == size]
    rows = {choice: [auc(joined(plain, *choice).flatten(0, 1), painters)] for choice in choices}
    for target_blur, picture_blur in BLURS:
        target, pictures = blurred(seen[:, ::2], target_blur), blurred(seen[:, 1::2], picture_blur)
        goal, before = (described(judge, clean, size) for clean in (target, pictures))
        after = [described(judge, harmed, size) for harmed in harms(pictures, rng)]
        for choice, row in rows.items():
            first, aim = joined(before, *choice), joined(goal, *choice)
            row.append(float(np.mean([nearer(joined(harmed, *choice), first, aim) for harmed in after])))
    for (name, layers), (apart, *fooled) in rows.items():
        shares = " | ".join(f"{share:.1f}" for share in fooled)
        yield f"| {name} | {', '.join(map(str, layers))} | {size} | {apart:.3f} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--van-gogh", type=Path, default=Path("examples"))
    options = parser.parse_args()
    listing = works(options.paintings, options.van_gogh)
    rng = np.random.default_rng(0)
    seen = np.stack([views(file, rng) for _, file in listing])
    painters = np.array([painter for painter, _ in listing])
    judge = Judge()
    print("| statistic | blocks | pixels | AUC | fooled, sharp | weak | both soft |\n|---|---|---|---|---|---|---|")
    for size in (128, 224):
        for row in table(judge, seen, painters, size):
            print(row, flush=True)


if __name__ == "__main__":
    main()
