"""The judge passes its own checks before it may judge anybody: see DESIGN.md, 'Independent judge'."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.data import cat
from torch import Tensor

from advdm.judge import embedding, frechet_distance, knn_precision, network, style
from advdm.statistics import squared_distances

SIZE = 128
VAN_GOGHS = sorted((Path(__file__).parent.parent / "examples").glob("*.webp"))


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """The eight Van Goghs, four corners each, of three quarters of the short side: (8, 4, 3, 128, 128)."""
    return torch.stack([torch.stack(corners(Image.open(file).convert("RGB"))) for file in VAN_GOGHS])


def corners(painting: Image.Image) -> list[Tensor]:
    side = round(0.75 * min(painting.size))
    right, low = painting.width - side, painting.height - side
    boxes = [(x, y, x + side, y + side) for x, y in ((0, 0), (right, low), (right, 0), (0, low))]
    return [pixels(painting.crop(box).resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for box in boxes]


def pixels(picture: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


def style_distance(a: Tensor, b: Tensor) -> float:
    """Between mean styles, of sets that are equally large wherever two distances are compared."""
    return float((a.mean(0) - b.mean(0)).norm())


def blur(pictures: Tensor) -> Tensor:
    return F.interpolate(F.avg_pool2d(pictures, 2), pictures.shape[-2:], mode="bilinear")


def spots(shape: torch.Size, generator: torch.Generator, size: int) -> Tensor:
    """Dirt: coloured spots of `size` pixels, of unit strength."""
    coarse = torch.randn((*shape[:-2], shape[-2] // size, shape[-1] // size), generator=generator)
    return F.interpolate(coarse, shape[-2:], mode="bilinear")


def test_knows_a_cat() -> None:
    """Levels go in at about the scale of the training: ImageNet's classes 281 to 285 are the domestic cats."""
    logits = network()._fc(embedding(pixels(cat())[None]))
    assert 281 <= int(logits.argmax()) <= 285


@pytest.mark.parametrize("describe", [style, embedding])
def test_what_is_said_of_a_picture_depends_on_it_alone(crops: Tensor, describe: Any) -> None:
    together = describe(crops.flatten(0, 1))
    assert len(together) == 32
    assert torch.equal(describe(crops.flatten(0, 1)), together), "the same again"
    torch.testing.assert_close(describe(crops[5, 1:2]), together[21:22], rtol=0, atol=1e-4)


def test_the_style_of_a_large_picture_is_that_of_a_small_one(crops: Tensor) -> None:
    """Stable Diffusion paints at 512 px; the statistic was chosen at 128."""
    large = F.interpolate(crops[0], (512, 512))
    assert style_distance(style(large), style(crops[0])) < 0.3
    assert style_distance(style(crops[1]), style(crops[0])) > 0.4


@pytest.mark.parametrize("imitation", ["sharp", "blurred"])
@pytest.mark.parametrize("harm", ["uniform", "noise", "small dirt", "large dirt"])
def test_noise_and_dirt_never_improve_the_score(crops: Tensor, imitation: str, harm: str) -> None:
    """Neither on pictures as sharp as the painting, nor where a blurry model sees both."""
    generator = torch.Generator().manual_seed(0)
    see = blur if imitation == "blurred" else torch.nn.Identity()
    for painting in crops:
        target, pictures = style(see(painting[:2])), see(painting[2:])
        added = {
            "uniform": (torch.rand(pictures.shape, generator=generator) - 0.5) * 16 / 255,
            "noise": torch.randn(pictures.shape, generator=generator) * 10 / 255,
            "small dirt": spots(pictures.shape, generator, 2) * 20 / 255,
            "large dirt": spots(pictures.shape, generator, 4) * 20 / 255,
        }[harm]
        harmed = (pictures + added).clamp(0, 1)
        assert style_distance(style(harmed), target) > style_distance(style(pictures), target)


def test_the_same_painting_is_nearer_than_another(crops: Tensor) -> None:
    styles = style(crops.flatten(0, 1)).reshape(8, 4, -1)
    first, second = styles[:, :2], styles[:, 2:]
    alike = torch.full((1, 2), 0.5, dtype=torch.float64)
    table = np.array([[squared_distances(a, b, alike).item() for b in second] for a in first])
    own, others = np.diag(table), table[~np.eye(8, dtype=bool)].reshape(8, 7)
    assert (own[:, None] < others).mean() > 0.9


def test_frechet_distance_of_a_shift_and_a_stretch() -> None:
    a = torch.randn((500, 6), generator=torch.Generator().manual_seed(0))
    shift = torch.arange(6.0)
    assert frechet_distance(a, a + shift) == pytest.approx(float(shift.square().sum()), rel=1e-5)
    variance, mean = torch.cov(a.T).trace(), a.mean(0).square().sum()
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * float(variance + mean), rel=1e-4)


def test_frechet_distance_with_fewer_pictures_than_dimensions() -> None:
    a = torch.randn((5, 50), generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 1) == pytest.approx(50, rel=1e-5)


def test_knn_precision() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    # Radii of the second neighbour: 2, 1, 1, 2, 8.
    assert knn_precision(real, torch.tensor([[-1.9], [2.5], [18.1]]), k=2) == pytest.approx(2 / 3)
