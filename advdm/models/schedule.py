"""The schedule of noise that a model was trained with, and how it paints by it.

    z_t = alpha_t z + sigma_t noise,   t = 0 ... T - 1

It is all that counts of the sampler that a pipeline comes with: some scale noise in a way of their own, as Euler's, and
many need more steps.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

TRAINING = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr"),
)
"""What a sampler's configuration says of it."""


def training_noise(config: Mapping[str, Any]) -> Any:
    """How noise was added in training."""
    return DDPMScheduler.from_config(config)


def sampler(config: Mapping[str, Any], evenly: bool = False) -> Any:
    """DPM-Solver++ (Lu et al. 2022) at the noise levels of Karras et al. 2022, which lie close where there is little.

    By it a LoRA on atelier paints nearer in 12 steps than by DDIM in 25 (docs/lab-notes.md). Evenly, each step is as
    many timesteps: as image to image wants it, which begins in their midst, and as a schedule that ends in nothing but
    noise needs it, most of whose levels are too noisy to show anything.
    """
    told = {name: config[name] for name in TRAINING if name in config}
    even = evenly or told.get("rescale_betas_zero_snr")
    spacing = {"timestep_spacing": "trailing"} if even else {"use_karras_sigmas": True}
    return DPMSolverMultistepScheduler(**told, **spacing, steps_offset=1)  # without the offset pipelines warn
