"""How far each pixel may move."""

import numpy as np
import pytest
from PIL import Image

from advdm.budget import LEAST, budget
from tests.app_server import EXAMPLES


def half_flat(height: int = 96, width: int = 128, colours: int = 3, grain: int = 4) -> np.ndarray:
    """Grey on the left, noise on the right."""
    small = (-(-height // grain), -(-width // grain), colours)
    noise = np.random.default_rng(0).integers(40, 216, small, dtype=np.uint8).repeat(grain, 0).repeat(grain, 1)
    levels = np.full((height, width, 3), 128, np.uint8)
    levels[:, width // 2 :] = noise[:height, width // 2 : width]
    return levels


@pytest.mark.parametrize("shape", [(64, 512), (97, 65), (300, 64), (700, 1300)])
def test_every_shape_gets_a_share_a_pixel_that_is_never_more_than_all(shape):
    shares = budget(half_flat(*shape))
    assert shares.shape == shape and shares.dtype == np.float32
    assert shares.min() >= LEAST and shares.max() == 1


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_picture_has_the_same_share_everywhere(value):
    assert np.ptp(budget(np.full((80, 100, 3), value, np.uint8))) < 0.01


@pytest.mark.parametrize("colours", [1, 3])
def test_what_is_flat_gets_far_less_than_what_is_rough(colours):
    shares = budget(half_flat(colours=colours))
    assert shares[:, :48].mean() < 0.5 * shares[:, 80:].mean()


def test_it_changes_slowly_and_repeats():
    levels = np.asarray(Image.open(EXAMPLES / "langlois_bridge.webp").convert("RGB"))
    shares = budget(levels)
    assert max(np.abs(np.diff(shares, axis=axis)).max() for axis in (0, 1)) < 0.1
    assert np.array_equal(shares, budget(levels.copy()))
    assert shares[20:120, 200:400].mean() < 0.4 * shares[330:, 450:].mean(), "the sky forgives far less than the grass"


def test_a_scan_has_the_budget_of_its_small_copy():
    """Or nearly: at 100 % zoom the same strokes are coarser."""
    small, large = half_flat(256, 384, grain=8), half_flat(2048, 3072, grain=64)
    for shares in (budget(small), budget(large)):
        third = shares.shape[1] // 3
        assert shares[:, :third].mean() < 0.5 * shares[:, -third:].mean()
