"""LoRA: the attention alone is changed, at one rank, under one rare word, and a stock pipeline loads it."""

import pytest
import torch
from safetensors.torch import load_file

from advdm.imitators import learn
from advdm.imitators.lora import RARE, Lora
from advdm.models.schedule import sampler
from advdm.settings import LoraSettings, Sampling
from tests.tiny import tiny_pipeline, tiny_sdxl

SETTINGS = LoraSettings(steps=3, rank=4, batch=2, learning_rate=0.01)
HOW = Sampling(steps=3)
PROMPT = "a boat in the style of {}"


def learn_one(model, painting, settings=SETTINGS) -> Lora:
    *_, step = learn(model, [[painting]], settings)
    return step.learned()[0]


def test_every_attention_and_nothing_else_learns(tiny, painting):
    found = learn_one(tiny, painting).weights
    layers = {name for name, _ in tiny.unet.named_modules() if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))}
    assert {name.removesuffix(f".lora_{part}.weight") for name in found for part in "AB" if part in name} >= layers
    assert len(found) == 2 * len(layers)
    assert all(4 in weight.shape for weight in found.values())
    assert all(weight.abs().max() > 0 for weight in found.values()), "B, which starts at nothing, has moved"


def test_nothing_learned_is_the_model_itself(tiny, painting):
    lora = learn_one(tiny, painting)
    still = Lora({name: 0 * weight if "lora_B" in name else weight for name, weight in lora.weights.items()}, SETTINGS)
    plain = tiny.generate(tiny.embed(PROMPT.replace("{}", RARE)), [7], Sampling(3))
    torch.testing.assert_close(still.paint(tiny, [PROMPT], [7], HOW), plain, rtol=0, atol=1e-5)
    assert not torch.allclose(lora.paint(tiny, [PROMPT], [7], HOW), plain, atol=1e-4)


@pytest.mark.parametrize("model_name, build", (("tiny", tiny_pipeline), ("tiny_xl", tiny_sdxl)))
def test_a_stock_pipeline_paints_the_same_from_its_file(request, model_name, build, painting, tmp_path):
    model, pipeline = request.getfixturevalue(model_name), build()
    lora = learn_one(model, painting)
    path = lora.save(model, tmp_path / "lora.safetensors")
    assert all(weight.dtype == torch.float32 for weight in load_file(path).values())
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = sampler(pipeline.scheduler.config)
    pipeline.load_lora_weights(str(path))
    options = {"num_inference_steps": 3, "guidance_scale": HOW.guidance, "output_type": "pt", "height": 64, "width": 64}
    generator = torch.Generator().manual_seed(7)
    picture = pipeline(PROMPT.replace("{}", RARE), generator=generator, **options).images
    torch.testing.assert_close(lora.paint(model, [PROMPT], [7], HOW), picture, rtol=0, atol=1e-4)
