"""The embedded model: in the ordinary layout, it sees paintings, and an attack on it has an effect."""

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from advdm import load_model, protect, read_painting
from advdm.metrics import noise_error
from advdm.mimicry import with_random_noise
from advdm.models import ATELIER

EXAMPLES = ATELIER.parents[1] / "examples"

pytestmark = pytest.mark.effect


def test_stock_pipeline_loads_and_paints():
    pipeline = StableDiffusionPipeline.from_pretrained(ATELIER)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline("a painting of a house, in dots", num_inference_steps=4).images
    assert picture.size == (128, 128)
    assert np.asarray(picture).std() > 5, "not one flat colour"


@pytest.fixture(scope="module")
def atelier():
    return load_model("atelier", "cpu")


def test_it_sees_a_painting_much_as_it_is(atelier):
    pixels = atelier.see(read_painting(EXAMPLES / "harvest.webp").levels)
    error = (atelier.reconstruct(pixels) - pixels).square().mean().item()
    assert -10 * np.log10(error) > 18


@pytest.mark.parametrize("name", ("harvest", "langlois_bridge"))
def test_a_protected_copy_is_harder_to_predict_than_original_and_random_noise(atelier, name):
    painting = read_painting(EXAMPLES / f"{name}.webp")
    copies = painting, with_random_noise(painting, 8, 0), protect(painting, atelier, epsilon=8, steps=25, even=True)
    original, random, attacked = (noise_error(copy, atelier) for copy in copies)
    assert attacked > 1.15 * original
    assert attacked - original > 5 * abs(random - original)
