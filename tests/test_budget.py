"""How far each pixel may move."""

import numpy as np
import pytest

from advdm.budget import LEAST, budget
from advdm.paintings import read_painting
from tests.app_server import EXAMPLES


def half_flat(height: int = 96, width: int = 128, colours: int = 3, grain: int = 4) -> np.ndarray:
    """Grey on the left, noise on the right."""
    small = (-(-height // grain), -(-width // grain), colours)
    noise = np.random.default_rng(0).integers(40, 216, small, dtype=np.uint8).repeat(grain, 0).repeat(grain, 1)
    levels = np.full((height, width, 3), 128, np.uint8)
    levels[:, width // 2 :] = noise[:height, width // 2 : width]
    return levels


@pytest.mark.parametrize("shape", [(64, 512), (97, 65), (700, 1300)])
def test_every_pixel_gets_a_share_that_is_never_more_than_all(shape):
    shares = budget(half_flat(*shape))
    assert shares.shape == shape
    assert shares.min() >= LEAST and shares.max() == 1


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_picture_has_the_same_share_everywhere(value):
    assert np.ptp(budget(np.full((80, 100, 3), value, np.uint8))) < 0.01


@pytest.mark.parametrize("picture", [{}, {"colours": 1}, {"height": 2048, "width": 3072, "grain": 64}])
def test_what_is_flat_gets_far_less_than_what_is_rough_also_in_grey_and_in_a_large_scan(picture):
    shares = budget(half_flat(**picture))
    third = shares.shape[1] // 3
    assert shares[:, :third].mean() < 0.5 * shares[:, -third:].mean()


def test_it_changes_slowly_and_the_sky_forgives_far_less_than_the_grass():
    shares = budget(read_painting(EXAMPLES / "langlois_bridge.webp").levels)
    assert max(np.abs(np.diff(shares, axis=axis)).max() for axis in (0, 1)) < 0.1
    assert shares[20:120, 200:400].mean() < 0.4 * shares[330:, 450:].mean()
