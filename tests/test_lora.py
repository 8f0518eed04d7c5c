"""LoRA: the attention alone is changed, at one rank, under one rare word."""

import pytest
import torch

from advdm.errors import ModelError
from advdm.imitators import learn
from advdm.imitators.lora import RARE, Lora
from advdm.settings import LoraSettings, Sampling

SETTINGS, HOW = LoraSettings(steps=3, rank=4, batch=2, learning_rate=0.01), Sampling(steps=3)
PROMPT = "a boat in the style of {}"


@pytest.fixture
def lora(tiny, painting) -> Lora:
    *_, step = learn(tiny, [[painting]], SETTINGS)
    return step.learned()[0]


def test_every_attention_and_nothing_else_learns(tiny, lora):
    layers = [name for name, _ in tiny.unet.named_modules() if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
    assert lora.weights.keys() == {f"{layer}.lora_{part}.weight" for layer in layers for part in "AB"}
    assert all(4 in weight.shape for weight in lora.weights.values())
    assert all(weight.abs().max() > 0 for weight in lora.weights.values()), "B, which starts at nothing, has moved"


def test_nothing_learned_is_the_model_itself(tiny, lora):
    still = Lora({name: 0 * weight if "lora_B" in name else weight for name, weight in lora.weights.items()}, SETTINGS)
    plain = tiny.generate(tiny.embed(PROMPT.replace("{}", RARE)), [7], HOW)
    torch.testing.assert_close(still.paint(tiny, [PROMPT], [7], HOW), plain, rtol=0, atol=1e-5)
    assert not torch.allclose(lora.paint(tiny, [PROMPT], [7], HOW), plain, atol=1e-4)


def test_two_that_learn_at_once_and_another_rank_are_refused(tiny, painting, lora):
    first = learn(tiny, [[painting]], LoraSettings(steps=2, rank=2, batch=1))
    next(first)
    with pytest.raises(ModelError, match="still learning"):
        next(learn(tiny, [[painting]], SETTINGS))
    with pytest.raises(ModelError, match="of rank 2 is still learning"):
        lora.paint(tiny, [PROMPT], [7], HOW)
    assert next(first).number == 2, "and the first goes on"
    first.close()
    assert lora.paint(tiny, [PROMPT], [7], HOW).isfinite().all()
