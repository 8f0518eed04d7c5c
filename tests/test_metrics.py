"""How visible a change is, and how wrong a model is about a painting."""

import math

import numpy as np
import pytest
from PIL import Image

from advdm.metrics import compare, likeness, noise_error
from advdm.mimicry import with_random_noise
from advdm.paintings import Painting, read_painting
from tests.app_server import EXAMPLES


@pytest.fixture(scope="module")
def harvest():
    return read_painting(EXAMPLES / "harvest.webp")


def test_equal_pictures(harvest):
    seen = compare(harvest, harvest)
    assert (seen.max_change, seen.psnr, seen.ssim, seen.visibility) == (0, math.inf, 1, 10)


def test_known_values_also_of_a_picture_that_is_compared_in_strips():
    levels = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (3000, 1, 3))
    changed = levels.copy()
    changed[1500:, :200] += 4
    seen = compare(Painting(levels), Painting(changed))
    assert seen.max_change == 4
    assert seen.psnr == pytest.approx(10 * math.log10(255**2 / (16 * 200 / 256 / 2)), rel=1e-4)
    assert 0.9 < seen.ssim < 1


def test_the_more_noise_the_farther_by_every_number(harvest):
    found = [compare(harvest, with_random_noise(harvest, epsilon, 0)) for epsilon in (2, 8, 16)]
    assert [one.max_change for one in found] == [2, 8, 16]
    for name in ("psnr", "ssim", "visibility"):
        low, middle, high = (getattr(one, name) for one in found)
        assert low > middle > high, name


def test_a_painting_is_like_itself_after_what_a_platform_does_and_unlike_others(harvest):
    height, width = (side // 20 for side in harvest.levels.shape[:2])
    cut = harvest.levels[height:-height, width:-width]
    small = np.asarray(Image.fromarray(with_random_noise(harvest, 16, 0).levels).resize((200, 100)))
    assert likeness(harvest.levels, harvest.levels) == pytest.approx(1)
    assert min(likeness(harvest.levels, other) for other in (cut, small)) > 0.6
    others = [read_painting(path).levels for path in EXAMPLES.glob("*.webp")]
    assert sum(likeness(harvest.levels, other) > 0.5 for other in others) == 1, "only itself"


def test_likeness_of_plain_pictures():
    white, black = np.full((5, 9, 3), 255, np.uint8), np.zeros((40, 9, 3), np.uint8)
    assert likeness(white, white) == likeness(white, black) == 1, "their composition is the same: none"


def test_noise_error_is_that_of_the_model_and_the_same_again(tiny, tiny_v, painting, other):
    error = noise_error(painting, tiny)
    assert error == noise_error(painting, tiny) > 0
    assert error not in (noise_error(other, tiny), noise_error(painting, tiny_v))
