"""What the tiny model cannot show: whole architectures, and a painting of 12 million pixels.

Slow, and so run by name: pytest -m slow.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from advdm.models import SDXL, StableDiffusion
from advdm.paintings import Painting
from advdm.protection import Settings, protection_steps
from tests.full_size import sdxl, stable_diffusion_15

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "family, build, millions", ((StableDiffusion, stable_diffusion_15, 859.5), (SDXL, sdxl, 2567.5))
)
def test_one_step_on_the_whole_architecture(family, build, millions):
    if millions > 2000 and psutil.virtual_memory().available < 20e9:
        pytest.skip("needs 20 GB of memory")
    model = family(build(256), "random weights")
    assert sum(weight.numel() for weight in model.unet.parameters()) == pytest.approx(millions * 1e6, rel=1e-4)
    levels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    (step,) = protection_steps(Painting(levels), model, Settings(steps=1, samples=2, step_size=8))
    change = np.abs(step.protected().levels.astype(int) - levels)
    assert np.isfinite(step.loss) and change.max() == 8 and (change > 0).mean() > 0.3


LARGE = """
import resource
import numpy as np
from advdm import compare, protect
from advdm.models import StableDiffusion
from advdm.paintings import Painting
from tests.tiny import tiny_pipeline

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

model = StableDiffusion(tiny_pipeline(), "tiny")
protect(Painting(np.full((100, 100, 3), 128, np.uint8)), model, steps=2)
before = peak()
painting = Painting(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8))
assert compare(painting, protect(painting, model, steps=8)).max_change == 8
print((peak() - before) / 12e6)
"""


def test_memory_stays_bounded_on_a_large_painting():
    """At most 60 bytes a pixel, of which the float32 perturbation, running mean, pixels and gradient are 48."""
    run = subprocess.run(
        [sys.executable, "-c", LARGE], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert float(run.stdout) < 60, f"{float(run.stdout):.0f} bytes a pixel"
