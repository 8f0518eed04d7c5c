"""SDXL (Podell et al. 2023): two text encoders, a pooled embedding, and the picture's size as a condition.

tokens = [h1, h2], the last but one hidden states of both encoders    (N, T, 768 + 1280)
pooled = the second one's projected output                            (N, 1280)
time ids = height, width, 0, 0, height, width: the picture's own size, uncropped
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from torch import Tensor

from advdm.models.condition import Condition, Vectors
from advdm.models.latent_diffusion import LatentDiffusion


class SDXL(LatentDiffusion):
    encoders = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
    added = "text_time"
    painter = StableDiffusionXLPipeline
    repainter = StableDiffusionXLImg2ImgPipeline
    options: ClassVar = {"add_watermarker": False}

    def __init__(self, pipeline: Any, name: str, device: str = "cpu") -> None:
        # Its autoencoder overflows in float16; bfloat16 has the range of float32.
        if pipeline.vae.config.force_upcast and pipeline.vae.dtype == torch.float16:
            pipeline.vae.float()
        super().__init__(pipeline, name, device)

    def _condition_of(self, outputs: Sequence[Any]) -> Condition:
        tokens = torch.cat([output.hidden_states[-2] for output in outputs], -1)
        return Condition(tokens, outputs[-1].text_embeds)

    def _denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        height, width = (self.factor * side for side in noisy.shape[-2:])
        ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=noisy.dtype, device=noisy.device)
        added = {"text_embeds": condition.pooled, "time_ids": ids.expand(len(noisy), -1)}
        prediction: Tensor = self.unet(noisy, timesteps, condition.tokens, added_cond_kwargs=added).sample
        return prediction

    def _prompts(self, condition: Condition) -> dict[str, Tensor]:
        empty = self.embed("").expand(len(condition)).to(condition.tokens.dtype)
        assert condition.pooled is not None and empty.pooled is not None
        scale = 0 if self.pipeline.config.force_zeros_for_empty_prompt else 1
        return {
            "prompt_embeds": condition.tokens,
            "pooled_prompt_embeds": condition.pooled,
            "negative_prompt_embeds": scale * empty.tokens,
            "negative_pooled_prompt_embeds": scale * empty.pooled,
        }

    def _start(self, pixels: Tensor, generators: list[torch.Generator]) -> Tensor:
        # As latents: the pipeline would encode in a precision of its own, and leave the autoencoder in it.
        posterior = self.encode(pixels)
        shape = posterior.mean[:1].shape
        noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
        return posterior.sample(noise.to(self.device)).to(self.dtype)

    def word_tensors(self, vectors: Vectors, token: str) -> dict[str, Tensor]:
        return dict(zip(("clip_l", "clip_g"), vectors, strict=True))  # as SDXL's tools call its encoders
