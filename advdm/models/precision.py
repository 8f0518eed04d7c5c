"""Half precision may run out of range: where it does, the same is computed once more in float32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from advdm.errors import ModelError

Loss = TypeVar("Loss")


class Model(Protocol):
    """What this needs of a model."""

    dtype: torch.dtype

    @property
    def title(self) -> str: ...

    def full_precision(self) -> AbstractContextManager[None]: ...


def finite_gradient(
    model: Model, generator: torch.Generator, compute: Callable[[], tuple[Loss, Tensor]]
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


def finite(model: Model, compute: Callable[[], Tensor]) -> Tensor:
    """What `compute` gives, computed again in float32 if it is not finite. Raises ModelError as `finite_gradient`."""
    _, numbers = finite_gradient(model, torch.Generator(), lambda: (None, compute()))
    return numbers


def _finite(numbers: Tensor) -> bool:
    # Not numbers.isfinite(), which goes over the painting six times; a NaN anywhere becomes both extremes.
    return bool(torch.stack(numbers.aminmax()).isfinite().all())
