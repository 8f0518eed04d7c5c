"""The attack: projected sign ascent on the painting's own pixels x (AdvDM, Liang et al. 2023, Algorithm 1).

    g = grad_x mean_i L(z_i, t_i, noise_i),   z_i ~ q(z | view(x + d)),   i = 1 ... samples
    m = MOMENTUM m + g / mean |g|                                where the view looked
    d = A clip(A^-1 d + stride * share * sign(A' m), -limit, limit),   limit = epsilon * share,   0 <= x + d <= 1

share (H, W) is the budget: how much of epsilon each pixel may use. A are the axes of colour along which it is spent:
the eye forgives colour more than lightness. No row of A sums to more than 1 in size, so |d| <= limit.

Every pixel that has a share moves at every step, also outside the view. Otherwise corners, which few squares show,
would move less than the middle. Less than half a level of epsilon is no share: that pixel stays clean.

`even` has share 1 and A = I. `as_published` is the paper's algorithm and nothing else: the whole picture, even, no
momentum.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from advdm.budget import COLOUR, budget, masked, whole_levels
from advdm.errors import SettingsError
from advdm.models import Condition, LatentDiffusion
from advdm.objectives import OBJECTIVES, Draw, draw
from advdm.paintings import Levels, Painting, is_grey
from advdm.settings import PROMPT, STRENGTHS, TARGETED, Settings
from advdm.strength import epsilon_for
from advdm.targets import Target, target_latents, target_levels
from advdm.views import LEVELS, View, random_view, whole_view

MOMENTUM = 0.9
"""Of the running mean of gradients (MI-FGSM, Dong et al. 2018): what steps with other timesteps, noise and views agree
on is the gradient of the expectation."""
STRIP = 2**16
"""Pixels that are worked on at a time: few enough for the processor's caches, which makes a step's move six times as
quick, and a large painting needs no second float copy."""


@dataclass(frozen=True, eq=False)
class Step:
    """One finished step: its number from 1, and the mean loss over its samples before it moved.

    Stop after any step: `protected()` is a valid result. The perturbation moves on with the next step. settings are
    those of the attack, with the epsilon that a strength chose.
    """

    number: int
    loss: float
    painting: Painting
    perturbation: Tensor
    settings: Settings

    def protected(self) -> Painting:
        """The painting with levels within epsilon of its own, channel by channel."""
        return replace(self.painting, levels=apply_perturbation(self.painting.levels, self.perturbation))


def protect(
    painting: Painting,
    model: LatentDiffusion,
    *,
    target: Painting | None = None,
    mask: Levels | None = None,
    strength: str | None = None,
    **settings: int | float | str | bool | None,
) -> Painting:
    """The painting as protected against one model; `settings` are those of `Settings`. Raises SettingsError.

    On one machine's CPU the same arguments give the same bytes.
    """
    *_, last = protection_steps(painting, model, Settings(**settings), target, mask, strength)  # type: ignore[arg-type]
    return last.protected()


def protection_steps(
    painting: Painting,
    model: LatentDiffusion,
    settings: Settings,
    target: Painting | None = None,
    mask: Levels | None = None,
    strength: str | None = None,
) -> Iterator[Step]:
    """The attack, one `Step` at a time. Raises SettingsError.

    target, for the objectives that have one, is a picture of any size; None is a pattern. mask (H, W) uint8 is white
    where the painting may change, black where it may not, and grey in between. strength, one of `settings.STRENGTHS`,
    chooses epsilon for this painting, whatever the settings say.
    """
    settings.check_target(target)
    if strength not in (None, *STRENGTHS):
        raise SettingsError(f"There is no strength '{strength}'; choose from: {', '.join(STRENGTHS)}.")
    height, width = painting.levels.shape[:2]
    own = np.ones((height, width), np.float32) if settings.evenly else budget(painting.levels)
    if strength:
        # A mask has no say: what is left clean does not make the rest more visible.
        colour = torch.eye(3) if settings.evenly else COLOUR
        epsilon = epsilon_for(painting.levels, own, STRENGTHS[strength], model.size, colour)
        settings = replace(settings, epsilon=epsilon)
    limits = whole_levels(own if mask is None else masked(own, mask), settings.epsilon)
    aim = target_latents(target_levels(painting, target), model) if settings.objective in TARGETED else None
    generator = torch.Generator().manual_seed(settings.seed)
    condition = model.embed(PROMPT)
    with model.enough_memory():
        levels = torch.from_numpy(painting.levels).permute(2, 0, 1)[None].to(model.device).contiguous()
        # A grey painting gets one plane, so its perturbation stays grey, also where the file could hold colour.
        grey = painting.grey or (not settings.evenly and is_grey(painting.levels))
        levels = levels[:, :1] if grey else levels
        perturbation, trail = (torch.zeros(levels.shape, device=model.device) for _ in range(2))
        share = torch.from_numpy(limits).to(model.device)
    axes = None if settings.evenly or grey else COLOUR.to(model.device)
    for number in range(1, settings.steps + 1):
        if settings.as_published:
            view = whole_view(height, width, model.size, model.factor)
        else:
            view = random_view(height, width, model.size, model.factor, generator)
        with model.enough_memory():
            pixels = torch.add(view.crop(perturbation), view.crop(levels), alpha=1 / LEVELS)
            look = partial(pixel_gradient, pixels, view, model, condition, settings, generator, aim)
            loss, gradient = model.finite_gradient(look, generator)
            accumulate(view.crop(trail), gradient, 0 if settings.as_published else MOMENTUM)
            move(perturbation, trail, levels, share, axes, settings)
        yield Step(number, loss, painting, perturbation, settings)


def accumulate(trail: Tensor, gradient: Tensor, momentum: float) -> None:
    """Add a gradient to the running mean in place; all count alike, for each is brought to a mean size of one first."""
    size = torch.linalg.vector_norm(gradient, 1) / gradient.numel()
    trail.mul_(momentum).add_(gradient, alpha=1 / max(size.item(), torch.finfo(torch.float32).tiny))


def move(
    perturbation: Tensor, trail: Tensor, levels: Tensor, share: Tensor, axes: Tensor | None, settings: Settings
) -> None:
    """One step in place, within the budget and within black and white."""
    inverse = None if axes is None else torch.linalg.inv(axes)
    for rows in strips(*share.shape):
        pixels, own = levels[..., rows, :] / LEVELS, share[rows]
        along, moved = trail[..., rows, :], perturbation[..., rows, :]
        if axes is not None and inverse is not None:
            along, moved = turn(axes.T, along), turn(inverse, moved)
        limit = own * (settings.epsilon / LEVELS)
        moved = torch.minimum(torch.maximum(moved + along.sign() * (own * (settings.stride / LEVELS)), -limit), limit)
        moved = moved if axes is None else turn(axes, moved)
        perturbation[..., rows, :] = torch.minimum(torch.maximum(moved, -pixels), 1 - pixels)


def turn(matrix: Tensor, planes: Tensor) -> Tensor:
    """The matrix (3, 3) times the three numbers of each pixel of (N, 3, H, W)."""
    return torch.einsum("ij,njhw->nihw", matrix, planes)


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

    pixels (1, 1 or 3, h, w) in [0, 1], already cropped to the view; the gradient has their shape. The encoder runs
    once forward and once backward, whatever `samples` is.
    """
    leaf = pixels.detach().requires_grad_()
    posterior = model.encode(view.look(leaf.expand(-1, 3, -1, -1)))
    shape = (settings.samples, *posterior.mean.shape[1:])
    latents = posterior.sample(torch.randn(shape, generator=generator).to(model.device))
    draws = draw(model, shape, generator, aim(view) if aim else None)
    losses, pulls = _latent_gradients(model, latents.detach(), draws, condition, settings)
    # Half precision would round the small gradient of a mean to nothing: it goes through the encoder at size one.
    scale = pulls.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    (gradient,) = torch.autograd.grad(latents, leaf, pulls / scale)
    return losses.mean().item(), gradient.mul_(scale / settings.samples)


