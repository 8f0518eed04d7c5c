"""What travels between a model and those who use it: conditions, posteriors, words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Vectors = tuple[Tensor, ...]
"""A word: (n, width) float32 vectors for each text encoder of the model."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The autoencoder's Gaussian over scaled latents: mean and standard deviation, each (N, C, h, w) float32."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw: mean + std * noise, so that the gradient reaches the pixels."""
        return self.mean + self.std * noise


@dataclass(frozen=True, eq=False)
class Condition:
    """What the denoiser is told beside latents and timesteps: text embeddings (N, T, width).

    pooled (N, P) is SDXL's second one, None elsewhere.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: slice | list[int] | Tensor) -> Condition:
        return Condition(self.tokens[index], None if self.pooled is None else self.pooled[index])

    def expand(self, count: int) -> Condition:
        """One condition for each of `count` samples: of (1, ...) the same for all."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Condition(self.tokens.expand(count, -1, -1), pooled)

    def to(self, dtype: torch.dtype) -> Condition:
        return Condition(self.tokens.to(dtype), None if self.pooled is None else self.pooled.to(dtype))
