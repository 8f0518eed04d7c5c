"""AdvDM: protect a painting from diffusion-model mimicry (Liang et al., ICML 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advdm.errors import AdvDMError, ModelError, PaintingError, SettingsError
    from advdm.metrics import Comparison, compare
    from advdm.models import LatentDiffusion, load_model
    from advdm.paintings import Painting, read_painting
    from advdm.protection import Step, protect, protection_steps
    from advdm.settings import Settings

_HOMES = {
    "errors": ("AdvDMError", "ModelError", "PaintingError", "SettingsError"),
    "metrics": ("Comparison", "compare"),
    "models": ("LatentDiffusion", "load_model"),
    "paintings": ("Painting", "read_painting"),
    "protection": ("Step", "protect", "protection_steps"),
    "settings": ("Settings",),
}
__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str) -> object:
    """Public names are imported when first used: `python -m advdm --help` must not wait for torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"advdm.{home}"), name)
    raise AttributeError(f"module 'advdm' has no attribute '{name}'")
