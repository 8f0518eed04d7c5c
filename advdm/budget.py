"""How much of epsilon each pixel may use."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from advdm.paintings import Levels

FLOOR, FULL = 0.25, 0.08


def budget(levels: Levels) -> NDArray[np.float32]:
    """Share of epsilon by local contrast: (H, W, 3) uint8 to (H, W) float32 in (0, 1]."""
    lum = levels.astype(np.float32) @ np.float32([0.2126, 0.7152, 0.0722]) / 255
    scale = max(levels.shape[:2]) / 120
    mean = gaussian_filter(lum, scale)
    contrast = np.sqrt(np.maximum(gaussian_filter(lum * lum, scale) - mean * mean, 0))
    share: NDArray[np.float32] = (FLOOR + (1 - FLOOR) * np.clip(contrast / FULL, 0, 1)).astype(np.float32)
    return share
