"""Textual inversion: one word is learned, from one that the model knows."""

import pytest
import torch

from advdm.imitators import learn
from advdm.imitators.inversion import Word
from advdm.settings import InversionSettings, Sampling

SETTINGS = InversionSettings(steps=3, vectors=2, batch=2)


@pytest.mark.parametrize("model_name, widths", (("tiny", [16]), ("tiny_xl", [16, 24])))
def test_it_starts_at_a_known_word_and_moves_in_every_encoder(request, model_name, widths, painting):
    model = request.getfixturevalue(model_name)
    *_, step = learn(model, [[painting]], SETTINGS)
    word, start = step.learned()[0].vectors, model.word("painting", 2)
    assert [part.shape for part in word] == [(2, width) for width in widths]
    for moved, before in zip(word, start, strict=True):
        assert 0.01 < (moved - before).abs().max() <= SETTINGS.steps * SETTINGS.learning_rate


def test_only_prompts_that_hold_it_depend_on_it(tiny):
    prompts = ["a boat in the style of {}", "a boat"]
    words = (Word((torch.full((2, 16), value),)) for value in (0.5, -2.0))
    first, other = (word.paint(tiny, prompts, [0, 0], Sampling(steps=3)) for word in words)
    assert not torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])
