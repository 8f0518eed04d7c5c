"""The attack: projected sign ascent on the painting's own pixels, over Monte-Carlo samples and views (AdvDM, sec. 4).

Each step looks at the painting through one random view, encodes it once, draws `samples` posterior latents,
timesteps and noises, asks the objective for the gradient of each, and carries their mean back through the
encoder and the resize to the painting's own pixels, which move by the sign of its running mean over the steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advdm.errors import SettingsError
from advdm.models import Condition, LatentDiffusion
from advdm.objectives import OBJECTIVES, TARGETED, Draw, draw
from advdm.paintings import Painting, write_painting
from advdm.platforms import random_treatment
from advdm.models.precision import finite_gradient
from advdm.settings import whole, within
from advdm.targets import Target, target_latents, target_levels
from advdm.views import LEVELS, View, random_view

PROMPT = "a painting"
MOMENTUM = 0.9
"""Of the running mean of gradients over the steps (MI-FGSM, Dong et al. 2018). Each step sees another timestep, noise
and view, and what they agree on is the gradient of the expectation: the noise error of four Van Goghs rose by a
fourteenth more than by the sign of each step alone, in the same time."""
BAND = 256
"""Rows that are rounded at a time, so that a large painting needs no second float copy."""


@dataclass(frozen=True)
class Settings:
    """How to attack. epsilon and step_size in 8-bit levels; step_size None means an eighth of epsilon.

    robust: each step looks at what is left after something that platforms do, see `platforms.random_treatment`.
    Raises SettingsError when a number is out of range.
    """

    epsilon: int = 8
    steps: int = 100
    samples: int = 1
    step_size: float | None = None
    objective: str = "advdm"
    seed: int = 0
    robust: bool = False

    def __post_init__(self) -> None:
        whole("epsilon", self.epsilon, 1, 64)
        whole("steps", self.steps, 1, 10_000)
        whole("samples", self.samples, 1, 256)
        whole("seed", self.seed, 0, 2**63 - 1)
        if self.step_size is not None:
            within("step size", self.step_size, 0.01, 64)
        if self.objective not in OBJECTIVES:
            raise SettingsError(f"There is no objective '{self.objective}'; choose from: {', '.join(OBJECTIVES)}.")

    @property
    def stride(self) -> float:
        """The step size as used, in 8-bit levels."""
        return self.epsilon / 8 if self.step_size is None else self.step_size

    def check_target(self, target: object | None) -> None:
        """Refuse a target that the objective would not look at."""
        if target is not None and self.objective not in TARGETED:
            names = " and ".join(TARGETED)
            raise SettingsError(f"The objective '{self.objective}' has no target; only {names} have one.")


@dataclass(frozen=True, eq=False)
class Protected:
    """A protected painting: 8-bit levels (H, W, 3) within epsilon of the painting's, channel by channel."""

    painting: Painting
    levels: np.ndarray

    def save(self, path: str | PathLike[str]) -> Path:
        """Write a PNG of the painting's own size, mode and profile. Raises PaintingError."""
        return write_painting(self.levels, self.painting, path)


@dataclass(frozen=True, eq=False)
class Step:
    """One finished step: its number from 1, and the mean loss over its samples before it moved.

    Stop after any step: `protected()` is a valid result. The perturbation moves on with the next step.
    """

    number: int
    loss: float
    painting: Painting
    perturbation: Tensor

    def protected(self) -> Protected:
        return Protected(self.painting, apply_perturbation(self.painting.levels, self.perturbation))


def protect(
    painting: Painting,
    model: LatentDiffusion,
    *,
    epsilon: int = 8,
    steps: int = 100,
    samples: int = 1,
    step_size: float | None = None,
    objective: str = "advdm",
    seed: int = 0,
    robust: bool = False,
    target: Painting | None = None,
) -> Protected:
    """Protect a painting against one model; on one machine's CPU the same arguments give the same bytes.

    Raises SettingsError.
    """
    settings = Settings(epsilon, steps, samples, step_size, objective, seed, robust)
    *_, last = protection_steps(painting, model, settings, target)
    return last.protected()


