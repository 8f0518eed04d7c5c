"""Whether our estimate of visibility orders changes as ColorVideoVDP does, and what the presets come to on its scale.

    pip install cvvdp
    python -m benchmarks.visibility PAINTINGS [--count 12]

PAINTINGS is a folder; of its pictures, sorted by name, `count` are taken at even distances.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycvvdp
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from advdm import load_model, protect, read_painting
from advdm.budget import budget
from advdm.paintings import find_paintings
from advdm.visibility import COLOUR, epsilon_for, visibility

DISPLAY = "standard_4k"  # 30 inches, 200 cd/m^2, in an office, from twice its height: 75 pixels a degree
PRESETS = {"Subtle": 9.0, "Balanced": 8.3, "Strong": 7.3}
STEPS = 25


def blobs(shape: tuple[int, int], size: float, seed: int) -> np.ndarray:
    """(H, W, 1) of -1 and 1, in blobs of about so many pixels; 0 for single pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.sign(gaussian_filter(noise, size))[..., None]


def changes(levels: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The painting, changed in every way that is no attack: coarse or fine, light or colour, even or by the budget."""
    shares = {"even": 1.0, "budget": budget(levels)[..., None]}
    for size in (0, 2, 6):
        pattern = blobs(levels.shape[:2], size, seed)
        for axis in (np.ones(3), COLOUR.sum(1).numpy()):
            for share in shares.values():
                for epsilon in (3, 12):
                    yield np.clip(levels + np.rint(epsilon * pattern * share * axis), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path)
    parser.add_argument("--count", type=int, default=12)
    arguments = parser.parse_args()
    files = find_paintings([arguments.paintings])
    files = [files[place] for place in np.linspace(0, len(files) - 1, arguments.count).round().astype(int)]
    vision = pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"))
    model = load_model()
    pairs: list[tuple[float, float]] = []
    reached: dict[str, list[float]] = {name: [] for name in PRESETS}

    def judged(levels: np.ndarray, changed: np.ndarray) -> float:
        jod = float(vision.predict(changed, levels, dim_order="HWC")[0])
        pairs.append((jod, visibility(levels, changed)))
        return jod

    for seed, file in enumerate(files):
        painting = read_painting(file)
        shares = budget(painting.levels)
        for changed in changes(painting.levels, seed):
            judged(painting.levels, changed)
        for name, jod in PRESETS.items():
            epsilon = epsilon_for(painting.levels, shares, jod, model.size)
            protected = protect(painting, model, epsilon=epsilon, steps=STEPS)
            reached[name].append(judged(painting.levels, protected.levels))
    theirs, ours = np.array(pairs).T
    off = np.sqrt(np.mean((theirs - ours) ** 2))
    print(f"{len(files)} paintings, {len(pairs)} changes: rank correlation {spearmanr(theirs, ours)[0]:.3f}, ", end="")
    print(f"off by {off:.2f} JOD (root of mean square)\n")
    print("| preset | asked for | mean | worst |\n|---|---|---|---|")
    for name, jods in reached.items():
        print(f"| {name} | {PRESETS[name]} | {np.mean(jods):.2f} | {min(jods):.2f} |")


if __name__ == "__main__":
    main()
