"""Train atelier's autoencoder: a PCA start, then reconstruction, then a sharp decoder for the finished latents.

    python -m training.autoencoder --painted DIR --paintings DIR --work DIR --out advdm/atelier/vae

Three ideas; what they gave is in the model card, advdm/atelier/README.md:
- The encoder first regresses on the whitened PCA code of 8x8 blocks, so that no latent channel is born dead.
- Crops grow from 32 to 128 px: small ones teach colour and edges many times faster.
- Once the encoder is finished, the decoder alone learns to paint texture instead of fog: from the features of a small
  network that tells manners apart (`perceptual.py`), from a patch discriminator with feature matching, and from the
  strength of edges around each place.
"""

import argparse
import copy
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training.loop import Average, cosine, set_learning_rate, step_generators, training_steps
from training.perceptual import MannerNetwork, feature_error, train_perceptual
from training.pictures import Pictures, load_pictures, random_crops, real_views, to_signed

LATENT_CHANNELS = 12
POSTERIOR_STD = 0.02
"""Exactly that of the exported posterior. What the denoiser learns to paint has this much noise; with 0.1 of it every
fourth picture in flat colours is read as one with a grain."""
DECODER_STD = 0.1
"""Of the noise on the latents that the decoder learns from, so that it forgives what a denoiser leaves."""
BATCH_PIXELS = 8 * 64 * 64
CROP_SIZES = ((0.35, 32), (0.8, 64), (1.0, 128))
"""(up to this share of the steps, crop size) of the reconstruction stage."""
SHARP_CROP_SIZES = ((0.75, 64), (1.0, 128))
ROUGHNESS, REAL_ROUGHNESS = 1.05, 1.5
"""The mean gradient magnitude wanted of a painted picture and of a view of a real painting, over its own. Paintings
that were never trained on come out softer than those that were: these give 1.0 of their own edges to fresh painted
pictures and 0.9 to the Van Goghs."""
REAL_VIEWS_EACH = 60


def new_autoencoder() -> AutoencoderKL:
    """AutoencoderKL, f = 8. Two groups a norm: groups of two channels would erase absolute colour."""
    return AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 48, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        sample_size=128,
    )


class Discriminator(nn.Module):
    """Patch discriminator: three strided convolutions; returns its features and a score for each 8x8 patch."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        inputs = (3, *widths[:-1])
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, widths, strict=True))
        self.score = nn.Conv2d(widths[-1], 1, 3, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        features = [pictures]
        for layer in self.layers:
            features.append(F.leaky_relu(layer(features[-1]), 0.2))
        return features[1:], self.score(features[-1])


@dataclass(frozen=True, eq=False)
class BlockCode:
    """Whitened PCA code of 8x8x3 blocks: filters (C, 3, 8, 8) and offset (C,), applied as a strided convolution."""

    filters: Tensor
    offset: Tensor

    def __call__(self, pictures: Tensor) -> Tensor:
        return F.conv2d(pictures, self.filters, self.offset, stride=8)


def block_code(pictures: Tensor) -> BlockCode:
    """Fit the code on (N, 3, S, S) pictures in [-1, 1]."""
    blocks = F.unfold(pictures, 8, stride=8).transpose(1, 2).reshape(-1, 192).double()
    mean = blocks.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(blocks.T))
    basis = (vectors[:, -LATENT_CHANNELS:] / values[-LATENT_CHANNELS:].sqrt()).T
    return BlockCode(basis.float().reshape(-1, 3, 8, 8), -(basis @ mean).float())


def encode_mean(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    return autoencoder.quant_conv(autoencoder.encoder(pictures))[:, :LATENT_CHANNELS]


def decode_noisy(autoencoder: AutoencoderKL, mean: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(mean.shape, generator=generator)
    return autoencoder.decoder(autoencoder.post_quant_conv(mean + DECODER_STD * noise))


def gradient_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical pixel differences."""
    error = a - b
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


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


def block_mean_error(a: Tensor, b: Tensor) -> Tensor:
    return (F.avg_pool2d(a, 8) - F.avg_pool2d(b, 8)).abs().mean()


def crop_size(schedule: tuple[tuple[float, int], ...], progress: float) -> int:
    return next(size for until, size in schedule if progress < until)


