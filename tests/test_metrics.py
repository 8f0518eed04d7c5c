"""How visible a change is, and how wrong a model is about a painting."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from advdm.metrics import compare, likeness, noise_error, perceptual
from advdm.mimicry import with_random_noise
from advdm.paintings import Painting
from tests.app_server import EXAMPLES


@pytest.fixture(scope="module")
def harvest():
    return Painting(np.asarray(Image.open(EXAMPLES / "harvest.webp").convert("RGB")))


def noisy(painting, epsilon):
    return with_random_noise(painting, epsilon, 0)


def test_equal_pictures(harvest):
    seen = compare(harvest, harvest)
    assert (seen.max_change, seen.psnr, seen.ssim, seen.perceptual) == (0, math.inf, 1, 0)
    assert seen.visibility == 10


def test_known_values_also_of_a_picture_that_is_compared_in_strips():
    levels = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (3000, 1, 3))
    changed = levels.copy()
    changed[1500:, :200] += 4
    seen = compare(Painting(levels), Painting(changed))
    assert seen.max_change == 4
    assert seen.psnr == pytest.approx(10 * math.log10(255**2 / (16 * 200 / 256 / 2)), rel=1e-4)
    assert 0.9 < seen.ssim < 1


def test_the_more_noise_the_farther_by_every_number(harvest):
    found = [compare(harvest, noisy(harvest, epsilon)) for epsilon in (2, 8, 16)]
    assert [one.max_change for one in found] == [2, 8, 16]
    for name, sign in (("psnr", -1), ("ssim", -1), ("visibility", -1), ("perceptual", 1)):
        values = [sign * getattr(one, name) for one in found]
        assert values == sorted(values) and values[0] < values[2], name


def test_more_light_is_less_than_noise_which_psnr_cannot_tell(harvest):
    brighter = np.clip(harvest.levels.astype(int) + 8, 0, 255).astype(np.uint8)
    assert perceptual(harvest.levels, brighter) < perceptual(harvest.levels, noisy(harvest, 2).levels)


def test_perceptual_is_a_distance_between_pictures_and_repeats(harvest):
    other = noisy(harvest, 8).levels
    assert perceptual(harvest.levels, other) == perceptual(harvest.levels, other)
    assert perceptual(other, harvest.levels) == pytest.approx(perceptual(harvest.levels, other))
    assert perceptual(harvest.levels, harvest.levels[:, ::-1]) > 1, "another picture"


@pytest.mark.parametrize("size", ((1, 1), (3, 300), (33, 17), (225, 1000)))
def test_perceptual_of_any_size(size):
    black, noise = np.zeros((*size, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert perceptual(black, black) == 0
    assert 0 < perceptual(black, noise) <= 4


@pytest.mark.parametrize("place", ((0, 0), (600, 700), (-200, -200)))
def test_corners_and_middle_of_a_large_picture_are_looked_at(place):
    flat = np.full((1400, 1600, 3), 128, np.uint8)
    changed = flat.copy()
    top, left = place
    changed[top : top + 150 if top >= 0 else None, left : left + 150 if left >= 0 else None, 0] += 40
    assert perceptual(flat, changed) > 0


def test_a_painting_is_like_itself_after_what_a_platform_does_and_unlike_others(harvest):
    height, width = (side // 20 for side in harvest.levels.shape[:2])
    cut = harvest.levels[height:-height, width:-width]
    small = np.asarray(Image.fromarray(noisy(harvest, 16).levels).resize((200, 100)))
    assert likeness(harvest.levels, harvest.levels) == pytest.approx(1)
    assert min(likeness(harvest.levels, other) for other in (cut, small)) > 0.6
    others = [np.asarray(Image.open(path).convert("RGB")) for path in EXAMPLES.glob("*.webp")]
    assert sum(likeness(harvest.levels, other) > 0.5 for other in others) == 1, "only itself"


def test_likeness_of_plain_pictures():
    white, black = np.full((5, 9, 3), 255, np.uint8), np.zeros((40, 9, 3), np.uint8)
    assert likeness(white, white) == likeness(white, black) == 1, "their composition is the same: none"


def test_noise_error_is_that_of_the_model_and_the_same_again(tiny, tiny_v, painting):
    error = noise_error(painting, tiny)
    assert error == noise_error(painting, tiny) > 0
    assert error != noise_error(replace(painting, levels=255 - painting.levels), tiny)
    assert error != noise_error(painting, tiny_v)
