"""Image to image (SDEdit, Meng et al. 2022): no learning; the painting is noised and painted over.

z_t = alpha_t z + sigma_t noise with t = strength * T, then denoised under the prompt
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from torch import Tensor

from advdm.imitators.crops import crops
from advdm.imitators.training import LearningStep, without_style
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import RepaintSettings, Sampling


@dataclass(frozen=True, eq=False)
class Template:
    """The middle squares (n, 3, size, size) of the paintings, each in turn painted over."""

    squares: Tensor
    strength: float

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        chosen = torch.tensor([seed % len(self.squares) for seed in seeds])
        condition = model.embed([without_style(prompt) for prompt in prompts])
        pixels = self.squares[chosen].to(model.device)
        return model.repaint(pixels, condition, seeds, how, self.strength)

    def save(self, model: LatentDiffusion, path: str | PathLike[str]) -> None:
        """Nothing was learned, so there is no file."""


def learn_nothing(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: RepaintSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """One step, after which each side paints over its paintings."""
    squares = [crops(paintings, model.size, len(paintings), seed) for paintings in sides]
    yield LearningStep(1, (0.0,) * len(sides), lambda: tuple(Template(one, settings.strength) for one in squares))
