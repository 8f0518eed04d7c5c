"""Half precision may run out of range: where it does, the same is computed once more in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from advdm.errors import ModelError

if TYPE_CHECKING:
    from advdm.models.latent_diffusion import LatentDiffusion

Loss = TypeVar("Loss")


def finite_gradient(
    model: LatentDiffusion, generator: torch.Generator, compute: Callable[[], tuple[Loss, Tensor]]
) -> tuple[Loss, Tensor]:
    """(loss, gradient) as `compute` gives them, computed again with the same draws in float32 if they are not finite.

    Raises ModelError if those of float32 are not finite either.
    """
    state = generator.get_state()
    loss, gradient = compute()
    if not _finite(gradient) and model.dtype != torch.float32:
        generator.set_state(state)
        with model.full_precision():
            loss, gradient = compute()
    if not _finite(gradient):
        raise ModelError(
            f"The model '{model.title}' answers with numbers that are not finite; its weights are damaged."
        )
    return loss, gradient


def finite(model: LatentDiffusion, compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives, computed again in float32 if it is not finite. Raises ModelError as `finite_gradient`."""
    _, numbers = finite_gradient(model, torch.Generator(), lambda: (None, compute()))
    return numbers


def _finite(numbers: Tensor) -> bool:
    # Not numbers.isfinite(), which goes over the painting six times; a NaN anywhere becomes both extremes.
    return bool(torch.stack(numbers.aminmax()).isfinite().all())
