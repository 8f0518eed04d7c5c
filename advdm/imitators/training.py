"""What every imitator trains on: noised latents of a painting's crops, under a prompt that names its style.

    z = mean + std * s,   s, noise ~ N(0, I),   t ~ U{0, ..., T - 1},   loss = |predict(z, t, noise, prompt) - target|^2

All sides get crops at the same places, and the same t, s, noise and prompts. Only the pictures differ.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from advdm.files import atomic_path
from advdm.imitators.crops import crop_encoder
from advdm.models import Condition, LatentDiffusion
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


class Learned(ABC):
    """What an imitator has learned from one side."""

    @abstractmethod
    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """One picture a prompt and seed: (n, 3, size, size) in [0, 1]; {} in a prompt is the painter's style."""

    @abstractmethod
    def tensors(self, model: LatentDiffusion) -> dict[str, Tensor]:
        """What was learned, by the names that diffusers knows it by; empty where there is nothing."""

    def save(self, model: LatentDiffusion, path: str | PathLike[str]) -> Path | None:
        """Write the safetensors file that diffusers loads, where there is one. Raises AdvDMError."""
        tensors = {name: one.cpu().contiguous() for name, one in self.tensors(model).items()}
        if not tensors:
            return None
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(tensors, {"format": "pt"}))
        return Path(path)


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
    """For each step, a batch of `size` samples a side. All have as many crops, at least one of every painting."""
    generator = torch.Generator().manual_seed(seed)
    count = max(CROPS, *map(len, sides))
    encode = [crop_encoder(model, paintings, count, seed) for paintings in sides]
    for _ in range(steps):
        chosen = torch.randint(count, (size,), generator=generator).tolist()
        posteriors = [one(chosen) for one in encode]
        shape = posteriors[0].mean.shape
        prompts = [TEMPLATES[i] for i in torch.randint(len(TEMPLATES), (size,), generator=generator).tolist()]
        timesteps = torch.randint(model.timesteps, (size,), generator=generator).to(model.device)
        noise, spread = (torch.randn(shape, generator=generator).to(model.device) for _ in range(2))
        latents = [side.sample(spread) for side in posteriors]
        yield [Batch(one, timesteps, noise, prompts) for one in latents]


def gradients(
    model: LatentDiffusion, batch: Batch, condition: Callable[[], Condition], weights: Sequence[Tensor]
) -> tuple[float, list[Tensor]]:
    """The noise error, a mean over the batch, and its gradient with respect to each of the weights, float32.

    condition returns that of each of the batch's prompts; it is called again if half precision overflows. As many
    samples go through the denoiser together as the model takes at once. Raises ModelError.
    """
    count, numbers = len(batch.latents), batch.latents[0].numel()
    chunks = torch.arange(count).split(model.at_once)

    @torch.enable_grad()
    def flat() -> tuple[float, Tensor]:
        told, total, parts = condition(), 0.0, []
        for chunk in chunks:
            latents, timesteps, noise = batch.latents[chunk], batch.timesteps[chunk], batch.noise[chunk]
            errors = model.noise_error(latents, timesteps, noise, told[chunk])
            # The gradient of a mean over so many numbers is too small for half precision; that of their sum is not.
            pulls = torch.autograd.grad(numbers * errors.sum(), weights, retain_graph=len(chunks) > 1)
            total += errors.sum().item()
            parts.append(torch.cat([pull.flatten().float() for pull in pulls]))
        return total / count, torch.stack(parts).sum(0) / (count * numbers)

    loss, gradient = model.finite_gradient(flat)
    parts = gradient.split([weight.numel() for weight in weights])
    return loss, [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
