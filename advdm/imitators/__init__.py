"""Those who imitate. All have one form: learn(model, sides, settings, seed) yields a `LearningStep` after each step.

A side is the paintings that one imitator learns from. What it learned paints pictures, and is saved as diffusers reads
it.
"""

from collections.abc import Iterator, Sequence

from advdm.imitators.inversion import learn_words
from advdm.imitators.lora import learn_loras
from advdm.imitators.repaint import learn_nothing
from advdm.imitators.training import Learned, LearningStep, without_style
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import ImitatorSettings, InversionSettings, LoraSettings, RepaintSettings


def learn(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: ImitatorSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Let the imitator of these settings learn from each side. Equal sides learn equal things."""
    match settings:
        case InversionSettings():
            return learn_words(model, sides, settings, seed)
        case LoraSettings():
            return learn_loras(model, sides, settings, seed)
        case RepaintSettings():
            return learn_nothing(model, sides, settings, seed)


__all__ = ["Learned", "LearningStep", "learn", "without_style"]
