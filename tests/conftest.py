import os

# Before anything imports a hub client or gradio: the suite is offline, and finds no model that was fetched before.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = os.devnull
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import numpy as np
import pytest

from advdm.models import LatentDiffusion, StableDiffusion
from advdm.paintings import Painting
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="session")
def tiny() -> LatentDiffusion:
    """A tiny random epsilon-predicting model; frozen, so one serves all tests."""
    return StableDiffusion(tiny_pipeline(), "tiny")


@pytest.fixture(scope="session")
def tiny_v() -> LatentDiffusion:
    return StableDiffusion(tiny_pipeline("v_prediction"), "tiny-v")


@pytest.fixture
def painting() -> Painting:
    """Smooth colour with some noise, 90 x 70 px: neither side a multiple of 8, both black and white reached."""
    rng = np.random.default_rng(0)
    slope = np.linspace(-20, 275, 90)[None, :, None] + rng.normal(0, 20, (70, 90, 3))
    return Painting(np.clip(slope, 0, 255).astype(np.uint8))
