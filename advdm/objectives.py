"""What an attack pushes on: each objective is one short pure function over latents.

All have the same form: (model, latents, draw, condition) -> (losses, gradient), where latents are (N, C, h, w)
samples of the posterior, losses (N,) is what the attack makes larger, and gradient (N, C, h, w) is the direction
in which each sample's own loss grows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advdm.models import Condition, LatentDiffusion

Objective = Callable[[LatentDiffusion, Tensor, "Draw", Condition], tuple[Tensor, Tensor]]

MIST_WEIGHT = 10_000 / (4 * 64 * 64)
"""Mist weighs the noise error with 10,000 against a sum of squares over the 4 x 64 x 64 numbers of a latent of Stable
Diffusion at 512 px. Here both are means, so the same balance is 0.61, whatever the size of the latents."""


@dataclass(frozen=True, eq=False)
class Draw:
    """One Monte-Carlo draw a sample: timesteps (N,) uniform over the training timesteps, noise (N, C, h, w).

    target (1, C, h, w), the same for all samples, is what the objectives in `settings.TARGETED` drive the latents to.
    """

    timesteps: Tensor
    noise: Tensor
    target: Tensor | None = None

    def split(self, size: int) -> list["Draw"]:
        pairs = zip(self.timesteps.split(size), self.noise.split(size), strict=True)
        return [Draw(timesteps, noise, self.target) for timesteps, noise in pairs]


def draw(
    model: LatentDiffusion, shape: tuple[int, ...], generator: torch.Generator, target: Tensor | None = None
) -> Draw:
    """Timesteps and noise for latents of `shape`, drawn on the CPU so that a seed means the same on every device."""
    timesteps = torch.randint(model.timesteps, shape[:1], generator=generator)
    noise = torch.randn(shape, generator=generator)
    return Draw(timesteps.to(model.device), noise.to(model.device), target)


def advdm(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """The expected noise error (Liang et al. 2023, "Adversarial Example Does Good", their L_DM), to be maximised."""
    latents = latents.detach().requires_grad_()
    losses = model.noise_error(latents, draw.timesteps, draw.noise, condition)
    # The gradient of a mean over thousands of numbers is too small for half precision; that of their sum is not.
    count = latents[0].numel()
    (gradient,) = torch.autograd.grad(count * losses.sum(), latents)
    return losses.detach(), gradient / count


def textural(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """Minus the mean square distance to the target's latent (the textural loss of Mist, Liang & Wu 2023).

    It asks the encoder alone. Mist sums the squares; a mean has the same sign, and means the same at every size.
    """
    assert draw.target is not None
    away = latents.detach() - draw.target
    return -away.square().mean((1, 2, 3)), away * (-2 / away[0].numel())


def mist(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """MIST_WEIGHT * noise error - mean square distance to the target's latent (the fused loss of Mist)."""
    errors, confusing = advdm(model, latents, draw, condition)
    nearness, approaching = textural(model, latents, draw, condition)
    return MIST_WEIGHT * errors + nearness, MIST_WEIGHT * confusing + approaching


def ace(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """Minus the mean square distance of the denoiser's prediction to the target's latent (Zheng et al. 2025, ACE).

    Whatever is asked, the denoiser is to answer one fixed picture: an imitator learns to give that answer.
    """
    assert draw.target is not None
    latents = latents.detach().requires_grad_()
    prediction, _ = model.predict(latents, draw.timesteps, draw.noise, condition)
    squares = (prediction - draw.target).square()
    (gradient,) = torch.autograd.grad(squares.sum(), latents)
    return -squares.detach().mean((1, 2, 3)), -gradient / latents[0].numel()


@torch.no_grad()
def sds(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """The noise error, pushed up along the score-distillation gradient (Xue et al. 2024, Diff-Protect, SDS+).

    The gradient is prediction - noise, as if the denoiser passed its latents through: nothing goes back through it,
    and no timestep is weighted. Of a model that predicts velocities it is the error of these, which differs from that
    of the noise by a positive factor of the timestep.
    """
    prediction, wanted = model.predict(latents, draw.timesteps, draw.noise, condition)
    error = prediction - wanted
    return error.square().mean((1, 2, 3)), error


def sds_down(model: LatentDiffusion, latents: Tensor, draw: Draw, condition: Condition) -> tuple[Tensor, Tensor]:
    """The same downhill: the painting becomes what the model expects anyway (Diff-Protect's default, SDS-)."""
    errors, gradient = sds(model, latents, draw, condition)
    return -errors, -gradient


OBJECTIVES: dict[str, Objective] = {
    "advdm": advdm,
    "textural": textural,
    "mist": mist,
    "ace": ace,
    "sds": sds,
    "sds_down": sds_down,
}
