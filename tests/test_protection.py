"""The attack: bound, budget and mask on the saved file, same bytes, a valid stop, and the paper's algorithm itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from advdm import ModelError, Settings, compare, protect, protection_steps, read_painting
from advdm.errors import SettingsError
from advdm.models import StableDiffusion
from advdm.objectives import OBJECTIVES
from advdm.paintings import Painting
from advdm.protection import apply_perturbation, pixel_gradient
from advdm.views import View
from tests.tiny import tiny_pipeline

WHOLE = View(0, 0, 64, 64, (64, 64))


def random_painting(height: int, width: int, *, grey: bool = False, alpha: bool = False) -> Painting:
    """Levels up to and including black and white, where a careless bound wraps round."""
    rng = np.random.default_rng(height * 1000 + width)
    levels = np.clip(rng.normal(128, 120, (height, width, 1 if grey else 3)), 0, 255).astype(np.uint8)
    plane = rng.integers(0, 256, (height, width), dtype=np.uint8) if alpha else None
    return Painting(np.repeat(levels, 3, axis=2) if grey else levels, alpha=plane, grey=grey)


def change(before: Painting, after) -> np.ndarray:
    """The largest change of each pixel's channels, (H, W)."""
    return np.abs(after.levels.astype(int) - before.levels).max(2)


def give_budget(monkeypatch, share):
    monkeypatch.setattr("advdm.protection.budget", lambda levels: np.broadcast_to(share, levels.shape[:2]))


@pytest.mark.parametrize("even", (True, False))
@pytest.mark.parametrize(
    "size, epsilon, form",
    (
        ((64, 64), 1, {}),
        ((65, 97), 3, {"grey": True}),
        ((200, 71), 8, {"alpha": True}),
        ((64, 512), 64, {"grey": True, "alpha": True}),
    ),
)
def test_saved_file_keeps_size_mode_and_bound(tiny, tmp_path, size, epsilon, form, even):
    painting = random_painting(*size, **form)
    protected = protect(painting, tiny, epsilon=epsilon, steps=3, step_size=epsilon, even=even)
    saved = read_painting(protected.save(tmp_path / "out.png"))
    assert (saved.size, saved.mode) == (painting.size, painting.mode)
    assert change(painting, saved).max() == epsilon, "the attack uses its whole budget and no more"
    assert np.array_equal(saved.alpha, painting.alpha)


@pytest.mark.parametrize("epsilon", range(1, 65))
def test_rounding_never_crosses_epsilon(epsilon):
    """Every level, pushed to the very edge of the float32 ball in both directions."""
    levels = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 2, 3))
    edge = torch.full((1, 3, 256, 2), epsilon / 255)
    edge[..., 1] *= -1
    moved = apply_perturbation(levels, edge).astype(int) - levels
    assert np.abs(moved).max() == epsilon
    assert (moved[:, 0] >= 0).all() and (moved[:, 1] <= 0).all(), "black and white are not wrapped round"


def test_grey_stays_grey_also_in_a_file_of_colour(tiny):
    painting = random_painting(64, 80, grey=True)
    levels = protect(Painting(painting.levels), tiny, steps=2).levels
    assert (levels == levels[..., :1]).all() and (levels != painting.levels).any()


@pytest.mark.parametrize("grey", (False, True))
def test_each_pixel_stays_within_its_share(tiny, tmp_path, monkeypatch, grey):
    """A budget that grows from nothing to everything across the painting."""
    share = np.linspace(0, 1, 80, dtype=np.float32)
    give_budget(monkeypatch, share)
    painting, attack = random_painting(64, 80, grey=grey), {"epsilon": 16, "steps": 4, "step_size": 16}
    painting = replace(painting, levels=painting.levels.clip(20, 235))  # neither black nor white is in the way
    protected = protect(painting, tiny, **attack)
    moved, limit = change(painting, read_painting(protected.save(tmp_path / "out.png"))), np.rint(16 * share)
    assert (moved <= limit).all()
    assert (moved == limit).mean() > 0.75, "a pixel may use all of its share"
    for evenly in ("even", "as_published"):
        assert change(painting, protect(painting, tiny, **attack, **{evenly: True}))[:, :5].max() == 16


@pytest.mark.parametrize("even", (True, False))
def test_mask_is_exact_on_the_saved_file(tiny, tmp_path, monkeypatch, even):
    """White is protected in full, black stays as it was, grey lies in between."""
    give_budget(monkeypatch, np.float32(1))
    painting, attack = random_painting(64, 90), {"epsilon": 8, "steps": 4, "step_size": 8, "even": even}
    mask = np.repeat(np.array([0, 128, 255], np.uint8), 30)[None].repeat(64, 0)
    protected = protect(painting, tiny, mask=mask, **attack)
    moved = change(painting, read_painting(protected.save(tmp_path / "out.png")))
    assert [moved[:, left : left + 30].max() for left in (0, 30, 60)] == [0, 4, 8]
    everywhere = protect(painting, tiny, mask=np.full_like(mask, 255), **attack).levels
    assert np.array_equal(everywhere, protect(painting, tiny, **attack).levels), "a white mask is none"


