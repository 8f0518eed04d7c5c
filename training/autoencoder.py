"""Atelier's autoencoder, f = 8: first the encoder and decoder together, then the latents are made white.

With pictures x, their PCA code p(x) of 8x8 blocks, means m = E(x) and decoded y = D(m + 0.1 e), e ~ N(0, I):

    loss = |y - x| + (y - x)^2 + 0.5 |grad y - grad x| + |mean8(y) - mean8(x)| + w (m - p(x))^2,  w from 1 to 0.02

The regression on p keeps every latent channel alive. Crops grow from 32 to 128 px: small ones teach colour and edges
many times faster.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from training.loop import Average, Run, Stage, Step, descend, put
from training.scenes import SIZE

LATENT_CHANNELS = 12
POSTERIOR_STD = 0.02
"""Exactly that of the exported posterior. The denoiser learns to paint latents with this noise: more shows as grain."""
DECODER_STD = 0.1
"""Of the noise on the latents that the decoder learns from, so that it forgives what a denoiser leaves."""
CROP_SIZES = ((0.35, 32), (0.8, 64), (1.0, 128))
"""(up to this progress, size of the crops)."""
CODE_CROPS = 2000


def new_autoencoder() -> AutoencoderKL:
    """Two groups a norm: groups of two channels would erase absolute colour."""
    return AutoencoderKL(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(16, 48, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        sample_size=SIZE,
    )


def to_signed(levels: Tensor) -> Tensor:
    """(N, H, W, 3) uint8 levels to (N, 3, H, W) float32 in [-1, 1], the range at the door of the autoencoder."""
    return levels.permute(0, 3, 1, 2).float().div(127.5).sub(1).contiguous()


def crops(levels: Tensor, numbers: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """Random square crops, half of them mirrored, of the pictures `numbers` (n,) of (N, S, S, 3) uint8 levels.

    (n, 3, size, size) in [-1, 1], cut on the device of the levels.
    """
    top, left = rng.integers(levels.shape[1] - size + 1, size=(2, len(numbers), 1))
    rows, columns = top + np.arange(size), left + np.arange(size)
    mirrored = rng.random(len(numbers)) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    index = put(np.concatenate([numbers[:, None], rows, columns], axis=1), levels.device)
    return to_signed(levels[index[:, :1, None], index[:, 1 : size + 1, None], index[:, None, size + 1 :]])


def half_real(painted: Tensor, real: Tensor, schedule: tuple[tuple[float, int], ...], step: Step, batch: int) -> Tensor:
    """Half painted and then half real crops; small ones come eight at a time, for small batches learn faster."""
    size = next(size for until, size in schedule if step.progress < until)
    half = max(1, min(batch // 8, batch * 512 // size**2))
    picked = (crops(source, step.rng.integers(len(source), size=half), size, step.rng) for source in (painted, real))
    return torch.cat(list(picked))


def block_code(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Whitened PCA code of the 8x8 blocks of (N, 3, S, S) pictures: filters (C, 3, 8, 8) and offset (C,)."""
    blocks = F.unfold(pictures, 8, stride=8).transpose(1, 2).reshape(-1, 192).double()
    mean = blocks.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(blocks.T))
    basis = (vectors[:, -LATENT_CHANNELS:] / values[-LATENT_CHANNELS:].sqrt()).T
    return basis.float().reshape(-1, 3, 8, 8), -(basis @ mean).float()


def encode_mean(autoencoder: AutoencoderKL, pictures: Tensor) -> Tensor:
    return autoencoder.quant_conv(autoencoder.encoder(pictures))[:, :LATENT_CHANNELS]


def decode_noisy(autoencoder: AutoencoderKL, mean: Tensor, step: Step) -> Tensor:
    return autoencoder.decoder(autoencoder.post_quant_conv(mean + DECODER_STD * step.noise(mean)))


def pixel_error(a: Tensor, b: Tensor) -> Tensor:
    return F.l1_loss(a, b) + F.mse_loss(a, b)


def gradient_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical pixel differences."""
    error = a - b
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def block_mean_error(a: Tensor, b: Tensor) -> Tensor:
    return (F.avg_pool2d(a, 8) - F.avg_pool2d(b, 8)).abs().mean()


def train_reconstruction(run: Run, painted: Tensor, real: Tensor, steps: int) -> AutoencoderKL:
    """Returns the averaged weights; painted (N, 128, 128, 3) and real (M, 160, 160, 3) levels are on the device."""
    stage, rng = Stage(run, "reconstruction"), np.random.default_rng(run.seed)
    sources = [(source, rng.permutation(len(source))[:CODE_CROPS]) for source in (painted, real)]
    code = block_code(torch.cat([crops(source, numbers, 64, rng) for source, numbers in sources]))
    torch.manual_seed(run.seed)
    model = new_autoencoder().to(run.device)
    average = Average(model)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for step in stage.steps(steps, {"model": model, "average": average.module, "optimizer": optimizer}):
        x = half_real(painted, real, CROP_SIZES, step, run.batch)
        with run.autocast():
            mean = encode_mean(model, x).float()
            y = decode_noisy(model, mean, step).float()
        regression, pixels = F.mse_loss(mean, F.conv2d(x, *code, stride=8)), pixel_error(y, x)
        loss = pixels + 0.5 * gradient_error(y, x) + block_mean_error(y, x)
        loss = loss + max(0.02, 1 - step.progress / 0.6) * regression
        descend(loss, optimizer, step.rate(1e-3, 1e-4), clip=1.0)
        average.update(model, step.number)
        stage.note(pixels=pixels, regression=regression)
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
