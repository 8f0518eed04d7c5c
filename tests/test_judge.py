"""The judge passes its own checks before it may judge anybody: see DESIGN.md, 'Independent judge'."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.data import cat
from torch import Tensor

from advdm.judge import Judge, frechet_distance, knn_precision
from advdm.statistics import squared_distances

SIZE = 128
VAN_GOGHS = sorted((Path(__file__).parent.parent / "examples").glob("*.webp"))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def crops() -> Tensor:
    """The eight Van Goghs, four corners each, of three quarters of the short side: (8, 4, 3, 128, 128)."""
    return torch.stack([corners(file) for file in VAN_GOGHS])


def corners(file: Path) -> Tensor:
    painting = Image.open(file).convert("RGB")
    side = round(0.75 * min(painting.size))
    right, low = painting.width - side, painting.height - side
    boxes = [(x, y, x + side, y + side) for x, y in ((0, 0), (right, low), (right, 0), (0, low))]
    levels = [np.array(painting.crop(box).resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for box in boxes]
    return torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2) / 255


def style_distance(a: Tensor, b: Tensor) -> float:
    """Between mean styles, of sets that are equally large wherever two distances are compared."""
    return float((a.mean(0) - b.mean(0)).norm())


def blur(pictures: Tensor, factor: int = 2) -> Tensor:
    small = F.avg_pool2d(pictures, factor)
    return F.interpolate(small, pictures.shape[-2:], mode="bilinear")


def spots(shape: torch.Size, generator: torch.Generator, size: int) -> Tensor:
    """Dirt: coloured spots of `size` pixels, of unit strength."""
    coarse = torch.randn((*shape[:-2], shape[-2] // size, shape[-1] // size), generator=generator)
    return F.interpolate(coarse, shape[-2:], mode="bilinear")


def test_knows_a_cat(judge: Judge) -> None:
    """The input convention is right: ImageNet's classes 281 to 285 are the domestic cats."""
    picture = torch.from_numpy(cat()).permute(2, 0, 1)[None] / 255
    logits = judge.network._fc(judge.embedding(picture))
    assert 281 <= int(logits.argmax()) <= 285


def test_shapes_and_repeatability(judge: Judge, crops: Tensor) -> None:
    pictures = crops[0]
    style, embedding = judge.style(pictures), judge.embedding(pictures)
    assert style.shape == (4, 4060)
    assert embedding.shape == (4, 1280)
    assert torch.allclose(style.norm(dim=1), torch.ones(4))
    assert torch.equal(judge.style(pictures), style)
    assert torch.allclose(judge.style(pictures[1:2]), style[1:2], atol=1e-5)


def test_the_style_of_a_large_picture_is_that_of_a_small_one(judge: Judge, crops: Tensor) -> None:
    """Stable Diffusion paints at 512 px; the statistic was chosen at 128."""
    large = F.interpolate(crops[0], (512, 512))
    assert style_distance(judge.style(large), judge.style(crops[0])) < 0.3
    assert style_distance(judge.style(crops[1]), judge.style(crops[0])) > 0.4


def test_a_set_is_at_no_distance_from_itself(judge: Judge, crops: Tensor) -> None:
    style, embedding = judge.style(crops[0]), judge.embedding(crops[:2].flatten(0, 1))
    assert style_distance(style, style) == 0
    assert frechet_distance(embedding, embedding) == pytest.approx(0, abs=1e-6)
    assert knn_precision(embedding, embedding, k=1) == 1


@pytest.mark.parametrize("imitation", ["sharp", "blurred"])
@pytest.mark.parametrize("harm", ["uniform", "noise", "small dirt", "large dirt"])
def test_noise_and_dirt_never_improve_the_score(judge: Judge, crops: Tensor, imitation: str, harm: str) -> None:
    """Neither on pictures as sharp as the painting, nor where a blurry model sees both."""
    generator = torch.Generator().manual_seed(0)
    see = blur if imitation == "blurred" else torch.nn.Identity()
    for painting in crops:
        target, pictures = judge.style(see(painting[:2])), see(painting[2:])
        added = {
            "uniform": (torch.rand(pictures.shape, generator=generator) - 0.5) * 16 / 255,
            "noise": torch.randn(pictures.shape, generator=generator) * 10 / 255,
            "small dirt": spots(pictures.shape, generator, 2) * 20 / 255,
            "large dirt": spots(pictures.shape, generator, 4) * 20 / 255,
        }[harm]
        harmed = (pictures + added).clamp(0, 1)
        assert style_distance(judge.style(harmed), target) > style_distance(judge.style(pictures), target)


def test_the_same_painting_is_nearer_than_another(judge: Judge, crops: Tensor) -> None:
    styles = judge.style(crops.flatten(0, 1)).reshape(8, 4, -1)
    first, second = styles[:, :2], styles[:, 2:]
    alike = torch.full((1, 2), 0.5, dtype=torch.float64)
    table = np.array([[squared_distances(a, b, alike).item() for b in second] for a in first])
    own, others = np.diag(table), table[~np.eye(8, dtype=bool)].reshape(8, 7)
    assert (own[:, None] < others).mean() > 0.9


def test_frechet_distance_of_a_shift_and_a_stretch() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn((500, 6), generator=generator)
    shift = torch.arange(6.0)
    assert frechet_distance(a, a + shift) == pytest.approx(float(shift.square().sum()), rel=1e-5)
    variance = float(torch.cov(a.T).trace())
    mean = float(a.mean(0).square().sum())
    assert frechet_distance(a, 3 * a) == pytest.approx(4 * (variance + mean), rel=1e-4)


def test_frechet_distance_with_fewer_pictures_than_dimensions() -> None:
    a = torch.randn((5, 50), generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a[torch.randperm(5)]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 1) == pytest.approx(50, rel=1e-5)


def test_knn_precision() -> None:
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]])
    # Radii of the second neighbour: 2, 1, 1, 2, 8.
    assert knn_precision(real, torch.tensor([[-1.9], [2.5], [18.1]]), k=2) == pytest.approx(2 / 3)
