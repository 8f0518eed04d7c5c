"""The perceptual loss of the autoencoder's sharp stage: features of a small network that tells manners apart.

It learns in two minutes, from random weights, on crops of the painter program's pictures. A decoder that leaves its
features as they are keeps what makes dots dots and impasto impasto, which neither pixels nor edges insist on. It shares
nothing with the judge of the samples (`classifier.py`) but the pictures they learn from.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.brushes import MANNERS
from training.loop import cosine, set_learning_rate, step_generators, training_steps
from training.pictures import VALIDATION, Pictures, to_signed

BATCH = 48
CROP = 64
"""Side in pixels: enough strokes to know the manner, too little to know it by the subject."""


class MannerNetwork(nn.Module):
    """Logits (N, manners) for (N, 3, H, W) pictures in [-1, 1], from four strided convolutions with group norms."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        inputs = (3, *widths[:-1])
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2))
            for a, b in zip(inputs, widths, strict=True)
        )
        self.head = nn.Linear(widths[-1], len(MANNERS))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What each convolution says: at 1/2, 1/4, 1/8 and 1/16 of the size."""
        maps = [pictures]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(pictures)[-1].mean((2, 3)))
        return logits


def feature_error(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Mean absolute difference, all layers counting alike."""
    return torch.stack([(one - other).float().abs().mean() for one, other in zip(a, b, strict=True)]).mean()


def train_perceptual(pictures: Pictures, checkpoint: Path, steps: int, seed: int, bf16: bool) -> MannerNetwork:
    """Cross entropy of the manner; returns the network frozen."""
    painted = pictures.training_painted()
    names = list(MANNERS)
    manners = torch.tensor([names.index(scene.manner) for scene in pictures.scenes])
    torch.manual_seed(seed)
    model = MannerNetwork()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    margin = (painted.shape[1] - CROP) // 2
    held_out = to_signed(pictures.validation()[:, margin : margin + CROP, margin : margin + CROP])

    @torch.no_grad()
    def report(_: int) -> str:
        right = (model(held_out).argmax(1) == manners[-VALIDATION:]).float().mean()
        return f"manner {right:.1%}"

    for step in training_steps(checkpoint, {"model": model, "optimizer": optimizer}, steps, report):
        rng, _ = step_generators(seed, step)
        numbers = rng.integers(len(painted), size=BATCH)
        top, left = rng.integers(painted.shape[1] - CROP + 1, size=2)
        crops = np.stack([painted[i, top : top + CROP, left : left + CROP] for i in numbers])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(to_signed(crops[:, :, :: rng.choice((1, -1))]))
        loss = F.cross_entropy(logits.float(), manners[numbers])
        set_learning_rate(optimizer, cosine(step, steps, 2e-3, 2e-5))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.requires_grad_(False)
