"""What an imitator sees: boxes inside the painting, sizes the model takes, an antialiased differentiable resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from advdm.views import View, random_view, square_view, whole_view

SHAPES = pytest.mark.parametrize("shape", ((64, 64), (500, 401), (64, 512), (3000, 4000)))


@SHAPES
@pytest.mark.parametrize("size", (128, 512))
def test_whole_view_keeps_shape_and_area(shape, size):
    view = whole_view(*shape, size, 8)
    assert (view.top, view.left, view.height, view.width) == (0, 0, *shape)
    height, width = view.size
    assert height % 8 == width % 8 == 0
    assert height * width == pytest.approx(size * size, rel=0.15)
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.15)


@SHAPES
def test_squares_lie_inside_and_reach_every_corner(shape):
    generator = torch.Generator().manual_seed(0)
    views = [square_view(*shape, 128, generator) for _ in range(400)]
    assert {view.mirrored for view in views} == {False, True}
    shown = np.zeros((8, 8), bool)  # by eighths of the painting
    for view in views:
        assert view.height == view.width and min(shape) // 2 <= view.height <= min(shape)
        assert 0 <= view.top <= shape[0] - view.height and 0 <= view.left <= shape[1] - view.width
        bottom, right = view.top + view.height, view.left + view.width
        rows = slice(8 * view.top // shape[0], -(-8 * bottom // shape[0]))
        shown[rows, 8 * view.left // shape[1] : -(-8 * right // shape[1])] = True
    assert shown.all()


def test_random_views_mix_whole_and_squares():
    generator = torch.Generator().manual_seed(0)
    views = [random_view(500, 401, 128, 8, generator) for _ in range(200)]
    assert 20 < sum(view.height == 500 for view in views) < 90


def difference(view, levels):
    """Between what is seen and what Pillow makes of the same box."""
    height, width = view.size
    box = (view.left, view.top, view.left + view.width, view.top + view.height)
    wanted = Image.fromarray(levels).crop(box).resize((width, height), Image.Resampling.BICUBIC)
    if view.mirrored:
        wanted = wanted.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.abs(view.see(levels)[0].permute(1, 2, 0).numpy() * 255 - np.asarray(wanted))


@pytest.mark.parametrize("mirrored", (False, True))
def test_look_resizes_as_pillow_does(mirrored):
    """Trainers resize with Pillow; the attack must see what they see, to a level or so."""
    levels = np.random.default_rng(0).integers(60, 200, (90, 130, 3), dtype=np.uint8)
    assert difference(View(10, 20, 70, 100, (32, 48), mirrored), levels).max() < 1.6


def test_a_very_large_painting_is_shrunk_in_two_steps_and_looks_the_same():
    """80 times smaller, which torch's kernel for cards refuses in one."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
    levels = np.array(coarse.resize((2565, 1283), Image.Resampling.BICUBIC))  # no multiple of anything
    assert difference(View(0, 0, 1283, 2565, (16, 32)), levels).mean() < 2.5
