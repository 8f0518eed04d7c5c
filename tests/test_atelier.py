"""The embedded model is in the ordinary layout and sees paintings; that attacks have effect, see test_protection.py."""

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline

from advdm import load_model, read_painting
from advdm.models import ATELIER

pytestmark = pytest.mark.effect


def test_stock_pipeline_loads_and_paints():
    pipeline = StableDiffusionPipeline.from_pretrained(ATELIER)
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline("a painting of a house, in dots", num_inference_steps=4).images
    assert picture.size == (128, 128)
    assert np.asarray(picture).std() > 5, "not one flat colour"


def test_it_sees_a_painting_much_as_it_is():
    atelier = load_model("atelier", "cpu")
    pixels = atelier.see(read_painting(ATELIER.parents[1] / "examples" / "harvest.webp").levels)
    error = (atelier.reconstruct(pixels) - pixels).square().mean().item()
    assert -10 * np.log10(error) > 18
