"""Train atelier's denoiser and text encoder on cached latents, and write the whole pipeline.

    python -m training.denoiser --painted DIR --paintings DIR --work DIR --out advdm/atelier

The autoencoder must already stand in OUT/vae. The loss is the noise error of DDPM (epsilon prediction) with
min-SNR weights (Hang et al. 2023, gamma 20); a tenth of the captions is empty, for classifier-free guidance.

Every real painting has a word of its own, which is learned with the rest and left out of the finished model. So the
denoiser learns that a word may mean a surface and colours that no other word names, which is what textual inversion
asks of it; Stable Diffusion learned that from the names of painters.
"""

import argparse
import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import compute_snr
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from advdm.files import atomic_path
from training.autoencoder import POSTERIOR_STD
from training.captions import all_words, palette_reader, real_caption, scene_caption, style_word
from training.loop import Average, cosine, set_learning_rate, step_generators, training_steps
from training.pictures import Pictures, load_pictures, real_views, to_signed

SIZE = 128
WIDTH = 128
"""Width of the text encoder, and so of the cross-attention."""
LENGTH = 32
"""Tokens of a prompt, padding included."""
EMPTY_SHARE = 0.1
REAL_VIEWS_EACH = 60
REAL_SHARE = 0.4
"""Of each batch. Painted pictures teach the words, real ones the surfaces."""
HARD_MANNERS = ("flat colours", "swirling strokes")
"""Drawn three times as often as the others, because they are learned slowest."""
GAMMA = 20.0


