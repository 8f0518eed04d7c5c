"""What all imitators share: one form, equal sides, a model that is bit for bit what it was, half precision, chunks."""

import itertools

import numpy as np
import pytest
import torch

from advdm.errors import ModelError
from advdm.imitators import learn, without_style
from advdm.imitators.training import CROPS, Batch, encode_sides, gradients
from advdm.models import StableDiffusion
from advdm.paintings import Painting
from advdm.settings import InversionSettings, LoraSettings, RepaintSettings, Sampling
from tests.tiny import tiny_pipeline

WORD, LORA = InversionSettings(steps=3, batch=2), LoraSettings(steps=3, rank=4, batch=2)
LEARNERS = pytest.mark.parametrize("settings", (WORD, LORA), ids=("word", "lora"))
ALL = pytest.mark.parametrize("settings", (WORD, LORA, RepaintSettings()), ids=("word", "lora", "repaint"))
MODELS = pytest.mark.parametrize("model_name", ("tiny", "tiny_xl"))
PROMPTS, SEEDS, HOW = ["a painting in the style of {}", "a boat in the style of {}"], [1, 2], Sampling(steps=2)


def painted(learned, model) -> torch.Tensor:
    return learned.paint(model, PROMPTS, SEEDS, HOW)


def last(model, sides, settings, seed=0):
    *_, step = learn(model, sides, settings, seed)
    return step


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
    changed = last(model, [[painting]], settings, seed=1).learned()[0]
    assert isinstance(settings, RepaintSettings) or not torch.equal(painted(changed, model), first)


@MODELS
@ALL
def test_afterwards_the_model_is_what_it_was(request, model_name, settings, painting, other):
    model = request.getfixturevalue(model_name)
    before = state(model)
    (learned, _) = last(model, [[painting], [other]], settings).learned()
    assert state(model) == before
    painted(learned, model)
    assert state(model) == before


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@LEARNERS
@pytest.mark.parametrize("good", (0, 1, 3))
def test_an_error_in_any_step_leaves_the_model_as_it_was(tiny_xl, monkeypatch, settings, good, painting):
    """At the first or second side of a step: so many go well."""
    before, calls, plain = state(tiny_xl), itertools.count(), tiny_xl.noise_error
    fail = failing(ZeroDivisionError)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(tiny_xl, "noise_error", lambda *given: (plain if next(calls) < good else fail)(*given))
        list(learn(tiny_xl, [[painting], [painting]], settings))
    assert state(tiny_xl) == before


@ALL
@pytest.mark.parametrize("stage", ("between two steps", "afterwards"))
def test_an_error_in_painting_leaves_the_model_as_it_was(tiny, monkeypatch, settings, stage, painting):
    before, steps = state(tiny), learn(tiny, [[painting]], settings)
    step = next(steps)
    if stage == "afterwards":
        steps.close()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(tiny.vae, "decode", failing(ZeroDivisionError))
        painted(step.learned()[0], tiny)
    steps.close()
    assert state(tiny) == before


@LEARNERS
@pytest.mark.parametrize("part, method", (("vae", "encode"), ("unet", "forward")))
def test_out_of_memory_is_a_sentence_and_leaves_the_model_alone(tiny, monkeypatch, settings, part, method, painting):
    before = state(tiny)
    with monkeypatch.context() as patch:
        patch.setattr(getattr(tiny, part), method, failing(torch.OutOfMemoryError("CUDA out of memory")))
        with pytest.raises(ModelError, match="too little memory"):
            next(learn(tiny, [[painting]], settings))
    assert state(tiny) == before


@LEARNERS
@pytest.mark.parametrize("number", (1, 2))
def test_stopped_at_any_step_what_was_learned_paints(tiny, settings, number, painting):
    before, steps = state(tiny), learn(tiny, [[painting]], settings)
    step = list(itertools.islice(steps, number))[-1]
    steps.close()
    assert step.number == number and np.isfinite(step.losses).all()
    assert painted(step.learned()[0], tiny).isfinite().all()
    assert state(tiny) == before


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
def test_a_preview_between_steps_paints_and_disturbs_nothing(tiny, settings, painting, other):
    """Neither the learning, nor pictures of the plain model, which must not hold what is being learned."""
    alone = last(tiny, [[painting], [other]], settings).learned()
    plain = tiny.generate(tiny.embed("a boat"), [0], Sampling(2))
    previews = []
    for step in learn(tiny, [[painting], [other]], settings):
        assert torch.equal(tiny.generate(tiny.embed("a boat"), [0], Sampling(2)), plain), "before a preview"
        previews.append(painted(step.learned()[0], tiny))
        assert torch.equal(tiny.generate(tiny.embed("a boat"), [0], Sampling(2)), plain), "and after it"
    assert not torch.equal(previews[0], previews[-1]), "it is still learning"
    assert torch.equal(previews[-1], painted(alone[0], tiny))
    for mine, theirs in zip(step.learned(), alone, strict=True):
        assert all(map(torch.equal, weights(mine), weights(theirs)))


