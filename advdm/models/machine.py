"""Where a model runs, in which precision, and how much of it at once."""

from collections.abc import Iterable
from typing import Any

import psutil
import torch

from advdm import environment
from advdm.errors import ModelError

AT_ONCE, AT_ONCE_ON_CPU = 5_242_880, 655_360
"""Numbers in the denoiser's first feature maps that go through it together: on a card 4 samples of Stable Diffusion at
512 px or 1 of SDXL at 1024 px, on a CPU 40 of atelier but only 1 of Stable Diffusion at 512 px: a large picture keeps a
CPU busy by itself, and a CPU that runs out of memory kills the process."""
UNET_SAVES, VAE_SAVES = 512, 24
"""Numbers that a gradient through denoiser and encoder keeps for each number of their first feature maps: SDXL's, and
an upper bound of Stable Diffusion's 296 (counted by benchmarks/memory.py)."""
SHARE = 0.85
"""Of the device's memory; the rest is the driver's and for what lives shortly."""


def choose_device(device: str | None = None) -> str:
    """ "cuda" where there is one, else "cpu"; an explicit choice is checked. Raises ModelError."""
    device = device or environment.device_name()
    there = ["cuda"] * torch.cuda.is_available() + ["cpu"]
    if device == "auto":
        return there[0]
    if device not in there:
        raise ModelError(
            f"The device '{device}' is not available here (--device or ADVDM_DEVICE); there is: {', '.join(there)}."
        )
    return device


def half_precision() -> torch.dtype:
    """bfloat16, whose range is that of float32, where the card computes in it and does not only imitate it."""
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def out_of_memory(error: Exception) -> bool:
    """Whether the error means too little memory. On a CPU torch raises a plain RuntimeError for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def device_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def fit_memory(unet: Any, vae: Any, modules: Iterable[Any], size: int, device: torch.device) -> int:
    """How many samples of size x size pixels go through the denoiser together.

    Where the device has no room for the gradient of one, activations are computed twice instead of kept.
    """
    side = size // 2 ** (len(vae.config.block_out_channels) - 1)
    maps = unet.config.block_out_channels[0] * side**2
    encoding = VAE_SAVES * vae.config.block_out_channels[0] * size**2 * vae.dtype.itemsize
    weights = sum(weight.nbytes for module in modules for weight in module.parameters())
    room = SHARE * device_memory(device) - weights - encoding
    sample = UNET_SAVES * maps * unet.dtype.itemsize
    if sample > room:
        for module in (unet, vae):
            if module._supports_gradient_checkpointing:  # an AsymmetricAutoencoderKL does not
                module.enable_gradient_checkpointing()
    most = AT_ONCE if device.type == "cuda" else AT_ONCE_ON_CPU
    return int(max(1, min(most // maps, room // sample)))
