"""The embedded model: in the ordinary layout, small enough to push, and an attack on it has an effect."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from advdm import load_model, protect, read_painting
from advdm.models import ATELIER, LatentDiffusion

EXAMPLES = ATELIER.parents[1] / "examples"
MEGABYTE = 1_000_000

pytestmark = pytest.mark.effect


@pytest.fixture(scope="module")
def atelier() -> LatentDiffusion:
    return load_model("atelier", "cpu")


def test_stock_pipeline_loads_and_paints(atelier):
    pipeline = StableDiffusionPipeline.from_pretrained(ATELIER)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline("a painting of a house, in dots", num_inference_steps=4).images
    assert picture.size == (128, 128)
    assert np.asarray(picture).std() > 5, "not one flat colour"


def test_every_file_can_be_pushed_to_a_space():
    sizes = {path: path.stat().st_size for path in ATELIER.rglob("*") if path.is_file()}
    assert max(sizes.values()) < 10 * MEGABYTE
    assert sum(sizes.values()) < 30 * MEGABYTE


def test_it_sees_a_painting_much_as_it_is(atelier):
    levels = read_painting(EXAMPLES / "harvest.webp").levels
    pixels = atelier.see(levels)
    error = (atelier.reconstruct(pixels) - pixels).square().mean().item()
    assert -10 * np.log10(error) > 18


@torch.no_grad()
def noise_error(model: LatentDiffusion, levels: np.ndarray) -> float:
    """The mean over 32 timesteps, with the same noise for every picture."""
    latents = model.encode(model.see(levels)).mean.expand(32, -1, -1, -1)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(7))
    timesteps = torch.linspace(15, 985, 32).long()
    return model.noise_error(latents, timesteps, noise, model.embed("a painting")).mean().item()


@pytest.mark.parametrize("name", ("harvest", "langlois_bridge"))
def test_protected_copy_is_harder_to_predict_than_original_and_random_noise(atelier, name):
    painting = read_painting(EXAMPLES / f"{name}.webp")
    protected = protect(painting, atelier, epsilon=8, steps=25).levels
    noise = np.random.default_rng(0).integers(-8, 9, painting.levels.shape)
    noisy = np.clip(painting.levels + noise, 0, 255).astype(np.uint8)
    original, random, attacked = (noise_error(atelier, levels) for levels in (painting.levels, noisy, protected))
    assert attacked > 1.15 * original
    assert attacked - original > 5 * abs(random - original)
