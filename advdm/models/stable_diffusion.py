"""Stable Diffusion 1.x and 2.x: one text encoder, whose last hidden states are all that the denoiser is told."""

from collections.abc import Sequence
from typing import Any, ClassVar

from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

from advdm.models.condition import Condition, Vectors
from advdm.models.latent_diffusion import LatentDiffusion


class StableDiffusion(LatentDiffusion):
    encoders = (("tokenizer", "text_encoder"),)
    painter = StableDiffusionPipeline
    repainter = StableDiffusionImg2ImgPipeline
    options: ClassVar = {"requires_safety_checker": False}

    def _condition_of(self, outputs: Sequence[Any]) -> Condition:
        (output,) = outputs
        return Condition(output.last_hidden_state)

    def _denoise(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        prediction: Tensor = self.unet(noisy, timesteps, condition.tokens).sample
        return prediction

    def _prompts(self, condition: Condition) -> dict[str, Tensor]:
        empty = self.embed("").expand(len(condition))
        return {"prompt_embeds": condition.tokens, "negative_prompt_embeds": empty.tokens}

    def word_tensors(self, vectors: Vectors, token: str) -> dict[str, Tensor]:
        (only,) = vectors
        return {token: only}
