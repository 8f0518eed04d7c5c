"""A frozen latent diffusion model behind the few operations that attack and imitators need.

x (N, 3, H, W) in [0, 1]  --encode-->  q(z|x), z (N, C, h, w)  --add_noise, unet-->  prediction (N, C, h, w)

noise error = mean (prediction - target)^2,   target = noise, or the velocity where the model predicts that
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from advdm.errors import ModelError, SettingsError
from advdm.files import shown
from advdm.models.condition import Condition, Posterior, Vectors
from advdm.models.cpu import quicken
from advdm.models.machine import fit_memory, out_of_memory
from advdm.models.schedule import sampler, training_noise
from advdm.models.text import encode_prompts, encode_word, word_vectors
from advdm.settings import Sampling
from advdm.views import whole_view

Loss = TypeVar("Loss")


class LatentDiffusion(ABC):
    """One model; each family of models is a subclass.

    Pixels are float32 in [0, 1], shape (N, 3, H, W), H and W multiples of `factor`. Latents are float32 and
    already multiplied by the autoencoder's scaling factor. The weights run in their own `dtype`; every error comes
    back in float32. `size` is the side in pixels that the model was trained at, `at_once` how many samples of that
    size go through the denoiser together.
    """

    encoders: ClassVar[tuple[tuple[str, str], ...]]
    """Names of the pipeline's tokenizers and text encoders."""
    added: ClassVar[str | None] = None
    """What the denoiser adds to the timestep's embedding."""
    painter: ClassVar[Any]
    repainter: ClassVar[Any]
    options: ClassVar[dict[str, Any]]
    """The pipelines that paint from text, and from text and a picture, and what both are built with beside parts."""

    def __init__(self, pipeline: Any, name: str, device: str = "cpu") -> None:
        self.pipeline = pipeline
        self.name = name
        self.device = torch.device(device)
        with self.enough_memory():
            self.pipeline.to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.vae, self.unet = self.pipeline.vae, self.pipeline.unet
        self.dtype: torch.dtype = self.unet.dtype
        for module in self.modules:
            module.requires_grad_(False).eval()
            if self.device.type == "cpu":
                quicken(module)
        self.vae.to(memory_format=torch.channels_last)  # the faster one, see benchmarks/README.md
        self.prediction_type: str = self.pipeline.scheduler.config.prediction_type
        self.noising: Any = training_noise(self.pipeline.scheduler.config)
        self.pipeline.scheduler = sampler(self.pipeline.scheduler.config)
        self.timesteps: int = self.noising.config.num_train_timesteps
        self.factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.size = self._side() * self.factor
        self.at_once = fit_memory(self.unet, self.vae, self.modules, self.size, self.device)

    @property
    def modules(self) -> tuple[Any, ...]:
        """Everything that has weights."""
        return (self.vae, self.unet, *(getattr(self.pipeline, encoder) for _, encoder in self.encoders))

    @property
    def title(self) -> str:
        """The name for people: of a folder or file the last part, for the rest concerns nobody else."""
        path = Path(os.path.expanduser(self.name))
        return shown(path.resolve()) if os.path.exists(path) else self.name

    @property
    def machine(self) -> dict[str, str]:
        """Where and how it runs, for reports."""
        return {"device": self.device.type, "dtype": str(self.dtype).removeprefix("torch.")}

    def _side(self) -> int:
        """Side of the latents that the model was trained on; of a pair, that of the square of as many numbers."""
        told = self.unet.config.sample_size
        scale = 1 if told else self.factor  # where it does not tell, the autoencoder does, in pixels
        sides = np.broadcast_to(told or self.vae.config.sample_size, 2) / scale
        coarsest = 1 if sides[0] == sides[1] else 2 ** (len(self.unet.config.block_out_channels) - 1)
        return int(max(1, round(sides.prod() ** 0.5 / coarsest)) * coarsest)

    def see(self, levels: np.ndarray) -> Tensor:
        """All of 8-bit levels (H, W, 3) in the size that the model looks at: (1, 3, h, w) pixels in [0, 1]."""
        height, width = levels.shape[:2]
        return whole_view(height, width, self.size, self.factor).see(levels, self.device)

    def encode(self, pixels: Tensor) -> Posterior:
        """Posterior of (N, 3, H, W) pixels in [0, 1]; differentiable."""
        posterior = self.vae.encode((2 * pixels - 1).to(self.vae.dtype)).latent_dist
        scale = self.vae.config.scaling_factor
        return Posterior(scale * posterior.mean.float(), scale * posterior.std.float())

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels in [0, 1], (N, 3, H, W), of scaled latents; differentiable."""
        pixels: Tensor = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        pixels = pixels.float().nan_to_num(torch.nan, torch.nan, torch.nan)  # an infinity must not pass for white
        return (pixels / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, pixels: Tensor) -> Tensor:
        """The pixels as the model sees them: encoded (posterior mean) and decoded."""
        return self.finite(lambda: self.decode(self.encode(pixels).mean))

    @torch.no_grad()
    def embed(self, prompts: str | Sequence[str]) -> Condition:
        """What the denoiser is told by each prompt, in the model's dtype."""
        prompts = [prompts] if isinstance(prompts, str) else prompts
        return self._condition_of(
            [encode_prompts(tokenizer, encoder, prompts) for tokenizer, encoder in self._text_encoders()]
        )

    def embed_word(self, prompts: Sequence[str], word: Vectors) -> Condition:
        """The same with the word in the place of each {}; differentiable with respect to it.

        Raises SettingsError where a prompt has no room for its word.
        """
        parts = zip(self._text_encoders(), word, strict=True)
        return self._condition_of(
            [encode_word(tokenizer, encoder, prompts, part) for (tokenizer, encoder), part in parts]
        )

    def word(self, known: str, count: int) -> Vectors:
        """The vectors of a word that every text encoder knows, `count` times. Raises SettingsError."""
        return tuple(word_vectors(tokenizer, encoder, known, count) for tokenizer, encoder in self._text_encoders())

    def _text_encoders(self) -> Iterator[tuple[Any, Any]]:
        """Each tokenizer with its text encoder."""
        return ((getattr(self.pipeline, one), getattr(self.pipeline, other)) for one, other in self.encoders)

    @abstractmethod
    def _condition_of(self, outputs: Sequence[Any]) -> Condition:
        """What the denoiser is told by the outputs of the text encoders."""

    @abstractmethod
    def word_tensors(self, vectors: Vectors, token: str) -> dict[str, Tensor]:
        """The tensors by name of a file that diffusers loads the word from."""

    def predict(self, latents: Tensor, timesteps: Tensor, noise: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """What the denoiser predicts from noised latents, and what it should: two (N, C, h, w) float32 tensors.

        latents and noise (N, C, h, w); timesteps (N,) integers; condition of 1 or N.
        """
        noisy = self.noising.add_noise(latents, noise, timesteps).to(self.dtype)
        target = noise if self.prediction_type == "epsilon" else self.noising.get_velocity(latents, noise, timesteps)
        prediction = self._denoise(noisy, timesteps, condition.expand(len(latents)).to(self.dtype))
        return prediction.float(), target

    @abstractmethod
    def _denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The denoiser's prediction."""

    def noise_error(self, latents: Tensor, timesteps: Tensor, noise: Tensor, condition: Condition) -> Tensor:
        """Mean square error of the prediction, one (N,) number a sample: the training loss of the model."""
        prediction, target = self.predict(latents, timesteps, noise, condition)
        return (prediction - target).square().mean((1, 2, 3))

    def check_sampling(self, steps: int) -> None:
        """Raise SettingsError where the model was trained on fewer timesteps than `steps`."""
        if steps > self.timesteps:
            raise SettingsError(f"The model paints in at most {self.timesteps} sampling steps, not {steps}.")

    @torch.no_grad()
    def generate(self, condition: Condition, seeds: Sequence[int], how: Sampling) -> Tensor:
        """Paint one picture for each condition and seed: (N, 3, size, size) in [0, 1], on the CPU."""
        return self._paint(self.pipeline, condition, seeds, how, {"height": self.size, "width": self.size})

    @torch.no_grad()
    def repaint(
        self, pixels: Tensor, condition: Condition, seeds: Sequence[int], how: Sampling, strength: float
    ) -> Tensor:
        """Image to image (SDEdit, Meng et al. 2022): noise (N, 3, H, W) pixels to `strength` in (0, 1], and denoise."""
        # Not from_pipe, which casts the weights that the two share.
        parts = self.pipeline.components | {"scheduler": sampler(self.pipeline.scheduler.config, evenly=True)}
        pipeline = self.repainter(**parts, **self.options)
        pipeline.set_progress_bar_config(disable=True)
        pixels = pixels.expand(len(seeds), -1, -1, -1)
        return self._paint(pipeline, condition, seeds, how, {"strength": strength}, pixels)

    def _paint(
        self,
        pipeline: Any,
        condition: Condition,
        seeds: Sequence[int],
        how: Sampling,
        options: dict[str, Any],
        pixels: Tensor | None = None,
    ) -> Tensor:
        """The pictures, `at_once` at a time; with a seed of its own none depends on another."""
        options = options | {"num_inference_steps": how.steps, "guidance_scale": how.guidance, "output_type": "latent"}

        def paint(some: slice) -> Tensor:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[some]]  # used up by one try
            start = {} if pixels is None else {"image": self._start(pixels[some], generators)}
            told = self._prompts(condition[some].to(self.dtype))
            latents = pipeline(**told, **start, **options, generator=generators).images
            return self.decode(latents.float())

        parts = [slice(first, first + self.at_once) for first in range(0, len(seeds), self.at_once)]
        return torch.cat([self.finite(partial(paint, some)).cpu() for some in parts])

    @abstractmethod
    def _prompts(self, condition: Condition) -> dict[str, Tensor]:
        """A pipeline's arguments for the condition and for the empty prompt that guidance leads away from."""

    def _start(self, pixels: Tensor, generators: list[torch.Generator]) -> Tensor:
        """What the image-to-image pipeline is given of pixels."""
        return pixels

    def finite(self, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` returns, called once more in float32 if half precision overflows. Raises ModelError."""
        return self.finite_gradient(lambda: (None, compute()))[1]

    def finite_gradient(
        self, compute: Callable[[], tuple[Loss, Tensor]], generator: torch.Generator | None = None
    ) -> tuple[Loss, Tensor]:
        """(loss, gradient) of `compute`, called once more in float32 if half precision overflows.

        generator is what `compute` draws from, for the same draws both times. Raises ModelError where the numbers are
        not finite in float32 either, or where the memory is too small.
        """
        generator = generator or torch.Generator()
        state = generator.get_state()
        with self.enough_memory():
            loss, gradient = compute()
            if not _all_finite(gradient) and self.dtype != torch.float32:
                generator.set_state(state)
                with self.full_precision():
                    loss, gradient = compute()
        if not _all_finite(gradient):
            raise ModelError(
                f"The model '{self.title}' answers with numbers that are not finite; its weights are damaged."
            )
        return loss, gradient

    @contextmanager
    def enough_memory(self) -> Iterator[None]:
        """Raise ModelError, in a sentence, where the block asks for more memory than the device has."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            elsewhere = "" if self.device.type == "cpu" else ", or choose ADVDM_DEVICE=cpu"
            raise ModelError(
                f"The device has too little memory for the model '{self.title}'; close other programs, or use "
                f"fewer or smaller pictures{elsewhere}."
            ) from error

    @contextmanager
    def full_precision(self) -> Iterator[None]:
        """Run in float32 inside the block; afterwards the weights are again what they were, to the bit."""
        before = [(module, module.dtype) for module in self.modules]
        dtype, self.dtype = self.dtype, torch.float32
        try:
            for module, _ in before:
                module.float()
            yield
        finally:
            for module, own in before:
                module.to(own)
            self.dtype = dtype


def _all_finite(numbers: Tensor) -> bool:
    # Not numbers.isfinite(), which goes over the painting six times; a NaN anywhere becomes both extremes.
    return bool(torch.stack(numbers.aminmax()).isfinite().all())
