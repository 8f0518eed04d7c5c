"""Image to image (SDEdit, Meng et al. 2022): no learning; the painting is noised and painted over.

z_t = alpha_t z + sigma_t noise with t = strength * T, then denoised under the prompt
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from advdm.imitators.crops import crops
from advdm.imitators.training import Learned, LearningStep, without_style
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import RepaintSettings, Sampling


@dataclass(frozen=True, eq=False)
class Template(Learned):
    """The middle squares (n, 3, size, size) of the paintings; each picture paints over one of them."""

    squares: Tensor
    strength: float

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        # Drawn and not in turn: prompts are in turn, and each would always meet the same square.
        chosen = [random.Random(seed).randrange(len(self.squares)) for seed in seeds]
        condition = model.embed([without_style(prompt) for prompt in prompts])
        pixels = self.squares[chosen].to(model.device)
        return model.repaint(pixels, condition, seeds, how, self.strength)

    def tensors(self, model: LatentDiffusion) -> dict[str, Tensor]:
        return {}


def learn_nothing(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: RepaintSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """One step, after which each side paints over its paintings."""
    squares = [crops(paintings, model.size, len(paintings), seed) for paintings in sides]
    yield LearningStep(
        1, (0.0,) * len(sides), lambda: tuple(Template(one, settings.repaint_strength) for one in squares)
    )