def _latent_gradients(
    model: LatentDiffusion, latents: Tensor, draws: Draw, condition: Condition, settings: Settings
) -> tuple[Tensor, Tensor]:
    """The objective's losses (samples,) and gradients (samples, C, h, w), as many at a time as the model takes."""
    objective, size = OBJECTIVES[settings.objective], model.at_once
    chunks = zip(latents.split(size), draws.split(size), strict=True)
    losses, gradients = zip(*(objective(model, *chunk, condition) for chunk in chunks), strict=True)
    return torch.cat(losses), torch.cat(gradients)


def apply_perturbation(levels: Levels, perturbation: Tensor) -> Levels:
    """Add a (1, 1 or 3, H, W) perturbation in [-1, 1] to (H, W, 3) uint8 levels, rounded to 8 bits.

    Every limit is a whole number of levels, so rounding cannot cross it.
    """
    moved = np.empty_like(levels)
    planes = perturbation.expand(-1, 3, -1, -1)[0]
    for rows in strips(*levels.shape[:2]):
        strip = planes[:, rows].permute(1, 2, 0).mul(LEVELS).cpu().numpy()
        moved[rows] = np.clip(levels[rows] + np.rint(strip), 0, LEVELS)
    return moved


def strips(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture, some at a time."""
    step = max(1, STRIP // width)
    return (slice(row, row + step) for row in range(0, height, step))
