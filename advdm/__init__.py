"""AdvDM: protect a painting from diffusion-model mimicry (Liang et al., ICML 2023)."""

from advdm.errors import AdvDMError, ModelError, PaintingError, SettingsError
from advdm.metrics import Comparison, compare
from advdm.model import LatentDiffusion, load_model
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
