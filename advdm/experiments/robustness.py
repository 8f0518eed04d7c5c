"""What is left of a protection after an imitator has cleaned the picture, in one way after another."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advdm.experiments.evaluate import last_step
from advdm.experiments.measure import Side, Tick, ticks
from advdm.imitators.crops import ZOOM
from advdm.mimicry import ORIGINAL, PROTECTED, RANDOM, with_random_noise
from advdm.models import LatentDiffusion
from advdm.paintings import Levels, Painting
from advdm.settings import MimicrySettings, Sampling, Settings
from advdm.sheets import levels_of
from advdm.views import LEVELS, whole_view

QUALITY = 75
DENOISE, DENOISING, STRENGTH = "denoise the image", Sampling(steps=25), 0.2
"""Prompt of the cleaning by image to image, how it samples, and the share of its steps, the last ones, that clean."""
STEPS, RATE, BOUND = 20, 1 / LEVELS, 4 / LEVELS
"""Of `consistent`: steps of Adam, their size, and how far the picture may move in the root mean square."""


def jpeg(levels: Levels, model: LatentDiffusion) -> Levels:
    """As a JPEG file holds it, with chroma at half the resolution."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return np.array(Image.open(file))


def halved(levels: Levels, model: LatentDiffusion) -> Levels:
    """At half the size."""
    picture = Image.fromarray(levels)
    size = (max(1, picture.width // 2), max(1, picture.height // 2))
    return np.array(picture.resize(size, Image.Resampling.BICUBIC))


def reconstructed(levels: Levels, model: LatentDiffusion) -> Levels:
    """Through the autoencoder and back."""
    return levels_of(model.reconstruct(seen_whole(levels, model))[0])


def repainted(levels: Levels, model: LatentDiffusion) -> Levels:
    """Noised a little and denoised by the model itself (DiffPure, Nie et al. 2022)."""
    return levels_of(model.repaint(seen_whole(levels, model), model.embed(DENOISE), [0], DENOISING, STRENGTH)[0])


def consistent(levels: Levels, model: LatentDiffusion) -> Levels:
    """The adaptive one: gradient descent on |D(E(x)) - x|^2 within BOUND of the picture (IMPRESS, Cao et al. 2023).

    A painting survives the autoencoder, a perturbation against it does not.
    """
    pixels = seen_whole(levels, model)

    @torch.enable_grad()
    def descended() -> Tensor:
        change = torch.zeros_like(pixels, requires_grad=True)
        optimizer = torch.optim.Adam([change], RATE)
        for _ in range(STEPS):
            moved = pixels + change
            loss = (model.decode(model.encode(moved).mean) - moved).square().sum()
            (change.grad,) = torch.autograd.grad(loss, change)
            optimizer.step()
            with torch.no_grad():
                size = change.square().mean().sqrt()
                change.mul_((BOUND / size).clamp(max=1))
        return (pixels + change).detach()

    return levels_of(model.finite(descended)[0])


def seen_whole(levels: Levels, model: LatentDiffusion) -> Tensor:
    """(1, 3, h, w) pixels, as large as an imitator's closest crop needs them, or as the picture is."""
    height, width = levels.shape[:2]
    side = int(min((height * width) ** 0.5, ZOOM * model.size))
    return whole_view(height, width, side, model.factor).see(levels, model.device)


CLEANERS: dict[str, tuple[Callable[[Levels, LatentDiffusion], Levels], ...]] = {
    "none": (),
    "JPEG and half size": (jpeg, halved),
    "autoencoder": (reconstructed,),
    "repainting": (repainted,),
    "IMPRESS": (consistent,),
    "JPEG, half size, autoencoder and repainting": (jpeg, halved, reconstructed, repainted),
}
"""Chains: each step gets what the one before it left, levels (H, W, 3) uint8 of any size."""


@dataclass(frozen=True)
class Robustness:
    """One attack, and every way to clean its copies. A strength chooses the attack's epsilon for each painting."""

    attack: Settings = field(default_factory=Settings)
    mimicry: MimicrySettings = field(default_factory=MimicrySettings)
    strength: str | None = None
    seeds: ClassVar = 1

    def sides(
        self, paintings: Sequence[Painting], seed: int, model: LatentDiffusion, tick: Tick
    ) -> dict[Side, list[Painting]]:
        """Original, random noise and protected copy, each cleaned in each way."""
        attacks = [last_step(one, model, self.attack, tick, self.strength) for one in paintings]
        noisy = [with_random_noise(last.painting, last.settings.epsilon, self.attack.seed) for last in attacks]
        protected = [last.protected() for last in attacks]
        epsilon = 0 if self.strength else self.attack.epsilon
        copies = {Side(ORIGINAL): paintings, Side(RANDOM, epsilon): noisy, Side(PROTECTED, epsilon): protected}
        sides = {}
        for cleaner in CLEANERS:
            for side, ones in copies.items():
                sides[replace(side, cleaner=cleaner)] = [cleaned(one, cleaner, model) for one in ones]
                tick(1)
        return sides

    def ticks(self, paintings: int) -> int:
        """What one subject of so many paintings counts."""
        sides = 3 * len(CLEANERS)
        return paintings * self.attack.steps + sides + ticks(self.mimicry, sides)


def cleaned(painting: Painting, cleaner: str, model: LatentDiffusion) -> Painting:
    """The painting after every step of a chain."""
    levels = painting.levels
    for step in CLEANERS[cleaner]:
        levels = step(levels, model)
    return replace(painting, levels=levels)
