"""What an attack pushes on: each objective is one short pure function over latents.

All have the same form: (model, latents, draw, embedding) -> (losses, gradient), where latents are (N, C, h, w)
samples of the posterior, losses (N,) is what the attack makes larger, and gradient (N, C, h, w) is the direction
in which each sample's own loss grows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advdm.model import LatentDiffusion

Objective = Callable[[LatentDiffusion, Tensor, "Draw", Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Draw:
    """One Monte-Carlo draw a sample: timesteps (N,) uniform over the training timesteps, noise (N, C, h, w)."""

    timesteps: Tensor
    noise: Tensor

    def split(self, size: int) -> list["Draw"]:
        pairs = zip(self.timesteps.split(size), self.noise.split(size), strict=True)
        return [Draw(timesteps, noise) for timesteps, noise in pairs]


def draw(model: LatentDiffusion, shape: tuple[int, ...], generator: torch.Generator) -> Draw:
    """Timesteps and noise for latents of `shape`, drawn on the CPU so that a seed means the same on every device."""
    timesteps = torch.randint(model.timesteps, shape[:1], generator=generator)
    noise = torch.randn(shape, generator=generator)
    return Draw(timesteps.to(model.device), noise.to(model.device))


def advdm(model: LatentDiffusion, latents: Tensor, draw: Draw, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The expected noise error (Liang et al. 2023, "Adversarial Example Does Good", their L_DM), to be maximised."""
    latents = latents.detach().requires_grad_()
    losses = model.noise_error(latents, draw.timesteps, draw.noise, embedding)
    # The gradient of a mean over thousands of numbers is too small for half precision; that of their sum is not.
    count = latents[0].numel()
    (gradient,) = torch.autograd.grad(count * losses.sum(), latents)
    return losses.detach(), gradient / count


OBJECTIVES: dict[str, Objective] = {"advdm": advdm}
