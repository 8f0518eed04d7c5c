"""Which statistic of the judge's network tells painters apart, and is not fooled by noise: it chose the judge's.

    python -m benchmarks.judge --paintings DIR

DIR holds paintings and CREDITS.md; painters with three works, and Van Gogh, count. AUC: how often a view of another
work of the same painter is nearer than one of another painter. Fooled: percent of
works whose views noise or dirt brings nearer to their other views, where both are sharp, and where both are blurred.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from advdm.imitators.crops import square_of
from advdm.judge import BATCH, Judge, resize, root_gram
from training.pictures import read_credits

SIZE, VIEWS, WORKS = 128, 6, 3
LAYERS = (2, 4, 7, 10)
BLURS = (0, 1.2)  # pixels: both sharp, and both as soft as a weak decoder makes them


def mean_std(maps: Tensor) -> Tensor:
    return F.normalize(torch.cat([F.normalize(part) for part in torch.std_mean(maps.flatten(2), 2)], dim=1))


def plain_gram(maps: Tensor) -> Tensor:
    gram = torch.einsum("nchw,ndhw->ncd", maps, maps)
    row, column = torch.triu_indices(*gram.shape[1:])
    return F.normalize(gram[:, row, column])


STATISTICS = {"mean and std": mean_std, "Gram": plain_gram, "root of Gram": root_gram}
CHOICES = [(name, blocks) for name in STATISTICS for blocks in ((2,), (4,), (7,), (10,), (4, 7), (2, 4, 7))]
Described = dict[tuple[str, int], Tensor]  # by statistic and block: (works, n, D)


def works(paintings: Path) -> list[tuple[str, Path]]:
    """(painter, file) of every work of a painter with at least WORKS works."""
    found = [(row["painter"], paintings / row["file"]) for row in read_credits(paintings / "CREDITS.md")]
    found += [("Vincent van Gogh", file) for file in sorted(Path("examples").glob("*.webp"))]
    count = Counter(painter for painter, _ in found)
    return [(painter, file) for painter, file in found if count[painter] >= WORKS]


def views(file: Path, rng: np.random.Generator) -> np.ndarray:
    """Random squares, half of the short side up to all of it: (VIEWS, SIZE, SIZE, 3) float32 levels."""
    levels = np.asarray(Image.open(file).convert("RGB"))
    found = []
    for side in min(levels.shape[:2]) * rng.uniform(0.5, 1, VIEWS):
        top, left = (rng.uniform(0, whole - side) for whole in levels.shape[:2])
        found.append(square_of(levels, left, top, side, SIZE))
    return np.float32(found)


def harms(pictures: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Copies of the pictures with noise or dirt on them."""
    yield pictures + rng.uniform(-8, 8, pictures.shape)
    for sigma, strength in ((0, 5), (0, 10), (0, 20), (1, 10), (1, 20), (2, 10), (2, 20), (4, 20)):
        spots = gaussian_filter(rng.normal(size=pictures.shape), sigma, axes=(-3, -2))
        yield pictures + strength * spots / spots.std()


@torch.no_grad()
def described(judge: Judge, pictures: np.ndarray) -> Described:
    """Of pictures (works, n, S, S, 3), rounded to 8 bits."""
    levels = torch.from_numpy(np.clip(np.rint(pictures), 0, 255).astype(np.float32)).flatten(0, 1)
    batches = [judge.maps(resize(x, SIZE), LAYERS) for x in levels.permute(0, 3, 1, 2).div(255).split(BATCH)]
    return {
        (name, layer): torch.cat([statistic(maps) for maps in outputs]).unflatten(0, pictures.shape[:2])
        for layer, outputs in zip(LAYERS, zip(*batches, strict=True), strict=True)
        for name, statistic in STATISTICS.items()
    }


def auc(styles: Tensor, painters: np.ndarray) -> float:
    """Of (works, VIEWS, D): the mean over the works of a painter, then over painters."""
    distances = torch.cdist(*[styles.flatten(0, 1)] * 2).numpy()
    work = np.repeat(np.arange(len(painters)), VIEWS)
    painter, chances = painters[work], np.empty(len(work))
    for i, row in enumerate(distances):
        same, others = row[(painter == painter[i]) & (work != work[i])], row[painter != painter[i]]
        chances[i] = (same[:, None] < others).mean()
    return float(np.mean([chances[painter == name].mean() for name in np.unique(painter)]))


def joined(found: Described, name: str, layers: tuple[int, ...]) -> Tensor:
    return F.normalize(torch.cat([found[name, layer] for layer in layers], dim=-1), dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paintings", type=Path, required=True)
    listing, rng, judge = works(parser.parse_args().paintings), np.random.default_rng(0), Judge()
    painters, seen = np.array([painter for painter, _ in listing]), np.stack([views(file, rng) for _, file in listing])
    plain, tried = described(judge, seen), []
    for sigma in BLURS:
        soft = gaussian_filter(seen, sigma, axes=(-3, -2))
        harmed = [described(judge, one) for one in harms(soft[:, 1::2], rng)]
        tried.append((described(judge, soft[:, ::2]), described(judge, soft[:, 1::2]), harmed))
    print("| statistic | blocks | AUC | fooled, sharp | fooled, soft |\n|---|---|---|---|---|")
    for choice in CHOICES:
        cells = [choice[0], ", ".join(map(str, choice[1])), f"{auc(joined(plain, *choice), painters):.3f}"]
        for goal, before, harmed in tried:
            aim = joined(goal, *choice).mean(1)
            off, *after = ((joined(one, *choice).mean(1) - aim).norm(dim=1) for one in (before, *harmed))
            cells.append(f"{100 * (torch.stack(after) < off).float().mean():.1f}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
