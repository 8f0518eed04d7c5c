"""The attack: bound, size, determinism, one encoding a step, the mean over samples, frozen weights, a valid stop."""

import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from advdm import ModelError, SettingsError, compare, protect, protection_steps, read_painting
from advdm.evaluation import noise_error
from advdm.imitators.inversion import InversionSettings
from advdm.mimicry import MimicrySettings, imitate_unseen, mimicry_steps, reference
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.objectives import OBJECTIVES
from advdm.paintings import Painting
from advdm.protection import Settings, apply_perturbation, pixel_gradient
from advdm.views import View
from tests.tiny import tiny_pipeline

SIZES = ((64, 64), (65, 97), (200, 71))


def random_painting(height: int, width: int, *, grey: bool = False, alpha: bool = False) -> Painting:
    """Levels up to and including black and white, where a careless bound wraps round."""
    rng = np.random.default_rng(height * 1000 + width)
    levels = np.clip(rng.normal(128, 120, (height, width, 1 if grey else 3)), 0, 255).astype(np.uint8)
    plane = rng.integers(0, 256, (height, width), dtype=np.uint8) if alpha else None
    return Painting(np.repeat(levels, 3, axis=2) if grey else levels, alpha=plane, grey=grey)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("epsilon", (1, 3, 8, 32))
@pytest.mark.parametrize("grey, alpha", ((False, False), (True, False), (False, True), (True, True)))
def test_saved_file_keeps_size_mode_and_bound(tiny, tmp_path, size, epsilon, grey, alpha):
    painting = random_painting(*size, grey=grey, alpha=alpha)
    protected = protect(painting, tiny, epsilon=epsilon, steps=3, step_size=epsilon)
    saved = read_painting(protected.save(tmp_path / "out.png"))
    assert saved.size == painting.size
    assert saved.mode == painting.mode
    change = np.abs(saved.levels.astype(int) - painting.levels)
    assert change.max() == epsilon, "the attack uses its whole budget and no more"
    if alpha:
        assert np.array_equal(saved.alpha, painting.alpha)


@pytest.mark.parametrize("epsilon", range(1, 33))
def test_rounding_never_crosses_epsilon(epsilon):
    """Every level, pushed to the very edge of the float32 ball in both directions."""
    levels = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 2, 3))
    edge = torch.full((1, 3, 256, 2), epsilon / 255)
    edge[..., 1] *= -1
    change = np.abs(apply_perturbation(levels, edge).astype(int) - levels)
    assert change.max() == epsilon


def test_same_seed_same_levels_other_seed_other_levels(tiny, painting):
    first, second, other = (protect(painting, tiny, steps=3, samples=2, seed=seed).levels for seed in (5, 5, 6))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_global_random_state_is_neither_used_nor_changed(tiny, painting):
    torch.manual_seed(1)
    first = protect(painting, tiny, steps=2).levels
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = protect(painting, tiny, steps=2).levels
    assert np.array_equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("samples", (1, 5))
def test_one_encoding_a_step_and_one_prompt_in_all(tiny, painting, monkeypatch, samples):
    calls = {"encode": 0, "embed": 0}

    def counted(name):
        original = getattr(LatentDiffusion, name)

        def call(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(LatentDiffusion, name, call)

    counted("encode")
    counted("embed")
    protect(painting, tiny, steps=3, samples=samples)
    assert calls == {"encode": 3, "embed": 1}


@pytest.mark.parametrize("chunk", (20, 2))
@pytest.mark.parametrize("model_name", ("tiny", "tiny_v"))
def test_samples_at_once_equal_the_mean_of_single_gradients(request, monkeypatch, chunk, model_name):
    """Against a plain loop: encode anew for every sample, average the pixel gradients."""
    model = request.getfixturevalue(model_name)
    monkeypatch.setattr(model, "at_once", chunk)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    view, embedding = View(0, 0, 64, 64, (64, 64)), model.embed("a painting")
    settings = Settings(samples=5)
    loss, gradient = pixel_gradient(pixels, view, model, embedding, settings, torch.Generator().manual_seed(3))

    generator = torch.Generator().manual_seed(3)
    spread = torch.randn(5, 4, 8, 8, generator=generator)
    timesteps = torch.randint(1000, (5,), generator=generator)
    noise = torch.randn(5, 4, 8, 8, generator=generator)
    losses, gradients = [], []
    for i in range(5):
        leaf = pixels.clone().requires_grad_()
        latents = model.encode(leaf).sample(spread[i : i + 1])
        error = model.noise_error(latents, timesteps[i : i + 1], noise[i : i + 1], embedding).sum()
        losses.append(error.item())
        gradients.append(torch.autograd.grad(error, leaf)[0])
    expected = torch.stack(gradients).mean(0)
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=float(expected.abs().max()) * 1e-4)


