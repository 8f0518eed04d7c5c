"""How visible a change is: levels, PSNR, SSIM, and the perceptual distance, which a network tells; and likeness."""

import math

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity

from advdm import compare, protect
from advdm.metrics import likeness, noise_error, perceptual, psnr, ssim
from advdm.mimicry import with_random_noise
from advdm.paintings import Levels, Painting
from tests.app_server import EXAMPLES


def with_noise(painting: Painting, epsilon: int) -> Levels:
    return with_random_noise(painting, epsilon, 0).levels


@pytest.fixture(scope="module")
def harvest() -> Painting:
    return Painting(np.asarray(Image.open(EXAMPLES / "harvest.webp").convert("RGB")))


def test_equal_pictures_are_at_no_distance(harvest):
    found = compare(harvest, harvest)
    assert (found.max_change, found.psnr, found.perceptual) == (0, math.inf, 0) and found.ssim == pytest.approx(1)


@pytest.mark.parametrize("height", (64, 2500))
def test_levels_psnr_and_ssim_are_those_of_the_whole_picture(height):
    """In strips, where it is tall."""
    before = np.random.default_rng(0).integers(20, 230, (height, 40, 3), np.uint8)
    after = before.copy()
    after[: height // 2] += 4
    after[-1, -1, 1] -= 9
    assert compare(Painting(before), Painting(after)).max_change == 9
    error = np.mean((before.astype(float) - after) ** 2)
    assert psnr(before, after) == pytest.approx(10 * math.log10(255**2 / error), abs=1e-3)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    whole = structural_similarity(before, after, channel_axis=2, **options)
    assert ssim(before, after) == pytest.approx(whole, abs=1e-3)


def test_the_noise_error_rises_by_the_attack_and_repeats(tiny, painting):
    copy = Painting(protect(painting, tiny, epsilon=32, steps=20, even=True).levels)
    before, after = noise_error(painting, tiny), noise_error(copy, tiny)
    assert after > before == noise_error(painting, tiny)


def test_the_more_noise_the_farther_and_noise_is_farther_than_more_light(harvest):
    noisy = [perceptual(harvest.levels, with_noise(harvest, epsilon)) for epsilon in (2, 4, 8, 16)]
    assert 0 < noisy[0] < noisy[1] < noisy[2] < noisy[3] < 1
    brighter = np.clip(harvest.levels.astype(int) + 8, 0, 255).astype(np.uint8)
    assert perceptual(harvest.levels, brighter) < noisy[0], "PSNR takes both alike"


def test_it_is_a_distance_between_pictures_and_repeats(harvest):
    other = with_noise(harvest, 8)
    assert perceptual(harvest.levels, other) == perceptual(harvest.levels, other)
    assert perceptual(other, harvest.levels) == pytest.approx(perceptual(harvest.levels, other))
    assert perceptual(harvest.levels, harvest.levels[:, ::-1]) > 1, "another picture"


@pytest.mark.parametrize("size", ((1, 1), (3, 300), (33, 17), (225, 1000)))
def test_any_size(size):
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
    small = np.asarray(Image.fromarray(with_noise(harvest, 16)).resize((200, 100)))
    assert likeness(harvest.levels, harvest.levels) == pytest.approx(1)
    assert min(likeness(harvest.levels, other) for other in (cut, small)) > 0.6
    others = [np.asarray(Image.open(path).convert("RGB")) for path in EXAMPLES.glob("*.webp")]
    assert sum(likeness(harvest.levels, other) > 0.5 for other in others) == 1, "only itself"


def test_likeness_of_plain_pictures():
    white, black = np.full((5, 9, 3), 255, np.uint8), np.zeros((40, 9, 3), np.uint8)
    assert likeness(white, white) == likeness(white, black) == 1, "their composition is the same: none"
