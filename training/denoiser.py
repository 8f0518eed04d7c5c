"""Atelier's denoiser and text encoder, trained as one on latents that lie on the device.

With white latents z0 of a picture, its caption c, z = z0 + 0.02 u, u and e ~ N(0, I) and a timestep t,

    loss = min(gamma / snr(t), 1) |eps(sqrt(a(t)) z + sqrt(1 - a(t)) e, t, c) - e|^2,  snr = a / (1 - a)

(min-SNR weights, Hang et al. 2023, for epsilon prediction). A tenth of the captions is empty, for classifier-free
guidance. Every real painting has a word of its own, learned with the rest and left out of the finished model: so the
denoiser learns that a word may mean a surface and colours that no other word names, as textual inversion asks of it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from advdm.files import atomic_path
from training.autoencoder import POSTERIOR_STD, encode_mean, to_signed
from training.captions import palette_reader, real_caption, scene_caption, style_word
from training.loop import Average, Run, Stage, Step, descend, put
from training.pictures import VIEWS_EACH, Pictures
from training.pipeline import new_scheduler, new_text_encoder, new_unet

EMPTY_SHARE = 0.1
REAL_SHARE = 0.4
"""Of each batch. Painted pictures teach the words, real ones the surfaces."""
HARD_MANNERS = ("flat colours", "swirling strokes")
"""Drawn three times as often as the others, because they are learned slowest."""
GAMMA = 20.0
CAPTIONS_EACH = 8
"""Captions written for each picture, of which a step draws one."""
LEARNING_RATE = 8e-4


class Conditioned(nn.Module):
    """The denoiser and its text encoder."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


@dataclass(frozen=True, eq=False)
class Captioned:
    """Latents (N, C, h, w) float16 and the tokens (N, CAPTIONS_EACH, length) of their captions, both on the device.

    drawn: numbers of pictures, those more often that are to be drawn more often.
    """

    latents: Tensor
    tokens: Tensor
    drawn: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Latents (count, C, h, w) float32 and tokens (count, length)."""
        numbers = self.drawn[rng.integers(len(self.drawn), size=count)]
        captions = rng.integers(self.tokens.shape[1], size=count)
        picture, caption = put(np.stack([numbers, captions]), self.latents.device)
        return self.latents[picture].float(), self.tokens[picture, caption]


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, levels: np.ndarray, device: torch.device) -> Tensor:
    """Posterior means (N, C, S/8, S/8) float16 of (N, S, S, 3) uint8 levels."""
    batches = (torch.from_numpy(levels[i : i + 64]).to(device) for i in range(0, len(levels), 64))
    return torch.cat([encode_mean(autoencoder, to_signed(batch)).half() for batch in batches])


def encode_captions(captions: Callable[[int, Random], str], count: int, tokenizer: CLIPTokenizer, seed: int) -> Tensor:
    """Tokens (count, CAPTIONS_EACH, length) of what `captions` writes for the pictures 0 to count."""
    rng, tokens = Random(seed), []
    for first in range(0, count, 1000):
        numbers = [i for i in range(first, min(first + 1000, count)) for _ in range(CAPTIONS_EACH)]
        written = ["" if rng.random() < EMPTY_SHARE else captions(i, rng) for i in numbers]
        tokens.append(tokenizer(written, padding="max_length", truncation=True, return_tensors="pt").input_ids)
    return torch.cat(tokens).unflatten(0, (count, CAPTIONS_EACH))


def styled(tokenizer: CLIPTokenizer, paintings: int) -> CLIPTokenizer:
    """A copy that also knows the word of every real painting."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens([token for i in range(paintings) for token in style_word(i).split()])
    return tokenizer


