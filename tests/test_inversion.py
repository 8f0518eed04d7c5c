"""Textual inversion and the experiment around it, on the tiny model."""

import itertools
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch

from advdm.errors import AdvDMError, SettingsError
from advdm.evaluation import noise_error
from advdm.imitators.inversion import (
    VIEWS,
    InversionSettings,
    Word,
    embed_words,
    encode_views,
    initial_vectors,
    invert,
    load_word,
)
from advdm.mimicry import (
    REFERENCE_SEED,
    MimicrySettings,
    imitate,
    imitate_unseen,
    imitation,
    mimicry_steps,
    reference,
)
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Painting
from advdm.views import View, square_view
from tests.tiny import tiny_pipeline

SETTINGS = InversionSettings(steps=3, vectors=2, batch=2)


def pictures(seed: int, *shapes: tuple[int, int]) -> list[Painting]:
    rng = np.random.default_rng(seed)
    return [Painting(rng.integers(0, 256, (*shape, 3), np.uint8)) for shape in shapes]


def learn(model, sets, settings=SETTINGS):
    *_, last = invert(model, sets, settings)
    return last


@pytest.mark.parametrize("name", ("tiny", "tiny_v"))
def test_only_the_word_is_learned(request, name):
    """No weight, no other embedding, no token moves by a bit; the word does."""
    model = request.getfixturevalue(name)
    modules = (model.text_encoder, model.unet, model.vae)
    before = [weight.clone() for module in modules for weight in module.state_dict().values()]
    size = len(model.pipeline.tokenizer)
    step = learn(model, [pictures(0, (70, 90))])
    after = [weight for module in modules for weight in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(model.pipeline.tokenizer) == size
    assert not any(weight.requires_grad for module in modules for weight in module.parameters())
    start = model.text_encoder.get_input_embeddings().weight[
        model.pipeline.tokenizer("painting", add_special_tokens=False).input_ids
    ]
    assert step.words[0].vectors.shape == (2, 16)
    assert (step.words[0].vectors - start).abs().max() > 0.01


def test_words_side_by_side_equal_words_alone(tiny):
    first, second = pictures(0, (70, 90)), pictures(1, (70, 90))
    both = learn(tiny, [first, second])
    for i, alone in enumerate((first, second)):
        step = learn(tiny, [alone])
        torch.testing.assert_close(step.words[0].vectors, both.words[i].vectors, rtol=1e-4, atol=1e-4)
        assert step.losses[0] == pytest.approx(both.losses[i], rel=1e-4)


def test_equal_pictures_give_equal_words_and_different_ones_do_not(tiny):
    same, other = pictures(0, (70, 90)), pictures(1, (70, 90))
    words = learn(tiny, [same, same, other]).words
    # But for rounding, which depends on the place in the batch; each step moves a number by about 0.02.
    torch.testing.assert_close(words[0].vectors, words[1].vectors, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(words[0].vectors, words[2].vectors, atol=1e-3)


def test_several_pictures_of_any_size(tiny):
    step = learn(tiny, [pictures(0, (70, 90), (200, 64), (64, 64))])
    assert torch.isfinite(step.words[0].vectors).all()


def test_the_word_settles(tiny):
    """Steps of Adam are about as large as the learning rate, which falls in equal parts: 1, 3/4, 1/2, 1/4 of it."""
    steps = invert(tiny, [pictures(0, (70, 90))], InversionSettings(steps=4, vectors=2, batch=2, learning_rate=0.1))
    words = [initial_vectors(tiny, SETTINGS), *(step.words[0].vectors for step in steps)]
    first, *_, last = [(after - before).abs().median() for before, after in itertools.pairwise(words)]
    assert first == pytest.approx(0.1, rel=0.01)
    assert 0 < last < 0.03


def test_the_learned_word_lowers_the_noise_error_of_its_pictures(tiny):
    """On timesteps and noise that the training did not see, with the same start for comparison."""
    shown = pictures(0, (64, 64))
    settings = InversionSettings(steps=80, vectors=2, batch=8)
    generator = torch.Generator().manual_seed(9)
    timesteps, noise = torch.randint(1000, (64,), generator=generator), torch.randn(64, 4, 8, 8, generator=generator)
    latents = tiny.encode(View(0, 0, 64, 64, (64, 64)).see(shown[0].levels)).mean.expand(64, -1, -1, -1)

    def error(vectors):
        embedding = embed_words(tiny, ["a painting in the style of {}"], [vectors])
        return tiny.noise_error(latents, timesteps, noise, embedding).mean().item()

    with torch.no_grad():
        assert error(learn(tiny, [shown], settings).words[0].vectors) < error(initial_vectors(tiny, settings))


def test_stopped_halfway_the_model_is_as_before_and_the_word_is_usable(tiny):
    steps = invert(tiny, [pictures(0, (70, 90))], SETTINGS)
    step = next(itertools.islice(steps, 1, None))
    steps.close()
    assert tiny.text_encoder.get_input_embeddings().weight.shape[0] == len(tiny.pipeline.tokenizer)
    assert embed_words(tiny, ["a painting in the style of {}"], [step.words[0].vectors]).shape == (1, 48, 16)


def test_stopped_or_failing_the_model_is_as_before_to_the_bit(tiny, monkeypatch):
    modules = (tiny.text_encoder, tiny.unet, tiny.vae)
    before = [weight.clone() for module in modules for weight in module.state_dict().values()]
    stopped = invert(tiny, [pictures(0, (70, 90))], SETTINGS)
    next(stopped)
    stopped.close()
    failing = invert(tiny, [pictures(0, (70, 90))], SETTINGS)
    next(failing)
    monkeypatch.setattr(tiny, "noise_error", lambda *_: 1 / 0)  # with the word in the text encoder already
    with pytest.raises(ZeroDivisionError):
        next(failing)
    after = [weight for module in modules for weight in module.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(weight.requires_grad for module in modules for weight in module.parameters())


def test_word_loads_in_a_stock_pipeline_and_means_the_same(tiny, tmp_path):
    """Bit for bit what diffusers makes of the same file and prompt."""
    word = learn(tiny, [pictures(0, (70, 90))]).words[0]
    path = word.save(tmp_path / "learned_embeds.safetensors")
    pipeline = tiny_pipeline()
    pipeline.load_textual_inversion(str(path))
    theirs, _ = pipeline.encode_prompt(f"a painting in the style of {word.token}", "cpu", 1, False)
    ours = embed_words(tiny, ["a painting in the style of {}"], [word.vectors])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    loaded = load_word(path)
    assert loaded.token == word.token
    assert torch.equal(loaded.vectors, word.vectors)


def test_a_file_that_is_no_word_is_one_sentence(tmp_path):
    path = tmp_path / "learned_embeds.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(AdvDMError, match="learned_embeds"):
        load_word(path)


def test_prompts_and_words_come_in_the_documented_order(tiny):
    words = [torch.randn(2, 16), torch.randn(2, 16)]
    prompts = ["a painting in the style of {}", "a boat in {}"]
    together = embed_words(tiny, prompts, words)
    apart = torch.cat([embed_words(tiny, [prompt], [word]) for word in words for prompt in prompts])
    torch.testing.assert_close(together, apart)


def test_a_prompt_longer_than_the_model_is_cut_behind_the_word(tiny):
    words = [torch.randn(4, 16), torch.randn(4, 16)]
    first, second = embed_words(tiny, ["a painting of {} " + "and a boat " * 60], words)
    assert first.shape == (48, 16)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("before, fits", ((42, True), (43, False)))
def test_a_prompt_that_leaves_no_room_for_the_word_is_refused(tiny, painting, before, fits):
    """48 tokens with start and end: four vectors have room behind 42 others, and not behind 43."""
    prompts = ("a " * before + "{}",)
    embed = partial(embed_words, tiny, prompts, [torch.randn(4, 16)])
    learn = partial(next, mimicry_steps(tiny, [[painting]], MimicrySettings(InversionSettings(steps=1), prompts)))
    for work in (embed, learn):
        with nullcontext() if fits else pytest.raises(SettingsError, match=r"too long.* 43 come before it"):
            work()


def test_half_precision_learns_nearly_the_same(painting):
    """In float16 the gradient of a mean over many numbers would be lost, and what overflows is redone in float32."""
    exact = learn(LatentDiffusion(tiny_pipeline(), "exact"), [[painting]]).words[0].vectors
    model = LatentDiffusion(tiny_pipeline().to(torch.float16), "half")
    start = initial_vectors(model, SETTINGS)
    learned = learn(model, [[painting]]).words[0].vectors
    torch.testing.assert_close(learned - start, exact - start, rtol=0.3, atol=0.005)
    assert model.dtype == torch.float16
    plain, seen = model.noise_error, []

    def overflowing(*draw):
        seen.append((model.dtype, draw[1].tolist()))
        return plain(*draw) * (1 if model.dtype == torch.float32 else np.nan)

    model.noise_error = overflowing
    assert torch.isfinite(learn(model, [[painting]]).words[0].vectors).all()
    assert [dtype for dtype, _ in seen] == [torch.float16, torch.float32] * SETTINGS.steps
    assert seen[0][1] == seen[1][1], "the same timesteps"


def test_half_precision_paints_and_measures_what_does_not_fit_in_it(painting):
    pipeline = tiny_pipeline()
    for part in (pipeline.unet.conv_in, pipeline.vae.encoder.conv_in):
        part.weight.data *= 1e5
    model = LatentDiffusion(pipeline.to(torch.float16), "half")
    embedding = model.embed(["a painting"])
    assert model.unet(torch.zeros(1, 4, 8, 8).half() + 1, 1, embedding).sample.isnan().any()
    assert model.generate(embedding, [0], steps=2).isfinite().all()
    assert model.repaint(torch.rand(1, 3, 64, 64), embedding, [0], steps=2).isfinite().all()
    assert model.reconstruct(torch.rand(1, 3, 64, 64)).isfinite().all()
    assert np.isfinite(noise_error(painting, model))
    assert learn(model, [[painting]]).words[0].vectors.isfinite().all()
    assert model.dtype == model.unet.dtype == torch.float16


@pytest.mark.parametrize("most", (1, 2, 3, 5, 40))
def test_what_learns_at_once_is_what_the_model_takes(tiny, painting, monkeypatch, most):
    sets = [[painting]] * 2 + [pictures(1, (70, 90))]
    settings = InversionSettings(steps=3, vectors=2, batch=4)
    whole = learn(tiny, sets, settings)
    sizes, plain = [], tiny.noise_error
    monkeypatch.setattr(tiny, "noise_error", lambda *draw: sizes.append(len(draw[0])) or plain(*draw))
    monkeypatch.setattr(tiny, "at_once", most)
    parts = learn(tiny, sets, settings)
    assert sizes == {1: [1] * 36, 2: [2] * 18, 3: [2] * 18, 5: [4] * 9, 40: [12] * 3}[most]
    assert torch.equal(parts.words[0].vectors, parts.words[1].vectors), "equal sides give equal words"
    for mine, theirs in zip(parts.words, whole.words, strict=True):
        torch.testing.assert_close(mine.vectors, theirs.vectors, rtol=1e-3, atol=1e-4)


def test_every_painting_is_seen(tiny):
    many = pictures(3, *[(64, 64)] * (VIEWS + 3))
    assert len(encode_views(tiny, many, 0).mean) == VIEWS + 3
    assert len(encode_views(tiny, many[:2], 0).mean) == VIEWS


def test_unknown_initializer_is_refused(tiny):
    with pytest.raises(SettingsError, match="zebra"):
        next(invert(tiny, [pictures(0, (64, 64))], InversionSettings(initializer="zebra")))


@pytest.mark.parametrize("change", ({"steps": 0}, {"vectors": 99}, {"learning_rate": float("nan")}, {"batch": 0}))
def test_settings_out_of_range(change):
    with pytest.raises(SettingsError):
        InversionSettings(**change)


def test_imitations_repeat_and_follow_the_word(tiny):
    settings = MimicrySettings(prompts=("a painting in the style of {}", "a boat"), count=2, sampling_steps=2)
    first, again, other = (
        imitate(tiny, Word("<word>", torch.full((2, 16), value)), settings) for value in (0.5, 0.5, -2.0)
    )
    assert first.shape == (4, 3, 64, 64)
    assert torch.equal(first, again)
    assert not torch.equal(first[:2], other[:2])
    assert torch.equal(first[2:], other[2:]), "a prompt without the word cannot depend on it"
    assert not torch.equal(first[0], first[1]), "seeds differ"
    unseen = imitate_unseen(tiny, settings)
    assert torch.equal(unseen[2:], first[2:]), "the baseline shares prompts and seeds"
    assert first.min() >= 0 and first.max() <= 1


def test_reference_is_the_painting_as_the_model_paints_it(tiny, painting):
    views = reference(tiny, [painting])
    assert views.shape == (8, 3, 64, 64)
    generator = torch.Generator().manual_seed(REFERENCE_SEED)
    for view in views:
        seen = square_view(70, 90, 64, generator).see(painting.levels)
        assert torch.equal(view, tiny.reconstruct(seen)[0])


def test_repaint_stays_near_the_picture_at_low_strength(tiny):
    pixels = torch.rand(1, 3, 64, 64)
    embedding = tiny.embed("a painting")
    light, heavy = (tiny.repaint(pixels, embedding, [0], strength=s, steps=10) for s in (0.1, 1.0))
    as_seen = tiny.reconstruct(pixels)
    assert (light - as_seen).abs().mean() < (heavy - as_seen).abs().mean()


@pytest.mark.parametrize("measured, expected", ((4.0, 0), (2.0, 100), (3.0, 50), (5.0, -50), (1.0, 150)))
def test_scale_of_imitation(measured, expected):
    assert imitation(4.0, 2.0, measured) == pytest.approx(expected)


def test_scale_is_void_where_the_original_taught_nothing():
    assert imitation(2.0, 2.0, 1.0) is None
