"""Those who imitate. All have one form: learn(model, sides, settings, seed) yields a `LearningStep` after each step.

A side is the paintings that one imitator learns from. What it learned paints pictures, and is saved as diffusers reads
it.
"""

from collections.abc import Callable, Iterator, Sequence

from advdm.imitators.inversion import learn_words
from advdm.imitators.lora import learn_loras
from advdm.imitators.repaint import learn_nothing
from advdm.imitators.training import Learned, LearningStep, without_style
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import IMITATORS, ImitatorSettings, InversionSettings, LoraSettings, RepaintSettings, Sampling

LEARN: dict[type[ImitatorSettings], Callable[..., Iterator[LearningStep]]] = {
    InversionSettings: learn_words,
    LoraSettings: learn_loras,
    RepaintSettings: learn_nothing,
}


def learn(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: ImitatorSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Let the imitator of these settings learn from each side. Equal sides learn equal things."""
    return LEARN[type(settings)](model, sides, settings, seed)


__all__ = [
    "IMITATORS",
    "ImitatorSettings",
    "InversionSettings",
    "Learned",
    "LearningStep",
    "LoraSettings",
    "RepaintSettings",
    "Sampling",
    "learn",
    "without_style",
]
