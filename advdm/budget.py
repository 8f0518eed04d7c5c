"""How far each pixel may move: where the eye forgives, the perturbation may be larger at the same visibility.

By the model of vision in `visibility`, a change of b levels at pixel x, in every octave k and direction c of colour, is
seen as (b^P V(x))^2, with

    V^2 = sum over k, c of ((levels * S_kc)^P / (1 + M_kc))^2,

S the eye's sensitivity there, to a step of one level as contrast, and M the painting's own contrast, which masks the
change. The largest sum of b over the picture for a given sum of what is seen (Lagrange) has equal (b^(2P-1) V^2)
everywhere:

    budget(x) = V(x)^(-2 STEEPER / (2P - 1)), smoothed, and 1 where the painting forgives most.

The derivation gives STEEPER = 1. But then a plain sky is covered with blobs, which the model of vision forgives and
people do not; so the exponent is doubled.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.filters import gaussian
from torch import Tensor

from advdm.errors import SettingsError
from advdm.paintings import Levels, is_grey
from advdm.visibility import OPPONENT, WHITE, P, bands, masking

Share = npt.NDArray[np.float32]

LONGEST = 1024
"""Larger paintings are halved until the long side is at most this: an attack's pattern grows with the painting."""
SMOOTH = 1 / 120
"""Standard deviation of the smoothing, as a share of the long side."""
FULL = 80
"""This percentile of the shares becomes 1, so that no small spot sets the scale."""
LEAST = 0.02
"""The least share: a level from epsilon 26 on, and none below."""
STEEPER = 2
"""Factor on the exponent that the derivation gives. At equal JOD 2 protects as well as 1 and leaves skies nearly clean;
3 protects less (docs/lab-notes.md)."""

COLOUR = torch.tensor([[0.4, 0.6, 0.0], [0.4, -0.18, -0.06], [0.4, 0.0, 0.6]])
"""Columns: one step in lightness, red-green and blue-yellow, as red, green, blue. The eye notices colour less than
lightness, and it hinders an imitator as much. With less lightness than 0.4 JOD rises further, but the eye and S-CIELAB
disagree: at 0.2 there are magenta and green clouds everywhere. No row sums to more than one in size, so epsilon holds.
"""


def budget(levels: Levels) -> Share:
    """The share of epsilon that each pixel of (H, W, 3) uint8 levels may use: (H, W) float32 in [LEAST, 1]."""
    height, width = levels.shape[:2]
    halvings = max(0, int(np.ceil(np.log2(max(height, width) / LONGEST))))
    picture = np.asarray(Image.fromarray(levels).reduce(2**halvings), np.float32)
    pixels = torch.from_numpy(picture / 255).permute(2, 0, 1)[None]
    exponent = -STEEPER / (2 * P - 1)
    axes = torch.ones(3, 1) if is_grey(levels) else COLOUR
    share = gaussian(_seen(pixels, halvings, axes).log().mul(exponent).numpy(), SMOOTH * max(picture.shape))
    share = np.exp(share - np.percentile(share, FULL)).clip(LEAST, 1)
    full = F.interpolate(torch.from_numpy(share)[None, None], size=(height, width), mode="bilinear")
    shares: Share = full[0, 0].numpy()
    return shares


def masked(share: Share, mask: Levels) -> Share:
    """The share (H, W) times the mask (H, W) uint8: all where it is white, none where black. Raises SettingsError."""
    if mask.shape != share.shape:
        height, width = share.shape
        raise SettingsError(f"The mask must be as large as the painting, {width} x {height} pixels.")
    if mask.dtype != np.uint8:
        raise SettingsError(f"The mask must hold levels from 0 to 255 (uint8), not {mask.dtype}.")
    return share * mask.astype(np.float32) / np.float32(255)


def whole_levels(share: Share, epsilon: int) -> Share:
    """The share at which each pixel's limit is a whole number of levels."""
    return (np.rint(share * epsilon) / epsilon).astype(np.float32)


def _seen(pixels: Tensor, halvings: int, axes: Tensor) -> Tensor:
    """V^2 (h, w) of (1, 3, h, w) pixels in [0, 1], halved so often before, for one level along each of the axes."""
    step = (OPPONENT @ axes).abs().sum(1).view(3, 1, 1)
    total = torch.zeros(pixels.shape[-2:])
    for band in bands(pixels, halvings):
        linear = (band.light / (OPPONENT[0].sum() * WHITE)).clamp(max=1)
        slope = 2.4 / 1.055 * linear ** (1 - 1 / 2.4) * WHITE / 255  # of sRGB's curve, in cd/m^2 a level
        one = (step * slope / band.light * band.sensitivity) ** P / (1 + masking(band.response.abs()))
        seen = one.square().sum(1, keepdim=True)
        total += F.interpolate(seen, size=total.shape, mode="bilinear")[0, 0]
    return total
