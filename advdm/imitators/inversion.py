"""Textual inversion (Gal et al. 2022): learn one word v from a painting, with nothing else changed.

    v* = argmin_v E |predict(z, t, noise, "a painting in the style of v") - target|^2,   v: (vectors, width)

As in the diffusers example nothing but the word learns. It learns in seconds: fewer steps than there, at a larger
learning rate that falls to nothing, so that the last steps do not decide by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from advdm.imitators.training import Learned, LearningStep, batches, gradients
from advdm.models import LatentDiffusion, Vectors
from advdm.paintings import Painting
from advdm.settings import InversionSettings, Sampling

TOKEN = "<painter>"


@dataclass(frozen=True, eq=False)
class Word(Learned):
    """A learned word: (vectors, width) float32 for each text encoder."""

    vectors: Vectors

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        with torch.no_grad():
            condition = model.embed_word(prompts, self.vectors)
        return model.generate(condition, seeds, how)

    def tensors(self, model: LatentDiffusion) -> dict[str, Tensor]:
        """For `pipe.load_textual_inversion`."""
        return model.word_tensors(self.vectors, TOKEN)


def learn_words(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: InversionSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Learn one word from each side's paintings, of any size, a step at a time. Equal sides give equal words."""
    start = model.word("painting", settings.vectors)
    words = [tuple(part.clone().requires_grad_() for part in start) for _ in sides]
    optimizer = torch.optim.AdamW([part for word in words for part in word], settings.learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, settings.steps)

    def learned() -> tuple[Word, ...]:
        return tuple(Word(tuple(part.detach().clone() for part in word)) for word in words)

    for number, step in enumerate(batches(model, sides, settings.steps, settings.batch, seed), 1):
        losses = []
        for word, batch in zip(words, step, strict=True):
            loss, pulls = gradients(model, batch, partial(model.embed_word, batch.prompts, word), word)
            losses.append(loss)
            for part, pull in zip(word, pulls, strict=True):
                part.grad = pull
        optimizer.step()
        schedule.step()
        yield LearningStep(number, tuple(losses), learned)
