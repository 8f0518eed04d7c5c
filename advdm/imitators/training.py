"""What every imitator trains on: noised latents of a painting's crops, under a prompt that names its style.

    z = mean + std * s,   s, noise ~ N(0, I),   t ~ U{0, ..., T - 1},   loss = |predict(z, t, noise, prompt) - target|^2

All sides get the same crops' places, t, s, noise and prompts. What differs is only the picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from advdm.errors import ModelError
from advdm.imitators.crops import encode_crops
from advdm.models import Condition, LatentDiffusion, Posterior
from advdm.paintings import Painting
from advdm.settings import Sampling

TEMPLATES = (
    "a painting in the style of {}",
    "a rendering in the style of {}",
    "a picture in the style of {}",
    "the painting in the style of {}",
    "a nice painting in the style of {}",
    "a small painting in the style of {}",
    "a large painting in the style of {}",
)
CROPS = 32


def without_style(prompt: str) -> str:
    """The prompt without the painter: without {} and "in the style of"."""
    return prompt.replace(" in the style of {}", "").replace("{}", "").strip()


class Learned(Protocol):
    """What an imitator has learned from one side."""

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """One picture a prompt and seed: (n, 3, size, size) in [0, 1]; {} in a prompt is the painter's style."""

    def save(self, model: LatentDiffusion, path: str | PathLike[str]) -> Path | None:
        """Write the file that diffusers reads, where there is one."""


@dataclass(frozen=True, eq=False)
class LearningStep:
    """One finished step: its number from 1, the noise error of each side, and what each side has learned by then.

    `learned()` costs a copy, so it is asked for when it is needed; ask before the next step.
    """

    number: int
    losses: tuple[float, ...]
    learned: Callable[[], tuple[Learned, ...]]


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's samples of one side: latents and noise (N, C, h, w), timesteps (N,), and N prompts with {}."""

    latents: Tensor
    timesteps: Tensor
    noise: Tensor
    prompts: list[str]


def batches(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], steps: int, size: int, seed: int
) -> Iterator[list[Batch]]:
    """For each step, a batch of `size` samples a side."""
    generator = torch.Generator().manual_seed(seed)
    with model.enough_memory():
        posteriors = [encode_crops(model, paintings, CROPS, seed) for paintings in sides]
    shape = (size, *posteriors[0].mean.shape[1:])
    for _ in range(steps):
        chosen = torch.randint(len(posteriors[0].mean), (size,), generator=generator).to(model.device)
        prompts = [TEMPLATES[i] for i in torch.randint(len(TEMPLATES), (size,), generator=generator).tolist()]
        timesteps = torch.randint(model.timesteps, (size,), generator=generator).to(model.device)
        noise, spread = (torch.randn(shape, generator=generator).to(model.device) for _ in range(2))
        latents = [Posterior(p.mean[chosen], p.std[chosen]).sample(spread) for p in posteriors]
        yield [Batch(one, timesteps, noise, prompts) for one in latents]


@torch.enable_grad()
def gradients(
    model: LatentDiffusion, batch: Batch, condition: Condition, weights: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The noise error, a mean over the batch, and its gradient with respect to each of the weights.

    As many samples go through the denoiser together as the model takes at once.
    """
    count, numbers = len(batch.latents), batch.latents[0].numel()
    total, sums = 0.0, [torch.zeros_like(weight) for weight in weights]
    chunks = torch.arange(count).split(model.at_once)
    for chunk in chunks:
        latents, timesteps, noise = batch.latents[chunk], batch.timesteps[chunk], batch.noise[chunk]
        errors = model.noise_error(latents, timesteps, noise, condition[chunk])
        # The gradient of a mean over so many numbers is too small for half precision; that of their sum is not.
        pulls = torch.autograd.grad(numbers * errors.sum(), weights, retain_graph=len(chunks) > 1)
        total += errors.sum().item()
        for sum_, pull in zip(sums, pulls, strict=True):
            sum_.add_(pull / (count * numbers))
    if not all(one.isfinite().all() for one in sums):
        raise ModelError(f"The model '{model.title}' answers with numbers that are not finite; it cannot be trained.")
    return total / count, sums
