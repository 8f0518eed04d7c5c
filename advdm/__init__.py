"""AdvDM: protect a painting from diffusion-model mimicry (Liang et al., ICML 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advdm.errors import AdvDMError, ModelError, PaintingError, SettingsError
    from advdm.metrics import Comparison, compare
    from advdm.models import LatentDiffusion, load_model
    from advdm.paintings import Painting, read_painting
    from advdm.protection import Protected, Step, protect, protection_steps
    from advdm.settings import Settings

_HOMES = {
    "AdvDMError": "errors",
    "Comparison": "metrics",
    "LatentDiffusion": "models",
    "ModelError": "errors",
    "Painting": "paintings",
    "PaintingError": "errors",
    "Protected": "protection",
    "Settings": "settings",
    "SettingsError": "errors",
    "Step": "protection",
    "compare": "metrics",
    "load_model": "models",
    "protect": "protection",
    "protection_steps": "protection",
    "read_painting": "paintings",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Public names are imported when first used: `python -m advdm --help` must not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(f"advdm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'advdm' has no attribute '{name}'")