def captioned(
    run: Run, pictures: Pictures, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer
) -> tuple[Captioned, Captioned]:
    """Painted pictures and views of real paintings; what is encoded once is kept in WORK/latents.pt."""
    stage, file = Stage(run, "latents"), run.work / "latents.pt"
    if not file.exists():
        sample = pictures.painted[:2000]
        palette_of = palette_reader(sample, [scene.palette for scene in pictures.scenes[: len(sample)]])
        palettes = [palette_of(view) for view in pictures.views]

        def of_scene(i: int, rng: Random) -> str:
            return scene_caption(pictures.scenes[i], rng)

        def of_view(i: int, rng: Random) -> str:
            painting = i // VIEWS_EACH
            style = style_word(painting)
            return real_caption(pictures.titles[painting], pictures.shares[i], palettes[i], style, rng)

        tokenizer = styled(tokenizer, len(pictures.titles))
        encoded = {
            name: (
                encode(autoencoder, levels, run.device).cpu(),
                encode_captions(captions, len(levels), tokenizer, run.seed),
            )
            for name, levels, captions in (("painted", pictures.painted, of_scene), ("real", pictures.views, of_view))
        }
        with atomic_path(file) as temporary:
            torch.save(encoded, temporary)
        stage.save()
    stored = torch.load(file, map_location=run.device, weights_only=True)
    times = [3 if scene.manner in HARD_MANNERS else 1 for scene in pictures.scenes]
    painted = Captioned(*stored["painted"], np.repeat(np.arange(len(pictures.scenes)), times))
    return painted, Captioned(*stored["real"], np.arange(len(pictures.views)))


def noise_error(model: Conditioned, run: Run, clean: Tensor, tokens: Tensor, signal: Tensor, step: Step) -> Tensor:
    """The loss above for latents (N, C, h, w) and tokens (N, length); signal (T,) is a(t)."""
    timesteps = put(torch.randint(len(signal), (len(clean),), generator=step.generator), clean.device)
    clean, noise = clean + POSTERIOR_STD * step.noise(clean), step.noise(clean)
    a = signal[timesteps]
    noisy = a.sqrt()[:, None, None, None] * clean + (1 - a).sqrt()[:, None, None, None] * noise
    with run.autocast():
        predicted = model(noisy, timesteps, tokens).float()
    weights = (GAMMA * (1 - a) / a).clamp(max=1)
    return (weights * (predicted - noise).square().mean((1, 2, 3))).mean()


def train_denoiser(
    run: Run,
    painted: Captioned,
    real: Captioned,
    tokenizer: CLIPTokenizer,
    paintings: int,
    steps: int,
    start: Path | None,
) -> Conditioned:
    """Returns the averaged weights, without the words of the `paintings` real ones. start is a finished pipeline."""
    stage = Stage(run, "denoiser")
    torch.manual_seed(run.seed)
    unet = UNet2DConditionModel.from_pretrained(start / "unet") if start else new_unet()
    text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder") if start else new_text_encoder(tokenizer)
    model = Conditioned(unet, text_encoder)
    model.text_encoder.resize_token_embeddings(len(styled(tokenizer, paintings)))
    model.to(run.device).train()
    if run.device.type == "cpu":  # Products and a softmax: a fifth of a whole step faster than the fused kernel there.
        model.unet.set_attn_processor(AttnProcessor())
    average = Average(model)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    signal, from_real = put(new_scheduler().alphas_cumprod, run.device), round(REAL_SHARE * run.batch)
    for step in stage.steps(steps, {"model": model, "average": average.module, "optimizer": optimizer}):
        drawn = painted.draw(run.batch - from_real, step.rng), real.draw(from_real, step.rng)
        clean, tokens = (torch.cat(part) for part in zip(*drawn, strict=True))
        loss = noise_error(model, run, clean, tokens, signal, step)
        descend(loss, optimizer, step.rate(LEARNING_RATE, 2e-5), clip=1.0)
        average.update(model, step.number)
        stage.note(noise_error=loss)
    average.module.text_encoder.resize_token_embeddings(len(tokenizer))
    return average.module
