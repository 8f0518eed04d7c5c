"""What all imitators share: one form, equal sides, a model that is bit for bit what it was, half precision, chunks."""

import itertools
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from advdm.errors import ModelError
from advdm.imitators import learn, training, without_style
from advdm.imitators.crops import crop_encoder
from advdm.imitators.inversion import TOKEN
from advdm.imitators.lora import RARE, Lora
from advdm.imitators.training import CROPS, Batch, batches, gradients
from advdm.models.schedule import sampler
from advdm.paintings import Painting
from advdm.settings import InversionSettings, LoraSettings, RepaintSettings, Sampling
from tests.tiny import tiny_pipeline, tiny_sdxl

WORD, LORA = InversionSettings(steps=3, batch=2), LoraSettings(steps=3, rank=4, batch=2, learning_rate=0.01)
LEARNERS = pytest.mark.parametrize("settings", (WORD, LORA), ids=("word", "lora"))
ALL = pytest.mark.parametrize("settings", (WORD, LORA, RepaintSettings()), ids=("word", "lora", "repaint"))
MODELS = pytest.mark.parametrize("model_name", ("tiny", "tiny_xl"))
PROMPTS, SEEDS, HOW = ["a painting in the style of {}", "a boat in the style of {}"], [1, 2], Sampling(steps=2)


def last(model, sides, settings, seed=0):
    *_, step = learn(model, sides, settings, seed)
    return step


def painted(learned, model) -> torch.Tensor:
    return learned.paint(model, PROMPTS, SEEDS, HOW)


def weights(learned) -> list[torch.Tensor]:
    return list(learned.vectors) if hasattr(learned, "vectors") else list(learned.weights.values())


def state(model) -> list[object]:
    """Everything that an imitator could leave behind."""
    parts = [part for module in model.modules for part in module.named_modules()]
    tensors = [one for module in model.modules for one in (*module.named_parameters(), *module.named_buffers())]
    return [
        [(name, type(part), part.training) for name, part in parts],
        [
            (name, one.dtype, one.requires_grad, one.grad, hash(one.detach().float().numpy().tobytes()))
            for name, one in tensors
        ],
        getattr(model.unet, "peft_config", None),
        bool(model.unet._hf_peft_config_loaded),
        len(model.pipeline.tokenizer),
        model.dtype,
        hash(torch.get_rng_state().numpy().tobytes()),
    ]


@contextmanager
def left_as_it_was(model):
    before = state(model)
    yield
    assert state(model) == before


@MODELS
@ALL
def test_equal_sides_learn_and_paint_the_same_bits(request, model_name, settings, painting, other):
    model = request.getfixturevalue(model_name)
    step = last(model, [[painting], [other], [Painting(painting.levels.copy())]], settings)
    first, second, third = (painted(one, model) for one in step.learned())
    assert first.shape == (2, 3, 64, 64) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, third) and step.losses[0] == step.losses[2]
    assert not torch.equal(first, second)
    again = last(model, [[painting], [other]], settings)
    assert torch.equal(painted(again.learned()[1], model), second), "whatever stands beside it"
    if not isinstance(settings, RepaintSettings):
        changed = last(model, [[painting]], settings, seed=1).learned()[0]
        assert not torch.equal(painted(changed, model), first)


@MODELS
@ALL
def test_neither_learning_nor_painting_changes_the_model(request, model_name, settings, painting, other):
    model = request.getfixturevalue(model_name)
    with left_as_it_was(model):
        learned, _ = last(model, [[painting], [other]], settings).learned()
    with left_as_it_was(model):
        painted(learned, model)


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@LEARNERS
@pytest.mark.parametrize("good", (0, 1, 3))
def test_nor_does_an_error_in_any_step(tiny_xl, monkeypatch, settings, good, painting):
    """At the first or second side of a step: so many go well."""
    calls, plain, fail = itertools.count(), tiny_xl.noise_error, failing(ZeroDivisionError)
    with left_as_it_was(tiny_xl), monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(tiny_xl, "noise_error", lambda *given: (plain if next(calls) < good else fail)(*given))
        last(tiny_xl, [[painting], [painting]], settings)


