"""What holds for every objective: bound, range, same bytes, frozen weights, a valid stop, and the right way to move."""

import itertools

import numpy as np
import pytest
import torch

from advdm import LatentDiffusion, SettingsError, load_model, protect, protection_steps, read_painting
from advdm.evaluation import noise_error
from advdm.objectives import MEANINGS, OBJECTIVES, TARGETED, Draw, advdm, mist, sds, textural
from advdm.paintings import Painting
from advdm.protection import Settings, pixel_gradient
from advdm.targets import pattern, target_latents, target_levels
from advdm.views import View
from tests.test_atelier import EXAMPLES

DRAWS = Draw(
    torch.tensor([10, 500, 990]),
    torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)),
    torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)),
)
LATENTS = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
WHOLE = View(0, 0, 64, 64, (64, 64))


def picture(grey: bool = False) -> Painting:
    """70 x 90 px, with black and white in it."""
    levels = np.clip(np.random.default_rng(0).normal(128, 90, (70, 90, 1 if grey else 3)), 0, 255).astype(np.uint8)
    return Painting(np.repeat(levels, 3, axis=2) if grey else levels, grey=grey)


@pytest.mark.parametrize("grey", (False, True))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_protects(tiny, tmp_path, objective, grey):
    painting = picture(grey)
    weights = [*tiny.vae.parameters(), *tiny.unet.parameters(), *tiny.text_encoder.parameters()]
    before = [weight.clone() for weight in weights]
    settings = {"epsilon": 5, "step_size": 3, "samples": 2, "objective": objective}
    first, second = (protect(painting, tiny, steps=3, **settings) for _ in range(2))
    files = [one.save(tmp_path / f"{i}.png") for i, one in enumerate((first, second))]
    assert files[0].read_bytes() == files[1].read_bytes(), "the same bytes"
    saved = read_painting(files[0])
    assert saved.mode == painting.mode and saved.size == painting.size
    assert np.abs(saved.levels.astype(int) - painting.levels).max() == 5, "all of the budget and no more"
    assert all(map(torch.equal, before, weights)), "frozen"
    assert not any(weight.requires_grad or weight.grad is not None for weight in weights)

    steps = protection_steps(painting, tiny, Settings(steps=10, **settings))
    stopped = list(itertools.islice(steps, 3))[-1].protected()
    steps.close()
    assert np.array_equal(stopped.levels, first.levels), "stopped after three steps, it is what three steps give"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_gives_a_loss_and_a_gradient_for_each_sample(tiny, objective):
    losses, gradient = OBJECTIVES[objective](tiny, LATENTS, DRAWS, tiny.embed("a painting"))
    assert losses.shape == (3,) and gradient.shape == LATENTS.shape
    assert not losses.requires_grad and not gradient.requires_grad


@pytest.mark.parametrize("objective", ("advdm", "textural", "mist"))
def test_a_gradient_is_that_of_its_loss(tiny, objective):
    """Against finite differences along a random direction; what sds leaves out makes it none."""
    along = torch.randn(LATENTS.shape, generator=torch.Generator().manual_seed(3))
    embedding = tiny.embed("a painting")
    _, gradient = OBJECTIVES[objective](tiny, LATENTS, DRAWS, embedding)
    ahead, behind = (OBJECTIVES[objective](tiny, LATENTS + h * along, DRAWS, embedding)[0] for h in (0.01, -0.01))
    torch.testing.assert_close((gradient * along).sum((1, 2, 3)), (ahead - behind) / 0.02, rtol=0.02, atol=1e-4)


@pytest.mark.parametrize("model_name", ("tiny", "tiny_v"))
def test_sds_is_the_error_itself(request, model_name):
    model = request.getfixturevalue(model_name)
    embedding = model.embed("a painting")
    prediction, wanted = model.predict(LATENTS, DRAWS.timesteps, DRAWS.noise, embedding)
    losses, gradient = sds(model, LATENTS, DRAWS, embedding)
    assert torch.equal(gradient, prediction - wanted)
    torch.testing.assert_close(losses, model.noise_error(LATENTS, DRAWS.timesteps, DRAWS.noise, embedding))
    down, downhill = OBJECTIVES["sds_down"](model, LATENTS, DRAWS, embedding)
    assert torch.equal(down, -losses) and torch.equal(downhill, -gradient)


def test_sds_leaves_no_graph_through_the_denoiser(tiny):
    latents = LATENTS.clone().requires_grad_()
    with torch.enable_grad():
        losses, gradient = sds(tiny, latents, DRAWS, tiny.embed("a painting"))
    assert losses.grad_fn is None and gradient.grad_fn is None


def test_mist_has_the_published_balance_on_stable_diffusion(tiny):
    """Mist minimises sum((z - y)^2) - 10^4 * mean error on 4 x 64 x 64 numbers; ours is that, over their count."""
    latents = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    draws = Draw(torch.tensor([400]), torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1)), -latents)
    embedding = tiny.embed("a painting")
    published = 10_000 * advdm(tiny, latents, draws, embedding)[0] - (2 * latents).square().sum()
    torch.testing.assert_close(mist(tiny, latents, draws, embedding)[0], published / (4 * 64 * 64))


