"""The decoder's second stage, on the finished latents: to paint texture instead of fog.

With the true picture x and the decoded y, g = |grad| and h the features of a small network that tells manners apart:

    loss = 0.5 pixels(y, x) + |mean8(y) - mean8(x)| + |mean8(g(y)) - mean8(g(x))|
         + 8 |mean g(y) - r mean g(x)| + 3 |h(y) - h(x)| + t (0.3 |d(y) - d(x)| - 0.1 D(y))

where d are the features and D the score of a patch discriminator (hinge loss), r is 1.05 for painted and 1.5 for real
pictures, and t grows from 0 to 1 over 500 steps.
"""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.autoencoder import block_mean_error, crops, decode_noisy, encode_mean, half_real, pixel_error
from training.loop import Average, Run, Stage, descend, put
from training.manners import MANNERS
from training.scenes import Scene

CROP_SIZES = ((0.75, 64), (1.0, 128))
ROUGHNESS, REAL_ROUGHNESS = 1.05, 1.5
"""The mean gradient magnitude wanted of a painted and of a real picture, over its own: unseen paintings come out
softer than those that were trained on."""
MANNER_CROP = 64
"""Side in pixels: enough strokes to know the manner, too little to know it by the subject."""


class Features(nn.Module):
    """Strided convolutions, each halving the size; `features` are what each of them says."""

    def __init__(self, widths: tuple[int, ...], norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for a, b in pairwise((3, *widths)):
            norms = [nn.GroupNorm(8, b)] if norm else []
            self.layers.append(nn.Sequential(nn.Conv2d(a, b, 4, 2, 1), *norms, nn.LeakyReLU(0.2)))

    def features(self, pictures: Tensor) -> list[Tensor]:
        maps = [pictures]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return maps[1:]


class MannerNetwork(Features):
    """Logits (N, manners) for (N, 3, H, W) pictures in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__((32, 64, 96, 128), norm=True)
        self.head = nn.Linear(128, len(MANNERS))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures)[-1].mean((2, 3)))


class Discriminator(Features):
    """Its features, and a score for each 8x8 patch."""

    def __init__(self) -> None:
        super().__init__((32, 64, 96), norm=False)
        self.score = nn.Conv2d(96, 1, 3, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.features(pictures)
        return features, self.score(features[-1])


def feature_error(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Mean absolute difference, all layers counting alike."""
    return torch.stack([(one - other).float().abs().mean() for one, other in zip(a, b, strict=True)]).mean()


def edge_strengths(pictures: Tensor, floor: float = 1e-6) -> Tensor:
    """Gradient magnitudes (N, 3, H - 1, W - 1); with a floor under the square, a flat place has a derivative too."""
    across, down = pictures.diff(dim=-1)[..., :-1, :], pictures.diff(dim=-2)[..., :-1]
    return (across.square() + down.square() + floor).sqrt()


def edge_strength_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the gradient magnitudes averaged over 8x8 places: how rough, not where exactly."""
    return F.l1_loss(*(F.avg_pool2d(edge_strengths(pictures), 8, stride=4) for pictures in (a, b)))


def softness(a: Tensor, b: Tensor, roughness: Tensor) -> Tensor:
    """How far the mean gradient magnitude of each picture of a is from `roughness` (N,) times that of b.

    Place by place a decoder in doubt errs to the soft side; over a whole picture it must not. A difference and not a
    ratio, so that pictures with many edges weigh most: it is they that come out soft.
    """
    mean_a, mean_b = (edge_strengths(pictures).mean((1, 2, 3)) for pictures in (a, b))
    return (mean_a - roughness * mean_b).abs().mean()


def train_perceptual(run: Run, painted: Tensor, scenes: Sequence[Scene], steps: int) -> MannerNetwork:
    """Cross entropy of the manner of crops of painted pictures; returns the network frozen."""
    stage, names = Stage(run, "perceptual"), list(MANNERS)
    manners = torch.tensor([names.index(scene.manner) for scene in scenes], device=run.device)
    torch.manual_seed(run.seed)
    model = MannerNetwork().to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    for step in stage.steps(steps, {"model": model, "optimizer": optimizer}):
        numbers = step.rng.integers(len(painted), size=run.batch * 3 // 2)
        with run.autocast():
            logits = model(crops(painted, numbers, MANNER_CROP, step.rng))
        loss = F.cross_entropy(logits.float(), manners[put(numbers, run.device)])
        descend(loss, optimizer, step.rate(2e-3, 2e-5))
        stage.note(manner=loss)
    return model.requires_grad_(False)


def train_sharp(
    run: Run, start: AutoencoderKL, perceptual: MannerNetwork, painted: Tensor, real: Tensor, steps: int
) -> AutoencoderKL:
    """Trains the decoder alone; the encoder, and so the latents, stay as they are. Returns the averaged weights."""
    stage = Stage(run, "sharp")
    torch.manual_seed(run.seed)
    model = copy.deepcopy(start).requires_grad_(True)
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    average, discriminator = Average(model), Discriminator().to(run.device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, betas=(0.5, 0.95), fused=True)
    critic_optimizer = torch.optim.Adam(discriminator.parameters(), betas=(0.5, 0.95), fused=True)
    parts = {"model": model, "average": average.module, "discriminator": discriminator}
    for step in stage.steps(steps, parts | {"optimizer": optimizer, "critic_optimizer": critic_optimizer}):
        x = half_real(painted, real, CROP_SIZES, step, run.batch)
        with run.autocast():
            with torch.no_grad():
                mean = encode_mean(model, x).float()
                wanted, _ = discriminator(x)
                shown = perceptual.features(x)
            y = decode_noisy(model, mean, step).float()
            discriminator.requires_grad_(False)
            features, score = discriminator(y)
            discriminator.requires_grad_(True)
            manner = feature_error(perceptual.features(y), shown)
        pixels, edges = pixel_error(y, x), edge_strength_error(y, x)
        roughness = x.new_tensor([ROUGHNESS, REAL_ROUGHNESS]).repeat_interleave(len(x) // 2)
        loss = 0.5 * pixels + block_mean_error(y, x) + edges + 8 * softness(y, x, roughness) + 3 * manner
        # Ramped in: a fresh discriminator knows nothing worth listening to.
        trust = min(1.0, step.number / 500)
        loss = loss + trust * (0.3 * feature_error(features, wanted) - 0.1 * score.float().mean())
        descend(loss, optimizer, step.rate(3e-4, 2e-5), clip=1.0)
        average.update(model, step.number)

        with run.autocast():
            _, real_score = discriminator(x)
            _, painted_score = discriminator(y.detach())
        critic = F.relu(1 - real_score.float()).mean() + F.relu(1 + painted_score.float()).mean()
        descend(critic, critic_optimizer, 4e-4)
        stage.note(pixels=pixels, edges=edges, manner=manner, critic=critic)
    return average.module