def test_weights_are_frozen_and_unchanged(tiny, painting):
    modules = (tiny.vae, tiny.unet, tiny.text_encoder)
    before = [parameter.clone() for module in modules for parameter in module.parameters()]
    protect(painting, tiny, steps=2, samples=2)
    after = [parameter for module in modules for parameter in module.parameters()]
    assert all(not parameter.requires_grad and parameter.grad is None for parameter in after)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(module.training for module in modules)


def test_gradient_points_uphill(tiny):
    """A small step along its sign raises the loss of the same draws."""
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    view, embedding, settings = View(0, 0, 64, 64, (64, 64)), tiny.embed("a painting"), Settings(samples=4)
    losses = []
    for _ in range(4):
        loss, gradient = pixel_gradient(pixels, view, tiny, embedding, settings, torch.Generator().manual_seed(1))
        losses.append(loss)
        pixels = (pixels + gradient.sign() / 255).clamp(0, 1)
    assert losses == sorted(losses) and losses[-1] > losses[0]


def test_pixels_move_by_the_sign_of_the_running_mean(tiny, monkeypatch):
    """Two large gradients up, then down: one small step down is outvoted, the second is not."""
    pulls = iter((5.0, 1.0, -0.01, -100.0))

    def gradient(pixels, *_):
        return 0.0, torch.full_like(pixels, next(pulls))

    monkeypatch.setattr("advdm.protection.pixel_gradient", gradient)
    monkeypatch.setattr("advdm.protection.random_view", lambda *_: View(0, 0, 64, 64, (64, 64)))
    painting = Painting(np.full((64, 64, 3), 100, np.uint8))
    steps = protection_steps(painting, tiny, Settings(steps=4, step_size=1.0))
    assert [int(step.protected().levels[0, 0, 0]) for step in steps] == [101, 102, 103, 102]


def test_every_step_is_reported_and_a_stop_gives_a_valid_result(tiny, painting):
    steps = protection_steps(painting, tiny, Settings(steps=10))
    taken = list(itertools.islice(steps, 4))
    assert [step.number for step in taken] == [1, 2, 3, 4]
    assert all(np.isfinite(step.loss) for step in taken)
    stopped = taken[-1].protected()
    steps.close()
    assert np.array_equal(stopped.levels, protect(painting, tiny, steps=4).levels)
    assert 0 < compare(painting, stopped).max_change <= 8


def test_untouched_by_ambient_no_grad(tiny, painting):
    with torch.no_grad():
        quiet = protect(painting, tiny, steps=2).levels
    assert np.array_equal(quiet, protect(painting, tiny, steps=2).levels)


def fail_first(times, monkeypatch):
    """The objective runs out of memory the first `times` times; returns the sizes of the chunks it was given."""
    sizes, plain = [], OBJECTIVES["advdm"]

    def objective(model, latents, draws, embedding):
        sizes.append(len(latents))
        if len(sizes) <= times:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(model, latents, draws, embedding)

    monkeypatch.setitem(OBJECTIVES, "advdm", objective)
    return sizes


def test_out_of_memory_is_tried_again_in_smaller_chunks_with_the_same_result(tiny, painting, monkeypatch):
    expected = protect(painting, tiny, steps=1, samples=3).levels
    sizes = fail_first(1, monkeypatch)
    assert np.array_equal(protect(painting, tiny, steps=1, samples=3).levels, expected)
    assert sizes == [3, 1, 1, 1]