@pytest.mark.parametrize("objective", TARGETED)
def test_chunks_of_samples_have_the_same_target(tiny, monkeypatch, objective):
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    aim = target_latents(pattern(64, 64), tiny)
    found = []
    for chunk in (20, 2):
        monkeypatch.setattr(tiny, "at_once", chunk)
        given = (pixels, WHOLE, tiny, tiny.embed("a painting"), Settings(samples=5, objective=objective))
        found.append(pixel_gradient(*given, torch.Generator().manual_seed(3), aim))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=float(found[0][1].abs().max()) * 1e-4)


def test_draws_split_like_their_latents():
    parts = DRAWS.split(2)
    assert [len(part.timesteps) for part in parts] == [2, 1]
    assert torch.equal(torch.cat([part.noise for part in parts]), DRAWS.noise)
    assert all(part.target is DRAWS.target for part in parts)


def test_textural_brings_the_latent_nearer_to_the_target(tiny):
    """At fixed draws, through pixels: its own loss rises step by step, and so falls the distance."""
    pixels, aim = (
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        target_latents(pattern(64, 64), tiny),
    )
    settings, embedding = Settings(objective="textural"), tiny.embed("a painting")
    losses = []
    for _ in range(4):
        loss, gradient = pixel_gradient(pixels, WHOLE, tiny, embedding, settings, torch.Generator().manual_seed(1), aim)
        losses.append(loss)
        pixels = (pixels + gradient.sign() / 255).clamp(0, 1)
    assert losses == sorted(losses) and losses[-1] > losses[0]
    latents = tiny.encode(pixels).mean.detach()
    own, _ = textural(tiny, latents, Draw(DRAWS.timesteps[:1], latents, aim(WHOLE)), embedding)
    assert own.item() == pytest.approx(-(latents - aim(WHOLE)).square().mean().item())


def test_target_is_seen_through_the_view_and_encoded_once_for_each(tiny, monkeypatch):
    levels = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    aim, view = target_latents(levels, tiny), View(10, 5, 60, 60, (64, 64), mirrored=True)
    square = torch.from_numpy(levels[10:70, 5:65]).permute(2, 0, 1)[None] / 255
    expected = tiny.encode(View(0, 0, 60, 60, (64, 64)).look(square).flip(-1)).mean
    torch.testing.assert_close(aim(view), expected)
    monkeypatch.setattr(LatentDiffusion, "encode", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(aim(View(10, 5, 60, 60, (64, 64), mirrored=True)), aim(view))


def test_a_picture_of_ones_own_is_stretched_to_the_painting(tiny):
    own = Painting(np.full((64, 100, 3), (200, 10, 30), np.uint8))
    assert np.array_equal(target_levels(picture(), own), np.full((70, 90, 3), (200, 10, 30), np.uint8))
    settings = {"steps": 2, "objective": "textural"}
    assert not np.array_equal(
        protect(picture(), tiny, target=own, **settings).levels, protect(picture(), tiny, **settings).levels
    )


@pytest.mark.parametrize("size", ((64, 64), (64, 512), (501, 400)))
def test_pattern_is_half_black_and_half_white(size):
    drawn = pattern(*size)
    assert drawn.shape == (*size, 1) and set(np.unique(drawn)) == {0, 255}
    assert 0.35 < (drawn == 255).mean() < 0.65


@pytest.mark.parametrize("objective", ("advdm", "sds"))
def test_a_target_that_nothing_looks_at_is_refused(tiny, objective):
    with pytest.raises(SettingsError, match="only textural and mist have one"):
        protect(picture(), tiny, objective=objective, target=picture())


def test_each_has_its_sentence():
    assert list(MEANINGS) == list(OBJECTIVES)
    assert all(sentence.endswith(".") for sentence in MEANINGS.values())


@pytest.mark.effect
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_a_trained_model_each_moves_the_right_way(objective):
    """What it pushes on, measured at draws that no attack has made: the noise error, or the way to the target."""
    model, painting = load_model("atelier", "cpu"), read_painting(EXAMPLES / "harvest.webp")
    painting = Painting(painting.levels[:256, :256])
    protected = Painting(protect(painting, model, steps=12, step_size=2, objective=objective).levels)
    before, after = (noise_error(one, model) for one in (painting, protected))
    if objective in ("advdm", "mist", "sds"):
        assert after > before
    if objective == "sds_down":
        assert after < before
    if objective in TARGETED:
        view = View(0, 0, 256, 256, (model.size, model.size))
        wanted, *seen = (
            target_latents(levels, model)(view) for levels in (pattern(256, 256), painting.levels, protected.levels)
        )
        assert (seen[1] - wanted).square().mean() < (seen[0] - wanted).square().mean()
