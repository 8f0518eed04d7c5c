"""Whether the page's estimate of visibility orders changes as ColorVideoVDP does, and what the presets come to.

    pip install cvvdp
    python -m benchmarks.visibility PAINTINGS [--count 12]

Of the folder's paintings, sorted by name, `count` are taken at even distances. Beside JOD stands a second opinion, for
no model of vision is right about everything: the mean S-CIELAB difference (Zhang and Wandell 1997), CIEDE2000 after
the blur of the eye's three channels; below 1 is hard to see, and 10 JOD is 0.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycvvdp
import torch
from pandas import DataFrame
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from skimage.color import deltaE_ciede2000, rgb2xyz, xyz2lab

from advdm import load_model, protection_steps, read_painting
from advdm.budget import COLOUR, budget
from advdm.portfolios import find_paintings
from advdm.settings import STRENGTHS, Settings
from advdm.visibility import visibility

DISPLAY, PIXELS_A_DEGREE = "standard_4k", 75.4
"""30 inches, 200 cd/m^2, in an office, from twice its height."""
STEPS = 25
OPPONENT = np.array([[0.279, 0.72, -0.107], [-0.449, 0.29, -0.077], [0.086, -0.59, 0.501]])
"""XYZ to lightness, red-green and blue-yellow."""
BLUR = (
    ((0.921, 0.0283), (0.105, 0.133), (-0.108, 4.336)),
    ((0.531, 0.0392), (0.330, 0.494)),
    ((0.488, 0.0536), (0.371, 0.386)),
)
"""Weights and spreads, in degrees, of the Gaussians that each channel is blurred by."""


def seen(levels: np.ndarray) -> np.ndarray:
    """CIELAB (H, W, 3) of what the eye resolves."""
    channels = rgb2xyz(levels) @ OPPONENT.T
    for channel, parts in zip(np.moveaxis(channels, -1, 0), BLUR, strict=True):
        total = sum(weight for weight, _ in parts)
        wide = [weight * gaussian_filter(channel, spread * PIXELS_A_DEGREE / 2**0.5) for weight, spread in parts]
        channel[:] = sum(wide) / total
    return xyz2lab(np.clip(channels @ np.linalg.inv(OPPONENT).T, 0, None))


def scielab(original: np.ndarray, changed: np.ndarray) -> float:
    return float(deltaE_ciede2000(seen(original), seen(changed)).mean())


def blobs(shape: tuple[int, int], size: float, seed: int) -> np.ndarray:
    """(H, W, 1) of -1 and 1, in blobs of about so many pixels; 0 for single pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.sign(gaussian_filter(noise, size))[..., None]


def changes(levels: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The painting, changed in every way that is no attack: coarse or fine, light or colour, even or by the budget."""
    shares = (1.0, budget(levels)[..., None])
    for size in (0, 2, 6):
        pattern = blobs(levels.shape[:2], size, seed)
        for axis in (np.ones(3), COLOUR.sum(1).numpy()):
            for share in shares:
                for epsilon in (3, 12):
                    yield np.clip(levels + np.rint(epsilon * pattern * share * axis), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", type=Path)
    parser.add_argument("--count", type=int, default=12)
    options = parser.parse_args()
    files, _ = find_paintings([options.paintings])
    files = [files[place] for place in np.linspace(0, len(files) - 1, options.count).round().astype(int)]
    vision = pycvvdp.cvvdp(display_name=DISPLAY, device=torch.device("cpu"))
    model = load_model()
    pairs: list[tuple[float, float]] = []
    reached: list[dict[str, object]] = []

    def judged(levels: np.ndarray, changed: np.ndarray) -> float:
        jod = float(vision.predict(changed, levels, dim_order="HWC")[0])
        pairs.append((jod, visibility(levels, changed)))
        return jod

    for seed, file in enumerate(files):
        painting = read_painting(file)
        for changed in changes(painting.levels, seed):
            judged(painting.levels, changed)
        for name in STRENGTHS:
            *_, last = protection_steps(painting, model, Settings(steps=STEPS), strength=name)
            copy = last.protected().levels
            jod = judged(painting.levels, copy)
            row = {"preset": name, "epsilon": last.settings.epsilon, "ours": pairs[-1][1], "jod": jod}
            reached.append({**row, "scielab": scielab(painting.levels, copy)})
        print(file.stem, flush=True)
    theirs, ours = np.array(pairs).T
    off = np.sqrt(np.mean((theirs - ours) ** 2))
    print(f"{len(files)} paintings, {len(pairs)} changes: rank correlation {spearmanr(theirs, ours)[0]:.3f}, ", end="")
    print(f"off by {off:.2f} JOD (root of mean square); asked for: {STRENGTHS}\n")
    means = DataFrame(reached).groupby("preset", sort=False).agg(["mean", "min", "max"])
    print(means.round(2).to_string())


if __name__ == "__main__":
    main()