def test_what_ran_out_of_memory_is_let_go_before_the_next_try(tiny, painting, monkeypatch):
    plain, held = OBJECTIVES["advdm"], []

    def objective(model, latents, draws, embedding):
        if held:
            assert held[0]() is None
            return plain(model, latents, draws, embedding)
        activations = torch.zeros(1)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(OBJECTIVES, "advdm", objective)
    protect(painting, tiny, steps=1, samples=2)


def test_out_of_memory_for_good_says_what_to_do(tiny, painting, monkeypatch):
    fail_first(10, monkeypatch)
    with pytest.raises(ModelError, match="close other programs, or use fewer or smaller pictures"):
        protect(painting, tiny, steps=1, samples=3)
    monkeypatch.setattr(tiny, "device", torch.device("cuda"))
    with pytest.raises(ModelError, match="ADVDM_DEVICE=cpu"), tiny.enough_memory():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_errors_are_not_taken_for_it(tiny):
    with pytest.raises(RuntimeError, match="something else"), tiny.enough_memory():
        raise RuntimeError("something else")


def too_much():
    """What torch says on a CPU."""
    torch.empty(2**60, dtype=torch.int8)


def too_much_for_a_card():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("fill", (too_much, too_much_for_a_card))
@pytest.mark.parametrize("part", ("vae", "unet"))
def test_out_of_memory_is_a_sentence_wherever_it_happens(tiny, painting, monkeypatch, part, fill):
    """In the autoencoder too, where smaller chunks are no help; and for the imitator, who learns and paints."""

    def full(*arguments, **options):
        fill()

    for method in ("forward", "encode") if part == "vae" else ("forward",):
        monkeypatch.setattr(getattr(tiny, part), method, full)
    settings = MimicrySettings(InversionSettings(steps=1))
    for work in (
        lambda: protect(painting, tiny, steps=1),
        lambda: next(mimicry_steps(tiny, [[painting]], settings)),
        lambda: noise_error(painting, tiny),
        *([lambda: imitate_unseen(tiny, settings)] if part == "unet" else [lambda: reference(tiny, [painting])]),
    ):
        with pytest.raises(ModelError, match="too little memory for the model 'tiny'"):
            work()


def test_half_precision_out_of_range_is_redone_in_float32(painting):
    """bfloat16 weights, and an objective that overflows in anything but float32."""
    model = LatentDiffusion(tiny_pipeline().to(torch.bfloat16), "half")
    before = [weight.clone() for weight in model.unet.parameters()]
    plain, seen = OBJECTIVES["advdm"], []

    def overflowing(model, latents, draws, embedding):
        seen.append((model.dtype, draws.timesteps.tolist()))
        losses, gradient = plain(model, latents, draws, embedding)
        return (losses, gradient) if model.dtype == torch.float32 else (losses * np.nan, gradient * np.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OBJECTIVES, "advdm", overflowing)
        assert compare(painting, protect(painting, model, steps=2)).max_change > 0
    assert [dtype for dtype, _ in seen] == [torch.bfloat16, torch.float32] * 2
    assert seen[0][1] == seen[1][1], "the same draws"
    assert model.dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(before, model.unet.parameters(), strict=True))


def test_a_model_of_damaged_weights_is_one_sentence(painting):
    pipeline = tiny_pipeline()
    torch.nn.init.constant_(pipeline.unet.conv_out.weight, np.nan)
    with pytest.raises(ModelError, match="not finite"):
        protect(painting, LatentDiffusion(pipeline, "damaged"), steps=1)


@pytest.mark.parametrize(
    "change",
    (
        {"epsilon": 0},
        {"epsilon": 65},
        {"epsilon": 7.5},
        {"epsilon": 8.0},
        {"epsilon": float("nan")},
        {"steps": 0},
        {"samples": 0},
        {"step_size": 0.0},
        {"step_size": float("inf")},
        {"seed": -1},
        {"seed": 10**400},
        {"objective": "glaze"},
    ),
)
def test_settings_out_of_range_are_refused_in_a_sentence(change):
    with pytest.raises(SettingsError, match=r"\.$"):
        replace(Settings(), **change)
