"""What an imitator sees: boxes inside the painting, sizes the model takes, an antialiased differentiable resize."""

import numpy as np
import pytest
import torch
from PIL import Image

from advdm.views import View, random_view, square_view, whole_view

SHAPES = ((64, 64), (500, 401), (64, 512), (3000, 4000))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", (128, 512))
def test_whole_view_keeps_shape_and_area(shape, size):
    view = whole_view(*shape, size, 8)
    assert (view.top, view.left, view.height, view.width) == (0, 0, *shape)
    height, width = view.size
    assert height % 8 == width % 8 == 0
    assert height * width == pytest.approx(size * size, rel=0.15)
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_squares_lie_inside_and_reach_every_corner(shape):
    generator = torch.Generator().manual_seed(0)
    views = [square_view(*shape, 128, generator) for _ in range(400)]
    short = min(shape)
    assert all(view.height == view.width and short // 2 <= view.height <= short for view in views)
    assert all(view.top >= 0 and view.left >= 0 for view in views)
    assert all(view.top + view.height <= shape[0] and view.left + view.width <= shape[1] for view in views)
    assert {view.mirrored for view in views} == {False, True}
    covered = np.zeros((8, 8), bool)
    for view in views:
        rows = slice(8 * view.top // shape[0], -(-8 * (view.top + view.height) // shape[0]))
        covered[rows, 8 * view.left // shape[1] : -(-8 * (view.left + view.width) // shape[1])] = True
    assert covered.all()


def test_random_views_mix_whole_and_squares():
    generator = torch.Generator().manual_seed(0)
    views = [random_view(500, 401, 128, 8, generator) for _ in range(200)]
    whole = sum(view.height == 500 for view in views)
    assert 20 < whole < 90


def test_look_resizes_as_pillow_does():
    """Trainers resize with Pillow; the attack must see what they see, to a level or so."""
    levels = np.random.default_rng(0).integers(60, 200, (90, 130, 3), dtype=np.uint8)
    view = View(10, 20, 70, 100, (32, 48))
    pixels = torch.from_numpy(levels / np.float32(255)).permute(2, 0, 1)[None]
    seen = view.look(view.crop(pixels))[0].permute(1, 2, 0).numpy() * 255
    image = Image.fromarray(levels).crop((20, 10, 120, 80)).resize((48, 32), Image.Resampling.BICUBIC)
    assert np.abs(seen - np.asarray(image)).max() < 1.6


def test_a_very_large_painting_is_shrunk_in_two_steps_and_looks_the_same():
    """80 times smaller, which torch's kernel for cards refuses in one."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (40, 80, 3), np.uint8))
    levels = np.array(coarse.resize((2565, 1283), Image.Resampling.BICUBIC))  # no multiple of anything
    seen = View(0, 0, 1283, 2565, (16, 32)).see(levels)
    wanted = np.asarray(Image.fromarray(levels).resize((32, 16), Image.Resampling.BICUBIC)) / 255
    assert seen.shape == (1, 3, 16, 32)
    assert np.abs(seen[0].permute(1, 2, 0).numpy() - wanted).mean() < 0.01


def test_mirrored_look_is_the_mirror_image():
    pixels = torch.rand(1, 3, 40, 40)
    plain, mirrored = (View(0, 0, 40, 40, (16, 16), mirrored).look(pixels) for mirrored in (False, True))
    assert torch.equal(mirrored, plain.flip(-1))


def test_every_viewed_pixel_gets_a_gradient():
    """A resize without antialiasing would leave most pixels of a large painting unprotected."""
    pixels = torch.full((1, 3, 300, 300), 0.5).requires_grad_()
    view = View(0, 0, 300, 300, (32, 32))
    (gradient,) = torch.autograd.grad(view.look(pixels).square().sum(), pixels)
    assert (gradient != 0).float().mean() > 0.99
