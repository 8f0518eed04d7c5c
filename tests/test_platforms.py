"""What platforms do: as Pillow does it, differentiable, in range, and random only by the generator."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from advdm import compare, protect, read_painting
from advdm.platforms import blur, jpeg, random_treatment, shrink
from tests.test_atelier import EXAMPLES

TREATMENTS = {
    "jpeg": partial(jpeg, quality=60),
    "shrink": partial(shrink, share=0.5),
    "blur": partial(blur, sigma=0.8),
}


@pytest.fixture(scope="module")
def detail() -> np.ndarray:
    """A part of a real painting; neither side a multiple of 16."""
    return read_painting(EXAMPLES / "harvest.webp").levels[100:190, 100:201]


def pixels_of(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


def difference(pixels: torch.Tensor, image: Image.Image) -> float:
    """Root mean square, in levels."""
    levels = pixels[0].permute(1, 2, 0).numpy() * 255
    return float(np.sqrt(np.square(levels - np.asarray(image, np.float32)).mean()))


@pytest.mark.parametrize("quality", (30, 50, 75, 95))
def test_jpeg_is_that_of_pillow(detail, quality):
    file = io.BytesIO()
    Image.fromarray(detail).save(file, "JPEG", quality=quality)
    decoded = Image.open(file).convert("RGB")
    ours = jpeg(pixels_of(detail), quality)
    # Where a coefficient lies between two steps, the last bit of the transform decides, and 8 x 8 pixels follow.
    assert difference(ours, decoded) < min(2, 0.5 * difference(pixels_of(detail), decoded))


def test_blur_and_shrink_are_those_of_pillow(detail):
    image = Image.fromarray(detail)
    # Pillow's is an approximation by box filters.
    assert difference(blur(pixels_of(detail), 1.0), image.filter(ImageFilter.GaussianBlur(1.0))) < 1.5
    small = image.resize((round(detail.shape[1] / 2), round(detail.shape[0] / 2)), Image.Resampling.BICUBIC)
    assert difference(shrink(pixels_of(detail), 0.5), small.resize(image.size, Image.Resampling.BICUBIC)) < 1


@pytest.mark.parametrize("name", TREATMENTS)
def test_a_treatment_keeps_shape_and_range_and_passes_a_gradient(detail, name):
    pixels = pixels_of(detail).requires_grad_()
    treated = TREATMENTS[name](pixels)
    assert treated.shape == pixels.shape and treated.dtype == torch.float32
    assert treated.min() >= 0 and treated.max() <= 1
    (gradient,) = torch.autograd.grad(treated.square().sum(), pixels)
    assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", TREATMENTS)
def test_what_is_flat_stays(name):
    flat = torch.full((1, 3, 40, 24), 128 / 255)
    torch.testing.assert_close(TREATMENTS[name](flat), flat, atol=0.003, rtol=0)


def test_random_treatments_are_all_kinds_and_the_same_for_a_seed(detail):
    pixels = pixels_of(detail)
    rounds = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(0)
        rounds.append([random_treatment(generator)(pixels) for _ in range(40)])
    assert all(torch.equal(*pair) for pair in zip(*rounds, strict=True))
    untouched = sum(torch.equal(treated, pixels) for treated in rounds[0])
    assert 3 <= untouched <= 20
    assert len({treated.sum().item() for treated in rounds[0]}) > 15


def test_robust_protection_is_another_one_of_the_same_budget(tiny, painting):
    plain, robust, again = (protect(painting, tiny, steps=6, robust=robust).levels for robust in (False, True, True))
    assert np.array_equal(robust, again) and not np.array_equal(robust, plain)
    assert 0 < compare(painting, protect(painting, tiny, steps=6, robust=True)).max_change <= 8