def protection_steps(
    painting: Painting, model: LatentDiffusion, settings: Settings, target: Painting | None = None
) -> Iterator[Step]:
    """The attack, one `Step` at a time: perturbation += stride * sign(running mean of gradients).

    Projected onto at most epsilon a pixel, and onto pixels in [0, 1]. target, for the objectives that have one, is a
    picture of any size; None is a pattern. Raises SettingsError.
    """
    settings.check_target(target)
    aim = target_latents(target_levels(painting, target), model) if settings.objective in TARGETED else None
    generator = torch.Generator().manual_seed(settings.seed)
    condition = model.embed(PROMPT)
    with model.enough_memory():
        levels = torch.from_numpy(painting.levels).permute(2, 0, 1)[None].to(model.device).contiguous()
        # A grey painting has one plane, so its perturbation stays grey.
        levels = levels[:, :1] if painting.grey else levels
        perturbation, mean_gradient = (torch.zeros(levels.shape, device=model.device) for _ in range(2))
    height, width = levels.shape[-2:]
    for number in range(1, settings.steps + 1):
        view = random_view(height, width, model.size, model.factor, generator)
        original, moved = view.crop(levels), view.crop(perturbation)
        with model.enough_memory():
            pixels = torch.add(moved, original, alpha=1 / LEVELS)
            look = partial(pixel_gradient, pixels, view, model, condition, settings, generator, aim)
            loss, gradient = finite_gradient(model, generator, look)
            trail = accumulate(view.crop(mean_gradient), gradient)
            pixels.add_(torch.sign(trail, out=gradient), alpha=settings.stride / LEVELS).clamp_(0, 1)
            # The gradient has served; its memory takes the original levels, for paintings may be very large.
            torch.sub(pixels, gradient.copy_(original), alpha=1 / LEVELS, out=moved)
            moved.clamp_(-settings.epsilon / LEVELS, settings.epsilon / LEVELS)
        yield Step(number, loss, painting, perturbation)


def accumulate(trail: Tensor, gradient: Tensor) -> Tensor:
    """Add a gradient to the running mean in place; all count alike, for each is brought to a mean size of one first."""
    size = torch.linalg.vector_norm(gradient, 1) / gradient.numel()
    return trail.mul_(MOMENTUM).add_(gradient, alpha=1 / max(size.item(), torch.finfo(torch.float32).tiny))


@torch.enable_grad()
def pixel_gradient(
    pixels: Tensor,
    view: View,
    model: LatentDiffusion,
    condition: Condition,
    settings: Settings,
    generator: torch.Generator,
    aim: Target | None = None,
) -> tuple[float, Tensor]:
    """Mean loss over `samples` draws and the gradient of that mean with respect to the viewed pixels.

    pixels (1, 1 or 3, h, w) in [0, 1], already cropped to the view; the gradient has their shape. The encoder
    runs once forward and once backward, whatever `samples` is, and once forward for a target in a new view. Where
    the samples are too much for the device's memory, they go through the denoiser again, one at a time.
    """
    leaf = pixels.detach().requires_grad_()
    seen = view.look(leaf.expand(-1, 3, -1, -1))
    if settings.robust:
        # After the resize, where it costs little however large the painting is, and does more harm than before it.
        seen = random_treatment(generator)(seen)
    posterior = model.encode(seen)
    shape = (settings.samples, *posterior.mean.shape[1:])
    latents = posterior.sample(torch.randn(shape, generator=generator).to(model.device))
    draws = draw(model, shape, generator, aim(view) if aim else None)
    losses, pulls = _latent_gradients(model, latents.detach(), draws, condition, settings)
    # Half precision would round the small gradient of a mean to nothing: it goes through the encoder at size one.
    strength = pulls.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    (gradient,) = torch.autograd.grad(latents, leaf, pulls / strength)
    return losses.mean().item(), gradient.mul_(strength / settings.samples)


def _latent_gradients(
    model: LatentDiffusion, latents: Tensor, draws: Draw, condition: Condition, settings: Settings
) -> tuple[Tensor, Tensor]:
    """The objective's losses (samples,) and gradients (samples, C, h, w), as many at a time as there is memory for."""
    try:
        return _in_chunks(model, latents, draws, condition, settings, model.at_once)
    except torch.OutOfMemoryError:
        pass  # Not tried again in here, where the error still holds the memory of the first try.
    torch.cuda.empty_cache()
    return _in_chunks(model, latents, draws, condition, settings, 1)


def _in_chunks(
    model: LatentDiffusion, latents: Tensor, draws: Draw, condition: Condition, settings: Settings, size: int
) -> tuple[Tensor, Tensor]:
    """The same with `size` samples at a time."""
    objective = OBJECTIVES[settings.objective]
    chunks = zip(latents.split(size), draws.split(size), strict=True)
    losses, gradients = zip(*(objective(model, *chunk, condition) for chunk in chunks), strict=True)
    return torch.cat(losses), torch.cat(gradients)


def apply_perturbation(levels: np.ndarray, perturbation: Tensor) -> np.ndarray:
    """Add a (1, 1 or 3, H, W) perturbation in [-1, 1] to (H, W, 3) uint8 levels, rounded to 8 bits.

    epsilon is a whole number of levels, so rounding cannot cross it.
    """
    moved = np.empty_like(levels)
    planes = perturbation.expand(-1, 3, -1, -1)[0]
    for row in range(0, len(levels), BAND):
        band = planes[:, row : row + BAND].permute(1, 2, 0).mul(LEVELS).cpu().numpy()
        moved[row : row + BAND] = np.clip(levels[row : row + BAND] + np.rint(band), 0, LEVELS)
    return moved
