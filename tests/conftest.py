import os

# Before anything imports a hub client or gradio: the suite is offline, and finds no model that was fetched before.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = os.devnull
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# The suite runs in two processes, and what they start has a core each too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
import torch

from advdm.models import SDXL, LatentDiffusion, StableDiffusion
from advdm.paintings import Painting
from tests.tiny import tiny_pipeline, tiny_sdxl


@pytest.fixture(scope="session")
def tiny() -> LatentDiffusion:
    """A tiny random epsilon-predicting model; frozen, so one serves all tests."""
    return StableDiffusion(tiny_pipeline(), "tiny")


@pytest.fixture(scope="session")
def tiny_v() -> LatentDiffusion:
    return StableDiffusion(tiny_pipeline("v_prediction"), "tiny-v")


@pytest.fixture(scope="session")
def tiny_xl() -> LatentDiffusion:
    return SDXL(tiny_sdxl(), "tiny-xl")


@pytest.fixture
def half() -> LatentDiffusion:
    """The same in bfloat16."""
    return StableDiffusion(tiny_pipeline().to(torch.bfloat16), "half")


@pytest.fixture
def painting() -> Painting:
    """Smooth colour with some noise, 90 x 70 px: neither side a multiple of 8, both black and white reached."""
    rng = np.random.default_rng(0)
    slope = np.linspace(-20, 275, 90)[None, :, None] + rng.normal(0, 20, (70, 90, 3))
    return Painting(np.clip(slope, 0, 255).astype(np.uint8))


@pytest.fixture
def other(painting) -> Painting:
    """Its negative."""
    return Painting(255 - painting.levels)


@pytest.fixture(scope="session")
def saved_tiny(tmp_path_factory) -> Path:
    """The tiny model as a diffusers folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def workplace(saved_tiny, tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with the tiny model as the default."""
    monkeypatch.setenv("ADVDM_MODEL", str(saved_tiny))
    monkeypatch.delenv("ADVDM_DEVICE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_model(monkeypatch) -> None:
    """What is refused must be refused before this."""
    monkeypatch.setattr("advdm.models.load_model", lambda *_: pytest.fail("the model was loaded"))