def new_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer with merges learned so that each of `words` is one token; others fall into letters."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    alphabet = list("abcdefghijklmnopqrstuvwxyz0123456789,.'-*")
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        initial_alphabet=alphabet,
        # Else each run would number them in an order of its own, and break the ties between merges by that.
        special_tokens=[f"{letter}</w>" for letter in alphabet],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    # The extra single letters give every letter its word-final form.
    bpe.train_from_iterator([*words, *alphabet], trainer)
    learned = bpe.get_vocab()
    ordered = sorted(learned, key=learned.__getitem__)
    vocabulary = {token: i for i, token in enumerate([*ordered, "<|startoftext|>", "<|endoftext|>"])}
    merges = [tuple(merge) for merge in json.loads(bpe.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(64, 128, 192),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def new_pipeline(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


class Conditioned(nn.Module):
    """The denoiser and its text encoder, trained as one."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, levels: np.ndarray) -> Tensor:
    """Posterior means of (N, S, S, 3) uint8 levels, scaled: (N, C, S/8, S/8) float16."""
    pieces = [
        autoencoder.encode(to_signed(np.asarray(levels[i : i + 16]))).latent_dist.mean
        for i in range(0, len(levels), 16)
    ]
    return (torch.cat(pieces) * autoencoder.config.scaling_factor).half()


@dataclass(frozen=True, eq=False)
class Captioned:
    """Latents (N, C, H, W) float16, a function that writes a caption for one of them, anew each time, and how often
    each is drawn: shares (N,) that sum to 1."""

    latents: Tensor
    caption: Callable[[int, np.random.Generator], str]
    shares: np.ndarray

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        numbers = rng.choice(len(self.latents), size=count, p=self.shares)
        captions = ["" if rng.random() < EMPTY_SHARE else self.caption(int(i), rng) for i in numbers]
        return self.latents[numbers].float(), captions


def captioned_scenes(pictures: Pictures, autoencoder: AutoencoderKL, cache: Path) -> Captioned:
    latents = cached_latents(cache, autoencoder, pictures.training_painted())
    weights = np.array([3 if scene.manner in HARD_MANNERS else 1 for scene in pictures.scenes[: len(latents)]])
    return Captioned(latents, lambda i, rng: scene_caption(pictures.scenes[i], rng), weights / weights.sum())


def captioned_views(pictures: Pictures, autoencoder: AutoencoderKL, cache: Path, seed: int) -> Captioned:
    views, numbers, shares = real_views(pictures, REAL_VIEWS_EACH * len(pictures.real), SIZE, seed)
    painted = pictures.painted[:2000]
    palette_of = palette_reader(painted, [scene.palette for scene in pictures.scenes[: len(painted)]])
    palettes = [palette_of(view) for view in views]
    latents = cached_latents(cache, autoencoder, views)

    def caption(i: int, rng: np.random.Generator) -> str:
        painting = numbers[i]
        return real_caption(pictures.real_titles[painting], shares[i], palettes[i], style_word(painting), rng)

    return Captioned(latents, caption, np.full(len(latents), 1 / len(latents)))


def cached_latents(path: Path, autoencoder: AutoencoderKL, levels: np.ndarray) -> Tensor:
    """What `encode` makes of the levels, from the file `path`; made and written there first if need be."""
    source = fingerprint(autoencoder, levels)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save({"source": source, "latents": encode(autoencoder, levels)}, temporary)
    stored = torch.load(path, weights_only=True)
    if stored["source"] != source:
        raise SystemExit(f"{path} comes from another encoder or other pictures: choose another folder for --work.")
    latents: Tensor = stored["latents"]
    return latents


def fingerprint(autoencoder: AutoencoderKL, levels: np.ndarray) -> str:
    """Of the encoder's weights, and of 64 of the pictures."""
    digest = hashlib.sha256(np.ascontiguousarray(levels[:: max(1, len(levels) // 64)]))
    for part in (autoencoder.encoder, autoencoder.quant_conv):
        for weight in part.state_dict().values():
            digest.update(weight.float().numpy())
    return digest.hexdigest()


def starting_tokenizer(folder: Path | None) -> CLIPTokenizer:
    """A new one, or that of a finished pipeline in `folder`, which must know every word of the captions."""
    if folder is None:
        return new_tokenizer(all_words())
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    if unknown := sorted({word for word in all_words() if len(tokenizer.tokenize(word)) > 1}):
        raise SystemExit(f"{folder} does not know the words {', '.join(unknown)}: start from nothing instead.")
    return tokenizer


def starting_point(folder: Path | None, channels: int, tokenizer: CLIPTokenizer) -> Conditioned:
    """Random weights, or those of a finished pipeline in `folder`."""
    if folder is None:
        model = Conditioned(new_unet(channels), new_text_encoder(tokenizer))
    else:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        model = Conditioned(unet, CLIPTextModel.from_pretrained(folder / "text_encoder"))
    # Products and a softmax: on so few places a fifth of a whole step faster than the fused kernel.
    model.unet.set_attn_processor(AttnProcessor())
    return model.train()


def train(
    painted: Captioned, real: Captioned, tokenizer: CLIPTokenizer, styles: Sequence[str], options: argparse.Namespace
) -> Conditioned:
    """Minimise the min-SNR-weighted noise error; returns the averaged weights.

    Captions may also hold the words `styles`, which `tokenizer` does not know; they are forgotten in the end.
    """
    torch.manual_seed(options.seed)
    model = starting_point(options.start, painted.latents.shape[1], tokenizer)
    known, tokenizer = len(tokenizer), copy.deepcopy(tokenizer)
    tokenizer.add_tokens([token for style in styles for token in style.split()])
    model.text_encoder.resize_token_embeddings(len(tokenizer))
    average = Average(model, decay=0.999)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=0.01, fused=True)
    scheduler = new_scheduler()
    from_real = round(REAL_SHARE * options.batch)
    recent: list[float] = []

    def report(_: int) -> str:
        return f"weighted noise error {np.mean(recent[-500:]):.4f}"

    parts = {"model": model, "average": average.module, "optimizer": optimizer}
    for step in training_steps(options.work / "denoiser.pt", parts, options.steps, report):
        rng, generator = step_generators(options.seed, step)
        painted_latents, painted_captions = painted.draw(options.batch - from_real, rng)
        real_latents, real_captions = real.draw(from_real, rng)
        clean, prompts = torch.cat([painted_latents, real_latents]), painted_captions + real_captions
        clean = clean + POSTERIOR_STD * torch.randn(clean.shape, generator=generator)
        tokens = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = torch.randint(len(scheduler.betas), (len(clean),), generator=generator)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            predicted = model(noisy, timesteps, tokens).float()
        snr = compute_snr(scheduler, timesteps)
        errors = (predicted - noise).square().mean((1, 2, 3))
        loss = (errors * snr.clamp(max=GAMMA) / snr).mean()
        set_learning_rate(optimizer, cosine(step, options.steps, options.learning_rate, 2e-5))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model, step)
        recent.append(loss.item())
    average.module.text_encoder.resize_token_embeddings(known)
    return average.module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--painted", type=Path, required=True, help="folder made by training.scenes")
    parser.add_argument("--paintings", type=Path, required=True, help="folder of real paintings with CREDITS.md")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and cached latents")
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder; OUT/vae must be there")
    parser.add_argument("--start", type=Path, help="finished pipeline to go on from, with a fresh optimiser")
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="faster on processors with AVX512-BF16 or AMX")
    options = parser.parse_args()

    pictures = load_pictures(options.painted, options.paintings)
    autoencoder = AutoencoderKL.from_pretrained(options.out / "vae").requires_grad_(False).eval()
    painted = captioned_scenes(pictures, autoencoder, options.work / "painted_latents.pt")
    real = captioned_views(pictures, autoencoder, options.work / "real_latents.pt", options.seed)
    tokenizer = starting_tokenizer(options.start)
    styles = [style_word(i) for i in range(len(pictures.real))]
    model = train(painted, real, tokenizer, styles, options)
    for part in (autoencoder, model.unet):
        part.register_to_config(_name_or_path="")  # else the folder of this machine is written down
    pipeline = new_pipeline(autoencoder, tokenizer, model.text_encoder, model.unet)
    # Half the size on disk; not the text encoder, which transformers would load in the type it was saved in.
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(options.out, max_shard_size="9MB")


if __name__ == "__main__":
    main()
