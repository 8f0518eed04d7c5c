"""Textual inversion: one word is learned, and it means in a stock pipeline what it means here."""

import torch
from safetensors.torch import load_file

from advdm.imitators import learn
from advdm.imitators.inversion import TOKEN, Word
from advdm.models.schedule import sampler
from advdm.settings import InversionSettings, Sampling
from tests.tiny import tiny_pipeline, tiny_sdxl

SETTINGS = InversionSettings(steps=3, vectors=2, batch=2)
HOW = Sampling(steps=3)


def learn_one(model, painting) -> Word:
    *_, step = learn(model, [[painting]], SETTINGS)
    return step.learned()[0]


def test_it_starts_at_a_word_that_the_model_knows_and_moves(tiny, painting):
    word, (start,) = learn_one(tiny, painting), tiny.word("painting", 2)
    assert word.vectors[0].shape == start.shape == (2, 16)
    assert 0.01 < (word.vectors[0] - start).abs().max() <= SETTINGS.steps * SETTINGS.learning_rate


def test_only_prompts_that_hold_it_depend_on_it(tiny):
    prompts = ["a boat in the style of {}", "a boat"]
    first, other = (Word((torch.full((2, 16), value),)).paint(tiny, prompts, [0, 0], HOW) for value in (0.5, -2.0))
    assert not torch.equal(first[0], other[0]) and torch.equal(first[1], other[1])


def test_a_stock_pipeline_paints_the_same_from_its_file(tiny, painting, tmp_path):
    word = learn_one(tiny, painting)
    path = word.save(tiny, tmp_path / "learned_embeds.safetensors")
    pipeline = tiny_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = sampler(pipeline.scheduler.config)
    pipeline.load_textual_inversion(str(path))
    prompt = f"a boat in the style of {TOKEN}"
    theirs, _ = pipeline.encode_prompt(prompt, "cpu", 1, False)
    assert torch.equal(tiny.embed_word(["a boat in the style of {}"], word.vectors).tokens, theirs), "bit for bit"
    options = {"num_inference_steps": 3, "guidance_scale": HOW.guidance, "output_type": "pt"}
    picture = pipeline(prompt, generator=torch.Generator().manual_seed(7), **options).images
    torch.testing.assert_close(word.paint(tiny, ["a boat in the style of {}"], [7], HOW), picture, rtol=0, atol=1e-4)


def test_sdxl_s_word_has_vectors_for_both_encoders(tiny_xl, painting, tmp_path):
    word = learn_one(tiny_xl, painting)
    assert [part.shape for part in word.vectors] == [(2, 16), (2, 24)]
    path, pipeline = word.save(tiny_xl, tmp_path / "learned_embeds.safetensors"), tiny_sdxl()
    for key, tokenizer, encoder in (
        ("clip_l", pipeline.tokenizer, pipeline.text_encoder),
        ("clip_g", pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        vectors = load_file(path)[key]
        pipeline.load_textual_inversion(vectors, token=TOKEN, tokenizer=tokenizer, text_encoder=encoder)
    prompt = f"a boat in the style of {TOKEN}"
    theirs, _, pooled, _ = pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
    ours = tiny_xl.embed_word(["a boat in the style of {}"], word.vectors)
    torch.testing.assert_close((ours.tokens, ours.pooled), (theirs, pooled), rtol=0, atol=1e-6)