@pytest.mark.parametrize(
    ("wish", "words"),
    (
        ({"mask": np.ones((64, 64), bool)}, r"levels from 0 to 255 \(uint8\), not bool"),
        ({"mask": np.ones((64, 64), np.float32)}, r"levels from 0 to 255 \(uint8\), not float32"),
        ({"strength": "medium"}, "no strength 'medium'; choose from: subtle, balanced, strong"),
    ),
)
def test_what_would_protect_nothing_is_refused(tiny, wish, words):
    with pytest.raises(SettingsError, match=words):
        protect(random_painting(64, 64), tiny, steps=1, **wish)


def algorithm_1(painting, model, epsilon, alpha, steps, seed):
    """AdvDM as published (Liang et al. 2023, Algorithm 1), in plain lines: yields x and the loss of each step."""
    generator = torch.Generator().manual_seed(seed)
    tokens = model.embed("a painting").tokens
    x0 = torch.from_numpy(painting.levels).permute(2, 0, 1)[None] / 255
    x = x0
    for _ in range(steps):
        x = x.detach().requires_grad_()
        # The whole picture in its own shape, with about 64 x 64 pixels.
        posterior = model.encode(F.interpolate(x, (56, 72), mode="bicubic", antialias=True).clamp(0, 1))
        z = posterior.mean + posterior.std * torch.randn((1, 4, 7, 9), generator=generator)
        t, noise = torch.randint(1000, (1,), generator=generator), torch.randn((1, 4, 7, 9), generator=generator)
        kept = model.noising.alphas_cumprod[t]
        loss = (model.unet(kept.sqrt() * z + (1 - kept).sqrt() * noise, t, tokens).sample - noise).square().mean()
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + alpha / 255 * gradient.sign()
        x = torch.minimum(torch.maximum(x, x0 - epsilon / 255), x0 + epsilon / 255).clamp(0, 1)
        yield x, loss.item()