@LEARNERS
def test_it_lowers_the_noise_error_of_its_painting(tiny, settings, painting):
    """On average over the last steps, against the first."""
    steps = list(learn(tiny, [[painting]], type(settings)(steps=60, batch=8)))
    first, final = (np.mean([step.losses[0] for step in some]) for some in (steps[:10], steps[-10:]))
    assert final < first


@pytest.mark.parametrize("most, sizes", ((2, [2, 2, 1]), (40, [5])))
def test_gradients_in_parts_are_those_of_the_mean_noise_error(tiny, monkeypatch, most, sizes):
    """Against autograd on the whole."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 5, 4, 8, 8, generator=generator)
    batch = Batch(latents, torch.randint(1000, (5,), generator=generator), noise, (PROMPTS * 3)[:5])
    vectors = [part.clone().requires_grad_() for part in tiny.word("painting", 2)]

    def told():
        return tiny.embed_word(batch.prompts, tuple(vectors))

    error = tiny.noise_error(batch.latents, batch.timesteps, batch.noise, told()).mean()
    expected = torch.autograd.grad(error, vectors)
    seen, plain = [], tiny.noise_error
    monkeypatch.setattr(tiny, "noise_error", lambda *given: seen.append(len(given[0])) or plain(*given))
    monkeypatch.setattr(tiny, "at_once", most)
    loss, pulls = gradients(tiny, batch, told, vectors)
    assert seen == sizes and loss == pytest.approx(error.item(), rel=1e-5)
    torch.testing.assert_close(pulls, list(expected), rtol=1e-3, atol=1e-8)


@LEARNERS
def test_half_precision_learns_nearly_the_same_in_float32_weights(tiny, half, settings, painting):
    settings = type(settings)(steps=8, batch=2)
    before = state(half)
    exact, rough = (last(model, [[painting]], settings) for model in (tiny, half))
    assert rough.losses == pytest.approx(exact.losses, rel=0.02)
    assert all(weight.dtype == torch.float32 for weight in weights(rough.learned()[0]))
    assert painted(rough.learned()[0], half).isfinite().all()
    assert state(half) == before


@LEARNERS
def test_what_overflows_in_half_precision_is_redone_in_float32(settings, painting):
    model = StableDiffusion(tiny_pipeline().to(torch.float16), "half")
    before, plain, seen = state(model), model.noise_error, []

    def overflowing(*given):
        seen.append((model.dtype, given[1].tolist()))
        return plain(*given) * (1 if model.dtype == torch.float32 else np.nan)

    model.noise_error = overflowing
    step = last(model, [[painting]], settings)
    assert all(weight.isfinite().all() and weight.dtype == torch.float32 for weight in weights(step.learned()[0]))
    assert [dtype for dtype, _ in seen] == [torch.float16, torch.float32] * 3
    assert seen[0][1] == seen[1][1], "the same timesteps"
    assert state(model) == before


@LEARNERS
def test_a_model_of_damaged_weights_is_one_sentence(settings, painting):
    pipeline = tiny_pipeline()
    torch.nn.init.constant_(pipeline.unet.conv_out.weight, np.nan)
    with pytest.raises(ModelError, match="not finite"):
        next(learn(StableDiffusion(pipeline, "damaged"), [[painting]], settings))


def test_sides_of_different_numbers_of_paintings_are_seen_in_full(tiny, painting):
    few, many = [painting], [painting] * (CROPS + 3)
    assert [len(one.mean) for one in encode_sides(tiny, [few, many], 0)] == [CROPS + 3] * 2
    assert [len(one.mean) for one in encode_sides(tiny, [few, few], 0)] == [CROPS] * 2


@LEARNERS
def test_several_paintings_of_any_size(tiny, settings, painting):
    rng = np.random.default_rng(0)
    several = [painting, *(Painting(rng.integers(0, 256, (*shape, 3), np.uint8)) for shape in ((200, 64), (64, 64)))]
    alone, together = (last(tiny, [side], settings).learned()[0] for side in ([painting], several))
    assert not torch.equal(painted(alone, tiny), painted(together, tiny))


@ALL
def test_a_picture_depends_on_its_own_seed_and_prompt_alone(tiny, settings, painting):
    (learned,) = last(tiny, [[painting]], settings).learned()
    both = painted(learned, tiny)
    for i, picture in enumerate(both):
        alone = learned.paint(tiny, PROMPTS[i : i + 1], SEEDS[i : i + 1], HOW)[0]
        torch.testing.assert_close(alone, picture, rtol=0, atol=1e-4)
    assert not torch.allclose(learned.paint(tiny, PROMPTS, [5, 6], HOW), both, atol=1e-3)


@pytest.mark.parametrize(
    "prompt, plain",
    (
        ("a boat in the style of {}", "a boat"),
        ("a painting of {}", "a painting of"),
        ("{}", ""),
        ("a painting in the style of {} at night", "a painting at night"),
        ("a boat", "a boat"),
    ),
)
def test_a_prompt_without_its_painter(prompt, plain):
    assert without_style(prompt) == plain
