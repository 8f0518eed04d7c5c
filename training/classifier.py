"""A classifier of subject, manner and palette: it says whether atelier's samples show what was asked for.

    python -m training.classifier --work DIR --out judge.pt

It learns from painted pictures and knows nothing of the model: EfficientNet-Lite0, tuned from its sixth block on,
under three linear heads. Its pictures are shifted, mirrored and treated in ways that leave their manner to be seen, so
that it reads a decoder's pictures, whose surfaces are not quite a painter's, as well as the painter's own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advdm.judge import load_network
from training.brushes import Array, Rng, blur
from training.loop import Average, Run, Stage, descend
from training.manners import MANNERS
from training.pictures import painted_pictures
from training.scenes import PALETTES, SUBJECTS, Scene

NAMES = {"subject": tuple(SUBJECTS), "manner": tuple(MANNERS), "palette": tuple(PALETTES)}
"""The three heads and what each chooses from."""
FIXED_BLOCKS = 5
"""Edges and colours are the same everywhere; leaving these blocks alone halves the time of a step."""


class Classifier(nn.Module):
    """Logits (N, names) of each of the three heads, for (N, 3, 128, 128) pictures in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = load_network()
        self.network._fc = nn.Identity()
        for module in (self.network._conv_stem, self.network._bn0, *self.network._blocks[:FIXED_BLOCKS]):
            module.requires_grad_(False)
        width = self.network._bn1.num_features
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(choices)) for name, choices in NAMES.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.network.extract_features((pictures * 255 - 127) / 128).mean((2, 3))
        return {name: head(features) for name, head in self.heads.items()}


def targets(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """The right number (N,) for each head. Raises ValueError for phrases held out of training."""
    return {
        name: torch.tensor([choices.index(getattr(scene, name)) for scene in scenes]) for name, choices in NAMES.items()
    }


@torch.no_grad()
def right(classifier: Classifier, pictures: Tensor, scenes: Sequence[Scene]) -> dict[str, float]:
    """Share of the pictures (N, 3, 128, 128) in [0, 1] that each head reads as their scene says."""
    parts = [classifier(batch) for batch in pictures.split(16)]
    wanted = targets(scenes)
    chosen = {name: torch.cat([part[name] for part in parts]).argmax(1) for name in NAMES}
    return {name: float((chosen[name] == wanted[name]).float().mean()) for name in NAMES}


def blurred(picture: Array, rng: Rng) -> Array:
    return blur(picture, rng.uniform(0.3, 1.3))


def sharpened(picture: Array, rng: Rng) -> Array:
    soft = blur(picture, rng.uniform(0.8, 2))
    return picture + rng.uniform(0, 1.5) * (picture - soft)


def smooth_noise(shape: tuple[int, ...], scale: float, rng: Rng) -> Array:
    """Gaussian noise blurred by `scale` pixels, of standard deviation one: a blur divides it by sqrt(4 pi) scale."""
    return blur(rng.normal(size=shape), scale) * max(1.0, 3.54 * scale)


def displaced(picture: Array, rng: Rng) -> Array:
    """Every place moved by about a pixel, neighbours alike."""
    shape, scale = picture.shape[:2], rng.uniform(1.5, 4)
    shifts = [smooth_noise(shape, scale, rng) for _ in range(2)]
    down, across = np.indices(shape) + rng.uniform(0, 1.2) * np.stack(shifts)
    return cv2.remap(picture, np.float32(across), np.float32(down), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def coarsely_coded(picture: Array, rng: Rng) -> Array:
    """Few numbers for each block of 8 x 8 pixels, which is what an autoencoder has too."""
    levels = np.clip(picture * 255, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(8, 60))])
    return cv2.imdecode(code, cv2.IMREAD_COLOR).astype(np.float32) / 255


def grainy(picture: Array, rng: Rng) -> Array:
    """Grain of a pixel or a few, in each colour by itself."""
    grain = smooth_noise(picture.shape, rng.uniform(0.4, 1.6), rng)
    return picture + np.float32(rng.uniform(0, 10) / 255 * grain)


TREATMENTS = (blurred, sharpened, displaced, coarsely_coded, grainy)
"""What a decoder may do to a surface; none of them knows the model."""


def roughened(picture: np.ndarray, rng: Rng) -> Array:
    """A shifted square of an (S, S, 3) uint8 picture, perhaps mirrored, and some of TREATMENTS: float32 in 0..1."""
    size = len(picture)
    side = round(size * rng.uniform(0.88, 1))
    top, left = rng.integers(size - side + 1, size=2)
    square = picture[top : top + side, left : left + side].astype(np.float32) / 255
    square = square[:, :: rng.choice((1, -1))]
    seen = cv2.resize(np.ascontiguousarray(square), (size, size), interpolation=cv2.INTER_LINEAR)
    for i in rng.permutation(len(TREATMENTS)):
        if rng.random() < 0.4:
            seen = TREATMENTS[i](seen, rng)
    return np.clip(seen, 0, 1).astype(np.float32)


def train(run: Run, painted: np.ndarray, scenes: Sequence[Scene], steps: int) -> Classifier:
    """Cross entropy of the three heads; returns the averaged weights."""
    stage = Stage(run, "classifier")
    torch.manual_seed(run.seed)
    model = Classifier()
    average = Average(model, decay=0.99)
    optimizer = torch.optim.AdamW((weight for weight in model.parameters() if weight.requires_grad), weight_decay=0.01)
    for step in stage.steps(steps, {"model": model, "average": average.module, "optimizer": optimizer}):
        numbers = step.rng.integers(len(painted), size=run.batch)
        pictures = torch.from_numpy(np.stack([roughened(painted[i], step.rng) for i in numbers])).permute(0, 3, 1, 2)
        logits, wanted = model(pictures), targets([scenes[i] for i in numbers])
        losses = {name: F.cross_entropy(logits[name], wanted[name]) for name in NAMES}
        descend(torch.stack(list(losses.values())).sum(), optimizer, step.rate(1e-3, 2e-5))
        average.update(model, step.number)
        stage.note(**losses)
    return average.module


def load_classifier(file: Path) -> Classifier:
    """The classifier that `main` wrote. Raises ValueError when it knows other names than the painter program."""
    saved = torch.load(file, weights_only=True)
    if {name: tuple(choices) for name, choices in saved["names"].items()} != NAMES:
        raise ValueError(f"{file} was trained for other subjects, manners or palettes; train it anew.")
    model = Classifier()
    model.load_state_dict(saved["weights"])
    return model.requires_grad_(False).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures and a checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="file for the classifier")
    parser.add_argument("--count", type=int, default=12_000, help="painted pictures")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    run = Run(options.work, torch.device("cpu"), options.seed)
    model = train(run, *painted_pictures(run.work, options.count, run.seed), options.steps)
    names = {name: list(choices) for name, choices in NAMES.items()}
    torch.save({"names": names, "weights": model.state_dict()}, options.out)


if __name__ == "__main__":
    main()