@pytest.mark.parametrize("epsilon, step_size", ((8, None), (4, 2.5)))
def test_as_published_is_the_paper_s_algorithm(tiny, painting, epsilon, step_size):
    settings = Settings(epsilon=epsilon, steps=12, step_size=step_size, as_published=True, seed=3)
    plain = algorithm_1(painting, tiny, epsilon, step_size or 1, 12, 3)
    x0 = torch.from_numpy(painting.levels).permute(2, 0, 1)[None] / 255
    for step, (x, loss) in zip(protection_steps(painting, tiny, settings), plain, strict=True):
        assert step.loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(x0 + step.perturbation, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", ((96, 96), (72, 216)))
def test_borders_move_as_far_as_the_middle(tiny, shape):
    """Few squares show them, but every pixel moves on at every step."""
    levels = np.random.default_rng(0).normal(128, 30, (*shape, 3)).clip(0, 255).astype(np.uint8)
    moved = change(Painting(levels), protect(Painting(levels), tiny, steps=25, even=True))
    rim, (top, left) = round(0.05 * min(shape)), (side // 4 for side in shape)
    outer = np.ones(shape, bool)
    outer[rim:-rim, rim:-rim] = False
    assert moved[outer].mean() >= 0.9 * moved[top:-top, left:-left].mean()


def test_every_pixel_of_a_very_large_painting_moves(tiny):
    """More than 32 times smaller in the model's eyes, and more than a band of rows."""
    painting = Painting(np.random.default_rng(0).integers(8, 248, (2200, 2100, 3), np.uint8))
    moved = change(painting, protect(painting, tiny, steps=1, as_published=True, step_size=3))
    assert moved.max() == 3 and (moved == 3).mean() > 0.99


def test_same_seed_same_bytes_whatever_torch_has_drawn(tiny, painting, tmp_path):
    files = []
    for seed in (5, 5, 6):
        torch.rand(1)
        state = torch.get_rng_state()
        with torch.set_grad_enabled(bool(files)):
            protected = protect(painting, tiny, steps=3, samples=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
        files.append(protected.save(tmp_path / f"{len(files)}.png").read_bytes())
    assert files[0] == files[1] != files[2]


def test_stopped_at_any_step_the_copy_is_what_so_few_steps_give(tiny, painting):
    for number, step in enumerate(protection_steps(painting, tiny, Settings(steps=4)), 1):
        copy = step.protected()
        assert step.number == number and np.isfinite(step.loss)
        assert 0 < compare(painting, copy).max_change <= 8
        assert np.array_equal(copy.levels, protect(painting, tiny, steps=number).levels)


@pytest.mark.parametrize("model_name", ("tiny", "tiny_v", "tiny_xl"))
@pytest.mark.parametrize("at_once", (20, 2))
def test_samples_at_once_equal_the_mean_of_single_gradients(request, monkeypatch, at_once, model_name):
    """Against a plain loop: encode anew for every sample, average the pixel gradients."""
    model = request.getfixturevalue(model_name)
    monkeypatch.setattr(model, "at_once", at_once)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    condition, generator = model.embed("a painting"), torch.Generator().manual_seed(3)
    loss, gradient = pixel_gradient(pixels, WHOLE, model, condition, Settings(samples=5), generator)

    generator.manual_seed(3)
    spread = torch.randn(5, 4, 8, 8, generator=generator)
    timesteps, noise = torch.randint(1000, (5,), generator=generator), torch.randn(5, 4, 8, 8, generator=generator)
    losses, gradients = [], []
    for one in torch.arange(5).split(1):
        leaf = pixels.clone().requires_grad_()
        latents = model.encode(leaf).sample(spread[one])
        error = model.noise_error(latents, timesteps[one], noise[one], condition).sum()
        losses.append(error.item())
        gradients.append(torch.autograd.grad(error, leaf)[0])
    expected = torch.stack(gradients).mean(0)
    assert loss == pytest.approx(np.mean(losses), rel=1e-4)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=float(expected.abs().max()) * 1e-4)


def scripted(monkeypatch, pulls, views):
    """The attack of a flat painting, its gradients and views given."""
    pulls, views = iter(pulls), iter(views)
    monkeypatch.setattr(
        "advdm.protection.pixel_gradient", lambda pixels, *_: (0.0, torch.full_like(pixels, next(pulls)))
    )
    monkeypatch.setattr("advdm.protection.random_view", lambda *_: next(views))
    return Painting(np.full((64, 64, 3), (100, 100, 101), np.uint8))


def test_pixels_move_by_the_sign_of_the_running_mean(tiny, monkeypatch):
    """Gradients count alike whatever their size, and two up outvote one down, but not two."""
    painting = scripted(monkeypatch, (5.0, 1.0, -0.01, -100.0), [WHOLE] * 4)
    steps = protection_steps(painting, tiny, Settings(steps=4, step_size=1.0, even=True))
    assert [int(step.protected().levels[0, 0, 0]) for step in steps] == [101, 102, 103, 102]


def test_pixels_that_a_view_does_not_show_move_on(tiny, monkeypatch):
    corner = View(0, 0, 32, 32, (64, 64))
    painting = scripted(monkeypatch, (1.0, -1.0, -1.0), (WHOLE, corner, corner))
    levels = protect(painting, tiny, steps=3, step_size=1.0, even=True).levels
    assert levels[40, 40, 0] == 103 and levels[0, 0, 0] == 99


@pytest.mark.parametrize(
    "settings, moved", (({}, (8, 1, 8)), ({"even": True}, (8, 8, 8)), ({"as_published": True}, (8, 8, 8)))
)
def test_the_budget_is_spent_along_axes_of_colour(tiny, monkeypatch, settings, moved):
    """A pull on all channels alike goes up on each axis: a little lighter, redder, yellower; unless it is even."""
    painting = scripted(monkeypatch, (1.0, 1.0), [WHOLE] * 2)
    give_budget(monkeypatch, np.float32(1))
    levels = protect(painting, tiny, steps=2, step_size=5, **settings).levels
    assert (levels.astype(int) - painting.levels == moved).all()


def test_weights_are_frozen_and_unchanged(tiny, painting):
    weights = [weight for module in tiny.modules for weight in module.parameters()]
    before = [weight.clone() for weight in weights]
    protect(painting, tiny, steps=2, samples=2)
    assert all(map(torch.equal, before, weights))
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)


@pytest.mark.parametrize("part, method", (("vae", "encode"), ("unet", "forward")))
def test_out_of_memory_is_a_sentence(tiny, painting, monkeypatch, part, method):
    monkeypatch.setattr(getattr(tiny, part), method, lambda *_, **__: torch.empty(2**60, dtype=torch.int8))
    with pytest.raises(ModelError, match="too little memory for the model 'tiny'"):
        protect(painting, tiny, steps=1)


def test_half_precision_out_of_range_is_redone_in_float32(half, painting, monkeypatch):
    """An objective that overflows in anything but float32."""
    before = [weight.clone() for weight in half.unet.parameters()]
    plain, seen = OBJECTIVES["advdm"], []

    def overflowing(model, latents, draws, condition):
        seen.append((model.dtype, draws.timesteps.tolist()))
        losses, gradient = plain(model, latents, draws, condition)
        return losses, gradient if model.dtype == torch.float32 else gradient * np.nan

    monkeypatch.setitem(OBJECTIVES, "advdm", overflowing)
    assert compare(painting, protect(painting, half, steps=2)).max_change > 0
    assert [dtype for dtype, _ in seen] == [torch.bfloat16, torch.float32] * 2
    assert seen[0][1] == seen[1][1], "the same draws"
    assert half.dtype == torch.bfloat16 and all(map(torch.equal, before, half.unet.parameters()))


def test_a_model_of_damaged_weights_is_one_sentence(painting):
    pipeline = tiny_pipeline()
    torch.nn.init.constant_(pipeline.unet.conv_out.weight, np.nan)
    with pytest.raises(ModelError, match="not finite"):
        protect(painting, StableDiffusion(pipeline, "damaged"), steps=1)
