"""AdvDM: protect a painting from diffusion-model mimicry (Liang et al., ICML 2023)."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advdm.errors import AdvDMError, ModelError, PaintingError, SettingsError
    from advdm.metrics import Comparison, compare
    from advdm.models.latent_diffusion import LatentDiffusion, load_model
    from advdm.paintings import Painting, read_painting
    from advdm.protection import Protected, Settings, Step, protect, protection_steps

__all__ = [
    "AdvDMError",
    "Comparison",
    "LatentDiffusion",
    "ModelError",
    "Painting",
    "PaintingError",
    "Protected",
    "Settings",
    "SettingsError",
    "Step",
    "compare",
    "load_model",
    "protect",
    "protection_steps",
    "read_painting",
]
if os.path.exists("/sys/kernel/mm/transparent_hugepage"):
    # Large tensors in huge pages: a tenth of a large model's time (benchmarks/README.md). torch reads it but once, at
    # its first tensor.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_MODULES = ("errors", "paintings", "metrics", "protection", "models")


def __getattr__(name: str) -> object:
    """Public names are imported when first used: `python -m advdm --help` must not wait for torch."""
    if name in __all__:
        for module in _MODULES:
            home = import_module(f"advdm.{module}")
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module 'advdm' has no attribute '{name}'")