def batch(painted: np.ndarray, real: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """Half painted and then half real crops; small ones come eight at a time, for small batches learn faster."""
    half = min(8, BATCH_PIXELS // size**2) // 2
    return torch.cat([random_crops(painted, half, size, rng), random_crops(real, half, size, rng)])


@torch.no_grad()
def psnr(autoencoder: AutoencoderKL, pictures: Tensor) -> float:
    """Mean over pictures of the PSNR in dB of (N, 3, H, W) in [-1, 1]."""
    decoded = torch.cat([autoencoder.decode(encode_mean(autoencoder, x)).sample for x in pictures.split(16)])
    errors = ((decoded.clamp(-1, 1) - pictures) / 2).square().mean((1, 2, 3))
    return float(-10 * errors.log10().mean())


def train_reconstruction(
    pictures: Pictures, real: np.ndarray, work: Path, steps: int, seed: int, bf16: bool
) -> AutoencoderKL:
    """First stage: L1 + MSE + edges + block means, while the PCA regression fades from 1 to 0.02."""
    painted = pictures.training_painted()
    rng, _ = step_generators(seed, steps)
    code = block_code(torch.cat([random_crops(source, 2000, 64, rng) for source in (painted, real)]))
    torch.manual_seed(seed)
    model = new_autoencoder()
    average = Average(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    validation = to_signed(pictures.validation()[:64])
    losses: dict[str, float] = {}

    def report(_: int) -> str:
        measured = {**losses, "psnr": psnr(average.module, validation)}
        return "  ".join(f"{name} {value:.4f}" for name, value in measured.items())

    parts = {"model": model, "average": average.module, "optimizer": optimizer}
    for step in training_steps(work / "reconstruction.pt", parts, steps, report):
        progress = step / steps
        rng, generator = step_generators(seed, step)
        x = batch(painted, real, crop_size(CROP_SIZES, progress), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            mean = encode_mean(model, x).float()
            y = decode_noisy(model, mean, generator).float()
        regression = F.mse_loss(mean, code(x))
        pixels = F.l1_loss(y, x) + F.mse_loss(y, x)
        loss = pixels + 0.5 * gradient_difference(y, x) + block_mean_error(y, x)
        loss = loss + max(0.02, 1 - progress / 0.6) * regression
        set_learning_rate(optimizer, cosine(step, steps, 1e-3, 1e-4))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step)
        losses = {"pixels": pixels.item(), "regression": regression.item()}
    return average.module


def train_sharp(
    start: AutoencoderKL,
    perceptual: MannerNetwork,
    pictures: Pictures,
    real: np.ndarray,
    work: Path,
    steps: int,
    seed: int,
    bf16: bool,
) -> AutoencoderKL:
    """Second stage, decoder only: pixels, edge strength, perceptual features, and a discriminator's and its hinge loss.

    The encoder stays as it is, so a denoiser of its latents can be trained before, after or meanwhile.
    """
    painted = pictures.training_painted()
    torch.manual_seed(seed)
    model = copy.deepcopy(start).requires_grad_(True)
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    average = Average(model)
    discriminator = Discriminator()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=3e-4, betas=(0.5, 0.95), fused=True)
    critic_optimizer = torch.optim.Adam(discriminator.parameters(), lr=4e-4, betas=(0.5, 0.95), fused=True)
    validation = to_signed(pictures.validation()[:64])
    losses: dict[str, float] = {}

    def report(_: int) -> str:
        measured = {**losses, "psnr": psnr(average.module, validation)}
        return "  ".join(f"{name} {value:.4f}" for name, value in measured.items())

    parts = {
        "model": model,
        "average": average.module,
        "discriminator": discriminator,
        "optimizer": optimizer,
        "critic_optimizer": critic_optimizer,
    }
    for step in training_steps(work / "sharp.pt", parts, steps, report):
        rng, generator = step_generators(seed + 1, step)
        x = batch(painted, real, crop_size(SHARP_CROP_SIZES, step / steps), rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                mean = encode_mean(model, x).float()
                wanted, _ = discriminator(x)
                shown = perceptual.features(x)
            y = decode_noisy(model, mean, generator).float()
            discriminator.requires_grad_(False)
            features, score = discriminator(y)
            discriminator.requires_grad_(True)
            manner = feature_error(perceptual.features(y), shown)
        matching = feature_error(features, wanted)
        adversarial = -score.float().mean()
        pixels = F.l1_loss(y, x) + F.mse_loss(y, x)
        edges = edge_strength_error(y, x)
        # Ramped in: a fresh discriminator knows nothing worth listening to.
        trust = min(1.0, step / 500)
        roughness = torch.tensor([ROUGHNESS, REAL_ROUGHNESS]).repeat_interleave(len(x) // 2)
        loss = 0.5 * pixels + block_mean_error(y, x) + edges + 8 * softness(y, x, roughness) + 3 * manner
        loss = loss + trust * (0.3 * matching + 0.1 * adversarial)
        set_learning_rate(optimizer, cosine(step, steps, 3e-4, 2e-5))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.update(model, step)

        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, real_score = discriminator(x)
            _, painted_score = discriminator(y.detach())
        critic = F.relu(1 - real_score.float()).mean() + F.relu(1 + painted_score.float()).mean()
        critic_optimizer.zero_grad()
        critic.backward()
        critic_optimizer.step()
        losses = {"pixels": pixels.item(), "edges": edges.item(), "manner": manner.item(), "critic": critic.item()}
    return average.module


@torch.no_grad()
def whiten(autoencoder: AutoencoderKL, pictures: Tensor) -> None:
    """Fold the ZCA whitening of the latents of `pictures` into quant_conv, and its inverse into post_quant_conv.

    Afterwards the posterior has zero mean and unit covariance over these pictures and the fixed standard
    deviation POSTERIOR_STD; what the decoder makes of the mean is unchanged.
    """
    latents = torch.cat([encode_mean(autoencoder, x) for x in pictures.split(16)])
    flat = latents.permute(0, 2, 3, 1).reshape(-1, LATENT_CHANNELS).double()
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    forward = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    back = vectors @ torch.diag(values.sqrt()) @ vectors.T

    quant, post = autoencoder.quant_conv, autoencoder.post_quant_conv
    weight, bias = quant.weight[:LATENT_CHANNELS, :, 0, 0].double(), quant.bias[:LATENT_CHANNELS].double()
    quant.weight.zero_()
    quant.weight[:LATENT_CHANNELS, :, 0, 0] = (forward @ weight).float()
    quant.bias[:LATENT_CHANNELS] = (forward @ (bias - mean)).float()
    quant.bias[LATENT_CHANNELS:] = 2 * math.log(POSTERIOR_STD)
    post_weight = post.weight[:, :, 0, 0].double()
    post.bias.add_((post_weight @ mean).float())
    post.weight[:, :, 0, 0] = (post_weight @ back).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--painted", type=Path, required=True, help="folder made by training.scenes")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of real paintings with CREDITS.md")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished autoencoder")
    parser.add_argument("--start", type=Path, help="finished autoencoder; only its decoder is sharpened further")
    parser.add_argument("--steps", type=int, default=12_000, help="steps of the reconstruction stage")
    parser.add_argument("--sharp-steps", type=int, default=6_000, help="steps of the decoder by itself")
    parser.add_argument("--perceptual-steps", type=int, default=3_000, help="steps of the perceptual loss's network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="faster on processors with AVX512-BF16 or AMX")
    arguments = parser.parse_args()

    pictures = load_pictures(arguments.painted, arguments.paintings)
    real, _, _ = real_views(pictures, REAL_VIEWS_EACH * len(pictures.real), 160, arguments.seed)
    common = (pictures, real, arguments.work)
    if arguments.start:
        model = AutoencoderKL.from_pretrained(arguments.start)
    else:
        model = train_reconstruction(*common, arguments.steps, arguments.seed, arguments.bf16)
        whiten(model, to_signed(pictures.training_painted()[:1000]))
    seed, bf16 = arguments.seed, arguments.bf16
    perceptual = train_perceptual(pictures, arguments.work / "perceptual.pt", arguments.perceptual_steps, seed, bf16)
    model = train_sharp(model, perceptual, *common, arguments.sharp_steps, seed, bf16)
    model.register_to_config(_name_or_path="")  # else the folder of this machine is written down
    model.half().save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