@ALL
def test_nor_does_an_error_in_painting(tiny, monkeypatch, settings, painting):
    (learned,) = last(tiny, [[painting]], settings).learned()
    with left_as_it_was(tiny), monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(tiny.vae, "decode", failing(ZeroDivisionError))
        painted(learned, tiny)


@LEARNERS
@pytest.mark.parametrize("number", (1, 2))
def test_nor_does_a_stop_at_any_step_after_which_what_was_learned_paints(tiny, settings, number, painting):
    with left_as_it_was(tiny):
        steps = learn(tiny, [[painting]], settings)
        *_, step = itertools.islice(steps, number)
        steps.close()
    assert step.number == number and np.isfinite(step.losses).all()
    assert painted(step.learned()[0], tiny).isfinite().all()


@LEARNERS
@pytest.mark.parametrize("part, method", (("vae", "encode"), ("unet", "forward")))
def test_out_of_memory_is_a_sentence(tiny, monkeypatch, settings, part, method, painting):
    monkeypatch.setattr(getattr(tiny, part), method, failing(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(ModelError, match="too little memory"):
        last(tiny, [[painting]], settings)


@LEARNERS
def test_each_step_is_smaller_and_what_it_has_learned_stays(tiny, settings, painting):
    """The rate falls in equal parts to nothing; later steps do not reach into what earlier ones gave out."""
    steps = learn(tiny, [[painting]], type(settings)(steps=5, batch=2, learning_rate=0.01))
    given = [weights(step.learned()[0]) for step in steps]
    assert not any(weight.requires_grad for one in given for weight in one)
    learned = [torch.cat([weight.flatten() for weight in one]) for one in given]
    moves = [(after - before).abs().max().item() for before, after in itertools.pairwise(learned)]
    assert 0 < moves[-1] < 0.5 * moves[0]


@LEARNERS
def test_a_preview_between_two_steps_disturbs_nothing(tiny, settings, painting, other):
    """Neither the learning, nor what the plain model paints."""
    alone = last(tiny, [[painting], [other]], settings).learned()
    plain = tiny.generate(tiny.embed("a boat"), [0], HOW)
    for step in learn(tiny, [[painting], [other]], settings):
        preview = painted(step.learned()[0], tiny)
        assert torch.equal(tiny.generate(tiny.embed("a boat"), [0], HOW), plain)
    assert torch.equal(preview, painted(alone[0], tiny))
    for mine, theirs in zip(step.learned(), alone, strict=True):
        assert all(map(torch.equal, weights(mine), weights(theirs)))


@LEARNERS
def test_it_lowers_the_noise_error_of_its_painting(tiny, settings, painting):
    """On average over the last steps, against the first."""
    losses = [step.losses[0] for step in learn(tiny, [[painting]], type(settings)(steps=60, batch=8))]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.mark.parametrize("at_once, sizes", ((2, [2, 2, 1]), (40, [5])))
def test_gradients_in_parts_are_those_of_the_mean_noise_error(tiny, monkeypatch, at_once, sizes):
    """Against autograd on the whole."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 5, 4, 8, 8, generator=generator)
    batch = Batch(latents, torch.randint(1000, (5,), generator=generator), noise, (PROMPTS * 3)[:5])
    vectors = [part.clone().requires_grad_() for part in tiny.word("painting", 2)]
    told = partial(tiny.embed_word, batch.prompts, vectors)
    error = tiny.noise_error(batch.latents, batch.timesteps, batch.noise, told()).mean()
    expected = torch.autograd.grad(error, vectors)
    seen, plain = [], tiny.noise_error
    monkeypatch.setattr(tiny, "noise_error", lambda *given: seen.append(len(given[0])) or plain(*given))
    monkeypatch.setattr(tiny, "at_once", at_once)
    loss, pulls = gradients(tiny, batch, told, vectors)
    assert seen == sizes and loss == pytest.approx(error.item(), rel=1e-5)
    torch.testing.assert_close(pulls, list(expected), rtol=1e-3, atol=1e-8)


@LEARNERS
def test_half_precision_learns_nearly_the_same_in_float32_weights(tiny, half, settings, painting):
    settings = type(settings)(steps=8, batch=2)
    with left_as_it_was(half):
        exact, rough = (last(model, [[painting]], settings) for model in (tiny, half))
        assert rough.losses == pytest.approx(exact.losses, rel=0.02)
        (learned,) = rough.learned()
        assert all(weight.dtype == torch.float32 for weight in weights(learned))
        assert painted(learned, half).isfinite().all()


@LEARNERS
def test_what_overflows_in_half_precision_is_redone_in_float32(half, monkeypatch, settings, painting):
    plain, seen = half.noise_error, []

    def overflowing(*given):
        seen.append((half.dtype, given[1].tolist()))
        return plain(*given) * (1 if half.dtype == torch.float32 else np.nan)

    monkeypatch.setattr(half, "noise_error", overflowing)
    with left_as_it_was(half):
        (learned,) = last(half, [[painting]], settings).learned()
    assert all(weight.isfinite().all() for weight in weights(learned))
    assert [dtype for dtype, _ in seen] == [torch.bfloat16, torch.float32] * 3
    assert seen[0][1] == seen[1][1], "the same timesteps"


@pytest.mark.parametrize("paintings, crops", ((1, CROPS), (CROPS + 3, CROPS + 3)))
def test_every_painting_is_seen_and_as_many_crops_of_every_side(tiny, monkeypatch, painting, paintings, crops):
    asked = []
    monkeypatch.setattr(training, "crop_encoder", lambda *given: lambda some: asked.append(some) or encode(some))
    encode = crop_encoder(tiny, [painting], CROPS + 3, 0)
    list(batches(tiny, [[painting], [painting] * paintings], 60, 8, seed=0))
    assert {number for some in asked for number in some} == set(range(crops))
    assert asked[::2] == asked[1::2], "the same on both sides"


@ALL
def test_a_picture_depends_on_its_own_seed_and_prompt_alone(tiny, settings, painting):
    (learned,) = last(tiny, [[painting]], settings).learned()
    both = painted(learned, tiny)
    for i, picture in enumerate(both):
        alone = learned.paint(tiny, PROMPTS[i : i + 1], SEEDS[i : i + 1], HOW)[0]
        torch.testing.assert_close(alone, picture, rtol=0, atol=1e-4)
    assert not torch.allclose(learned.paint(tiny, PROMPTS, [5, 6], HOW), both, atol=1e-3)


def load(pipeline, learned, path) -> str:
    """Into a stock pipeline, as diffusers' guide says; returns the word that means the style there."""
    if isinstance(learned, Lora):
        pipeline.load_lora_weights(str(path))
        return RARE
    if not hasattr(pipeline, "tokenizer_2"):
        pipeline.load_textual_inversion(str(path))
        return TOKEN
    for key, end in (("clip_l", ""), ("clip_g", "_2")):
        reader = {name: getattr(pipeline, name + end) for name in ("tokenizer", "text_encoder")}
        pipeline.load_textual_inversion(load_file(path)[key], token=TOKEN, **reader)
    return TOKEN


@LEARNERS
@pytest.mark.parametrize("model_name, build", (("tiny", tiny_pipeline), ("tiny_xl", tiny_sdxl)))
def test_a_stock_pipeline_paints_the_same_from_its_file(request, model_name, build, settings, painting, tmp_path):
    model, pipeline = request.getfixturevalue(model_name), build()
    (learned,) = last(model, [[painting]], settings).learned()
    path = learned.save(model, tmp_path / "learned.safetensors")
    assert all(weight.dtype == torch.float32 for weight in load_file(path).values())
    prompt = PROMPTS[1].replace("{}", load(pipeline, learned, path))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = sampler(pipeline.scheduler.config)
    told = {"num_inference_steps": 2, "guidance_scale": HOW.guidance, "height": 64, "width": 64, "output_type": "pt"}
    picture = pipeline(prompt, generator=torch.Generator().manual_seed(7), **told).images
    torch.testing.assert_close(learned.paint(model, PROMPTS[1:], [7], HOW), picture, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "prompt, plain",
    (
        ("a boat in the style of {}", "a boat"),
        ("a painting of {}", "a painting of"),
        ("{}", ""),
        ("a painting in the style of {} at night", "a painting at night"),
    ),
)
def test_a_prompt_without_its_painter(prompt, plain):
    assert without_style(prompt) == plain
