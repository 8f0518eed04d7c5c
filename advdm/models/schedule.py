"""The schedule of noise that a model was trained with, and how it paints by it.

    z_t = alpha_t z + sigma_t noise,   t = 0 ... T - 1

Only this is taken from the sampler that a pipeline comes with. Some samplers scale noise in their own way, as Euler's,
and many need more steps.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

TRAINING = (
    *("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas"),
    *("prediction_type", "rescale_betas_zero_snr"),
)
"""The fields of a sampler's configuration that describe the noise of the training."""


def training_noise(config: Mapping[str, Any]) -> Any:
    """How noise was added in training."""
    return DDPMScheduler.from_config(config)


def sampler(config: Mapping[str, Any], evenly: bool = False) -> Any:
    """DPM-Solver++ (Lu et al. 2022) at the noise levels of Karras et al. 2022: small steps where little noise is left.

    A LoRA on atelier imitates nearer in 12 such steps than in 25 of DDIM (docs/lab-notes.md).

    evenly: timesteps at equal distances instead. Image to image needs that, because it starts part of the way down; so
    do schedules that end in pure noise (zero SNR), where nearly all of Karras' levels would be noise.
    """
    told = {name: config[name] for name in TRAINING if name in config}
    karras = not evenly and not told.get("rescale_betas_zero_snr")
    return DPMSolverMultistepScheduler(**told, use_karras_sigmas=karras, steps_offset=1)  # which pipelines want
