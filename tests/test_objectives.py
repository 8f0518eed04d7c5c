"""The objectives: each is the loss of its own formula with its own gradient, whatever the model predicts."""

from pathlib import Path

import pytest
import torch

from advdm import load_model, protect, read_painting
from advdm.objectives import OBJECTIVES, Draw, draw
from advdm.paintings import Painting
from advdm.settings import MEANINGS
from advdm.targets import pattern, target_latents
from advdm.views import View

HARVEST = Path(__file__).parents[1] / "examples" / "harvest.webp"
MODELS = pytest.mark.parametrize("model_name", ("tiny", "tiny_v"))


def latents_like(count, seed):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


LATENTS = latents_like(3, seed=0)
DRAWS = Draw(torch.tensor([10, 500, 990]), noise=latents_like(3, seed=1), target=latents_like(1, seed=2))


def square(a, b):
    """Mean squared distance of each sample."""
    return (a - b).square().mean((1, 2, 3))


# Mist minimises sum((z - y)^2) - 10^4 * mean error on the 4 x 64 x 64 numbers of Stable Diffusion's latents.
FORMULAS = {
    "advdm": lambda z, predicted, wanted, y: square(predicted, wanted),
    "textural": lambda z, predicted, wanted, y: -square(z, y),
    "mist": lambda z, predicted, wanted, y: 10_000 / (4 * 64 * 64) * square(predicted, wanted) - square(z, y),
    "ace": lambda z, predicted, wanted, y: -square(predicted, y),
}


@MODELS
@pytest.mark.parametrize("objective", FORMULAS)
def test_loss_and_gradient_are_those_of_the_formula(request, model_name, objective):
    model, z = request.getfixturevalue(model_name), LATENTS.clone().requires_grad_()
    condition = model.embed("a painting")
    predicted, wanted = model.predict(z, DRAWS.timesteps, DRAWS.noise, condition)
    expected = FORMULAS[objective](z, predicted, wanted, DRAWS.target)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    losses, gradient = OBJECTIVES[objective](model, LATENTS, DRAWS, condition)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-3, atol=1e-7)
    assert not losses.requires_grad and not gradient.requires_grad


@MODELS
@pytest.mark.parametrize("objective, sign", (("sds", 1), ("sds_down", -1)))
def test_sds_moves_by_the_error_itself(request, model_name, objective, sign):
    """Up or down, and without going back through the denoiser."""
    model, z = request.getfixturevalue(model_name), LATENTS.clone().requires_grad_()
    condition = model.embed("a painting")
    predicted, wanted = model.predict(LATENTS, DRAWS.timesteps, DRAWS.noise, condition)
    losses, gradient = OBJECTIVES[objective](model, z, DRAWS, condition)
    torch.testing.assert_close(losses, sign * square(predicted, wanted))
    torch.testing.assert_close(gradient, sign * (predicted - wanted), rtol=1e-4, atol=1e-6)
    assert not losses.requires_grad and not gradient.requires_grad


def test_draws_are_uniform_timesteps_and_normal_noise_by_the_seed(tiny):
    first, again = (draw(tiny, (4000, 1, 2, 2), torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first.timesteps, again.timesteps) and torch.equal(first.noise, again.noise)
    assert first.timesteps.min() < 5 and first.timesteps.max() > 994
    assert abs(first.timesteps.float().mean() - 499.5) < 20
    assert abs(first.noise.mean()) < 0.03 and abs(first.noise.std() - 1) < 0.03


def test_each_has_its_sentence():
    assert list(MEANINGS) == list(OBJECTIVES)


@pytest.mark.effect
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_the_trained_model_each_moves_the_right_way(objective):
    """Its own loss, at draws that no attack has made; of sds_down the noise error falls."""
    model, painting = load_model("atelier", "cpu"), Painting(read_painting(HARVEST).levels[:256, :256])
    copy = protect(painting, model, steps=8, step_size=2, objective=objective, even=True)
    whole, condition = View(0, 0, 256, 256, (model.size, model.size)), model.embed("a painting")
    latents = [model.encode(whole.see(one.levels)).mean.detach().expand(16, -1, -1, -1) for one in (painting, copy)]
    target = target_latents(pattern(256, 256), model)(whole)
    draws = draw(model, tuple(latents[0].shape), torch.Generator().manual_seed(99), target)
    before, after = (OBJECTIVES[objective](model, one, draws, condition)[0].mean() for one in latents)
    assert after > before
