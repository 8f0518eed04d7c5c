"""The models that attack and imitators work with, one class a family, and how they are loaded."""

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

# What these two announce while they load (torchvision missing, hub out of reach, progress bars) is noise to a
# painter: what matters comes back as one ModelError.
for library in (diffusers_logging, transformers_logging):
    library.set_verbosity(library.CRITICAL)
    library.disable_progress_bar()

# Only now, because they announce on import.
from advdm.models.condition import Condition, Posterior, Vectors  # noqa: E402
from advdm.models.latent_diffusion import LatentDiffusion  # noqa: E402
from advdm.models.loading import ATELIER, MOVED, SHORT_NAMES, load_model, state  # noqa: E402
from advdm.models.machine import choose_device  # noqa: E402
from advdm.models.sdxl import SDXL  # noqa: E402
from advdm.models.stable_diffusion import StableDiffusion  # noqa: E402

__all__ = [
    "ATELIER",
    "MOVED",
    "SDXL",
    "SHORT_NAMES",
    "Condition",
    "LatentDiffusion",
    "Posterior",
    "StableDiffusion",
    "Vectors",
    "choose_device",
    "load_model",
    "state",
]
