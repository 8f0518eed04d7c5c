"""AdvDM: protect a painting from diffusion-model mimicry (Liang et al., ICML 2023)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advdm.errors import AdvDMError, ModelError, PaintingError, SettingsError
    from advdm.metrics import Comparison, compare
    from advdm.models import LatentDiffusion, load_model
    from advdm.paintings import Painting, read_painting
    from advdm.protection import Protected, Settings, Step, protect, protection_steps

_HOMES = {
    "errors": ("AdvDMError", "ModelError", "PaintingError", "SettingsError"),
    "metrics": ("Comparison", "compare"),
    "models": ("LatentDiffusion", "load_model"),
    "paintings": ("Painting", "read_painting"),
    "protection": ("Protected", "Settings", "Step", "protect", "protection_steps"),
}
__all__ = [  # noqa: RUF022  in the order of the modules
    *_HOMES["errors"],
    *_HOMES["metrics"],
    *_HOMES["models"],
    *_HOMES["paintings"],
    *_HOMES["protection"],
]


def __getattr__(name: str) -> object:
    """Public names are imported when first used: `python -m advdm --help` must not wait for torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"advdm.{module}"), name)
    raise AttributeError(f"module 'advdm' has no attribute '{name}'")
