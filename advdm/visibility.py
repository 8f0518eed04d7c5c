"""How visible a change is at 100 % zoom, on ColorVideoVDP's scale: 10 JOD for no difference, 1 less is seen by 3 in 4.

A small model of vision after ColorVideoVDP (Mantiuk et al. 2024, section 3, for still pictures). The light of the screen
is split into lightness, red-green and blue-yellow (c), and each into octave bands k of a Laplacian pyramid. With R and T
the contrast of the original and of the changed picture to the local mean light, times the eye's sensitivity to it,

    D_kc = |T_kc - R_kc|^P / (1 + M_kc),   M_kc = sum_i W_ic * (FORGIVEN * local mean of min(|T_ki|, |R_ki|))^Q_i,
    JOD = 10 - SCALE * (sum over k, c of mean(D_kc^2)^2)^(POWER / 4).

M is what the eye forgives: a change hides in contrast that the painting itself has there. `budget` uses it too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Levels = npt.NDArray[np.uint8]

WHITE, REFLECTED = 200.0, 0.6
"""Light of the screen's white and of its black, in cd/m^2: a 4K screen in an office, ColorVideoVDP's `standard_4k`."""
OPPONENT = torch.tensor([[0.2332, 0.7288, 0.0890], [0.1276, -0.0871, -0.0368], [-0.2148, -0.6263, 0.8514]])
"""Linear sRGB to lightness, red-green, blue-yellow (Derrington, Krauskopf and Lennie 1984; cones of CIE 2006, D65)."""
SENSITIVITY = torch.tensor(
    [
        [7.1, 39.6, 138.6, 280.0, 301.3, 178.5, 84.7],
        [29.6, 62.8, 126.2, 234.9, 381.1, 484.4, 477.2],
        [4.3, 9.2, 18.4, 34.2, 56.5, 74.7, 75.0],
    ]
)
"""Of the channels at 100 cd/m^2, at 37.7 cycles a degree (one in two pixels) and each octave below: castleCSF (Ashraf et
al. 2024), with ColorVideoVDP's gain of 1.45 on red-green."""
DIM, FALL = 10.0, 0.8
"""Below DIM cd/m^2 or so sensitivity falls, in the end as the light to the power FALL: a fit to castleCSF."""
P, FORGIVEN, CEILING = 2.264, 0.160, 367.0
Q = torch.tensor([1.303, 2.889, 3.681]).view(3, 1, 1)
W = torch.tensor([[0.877, 0.016, 0.050], [5.920, 1.269, 0.152], [14.04, 0.498, 0.698]])
"""ColorVideoVDP's masking, as published (version 0.5). A difference tends to CEILING, however large it is."""
NEIGHBOURHOOD = 7
"""Pixels of a band across which its contrast is averaged, as nobody sees exactly where a line lies."""
SCALE, POWER = 0.0231, 0.93
"""POWER as published, SCALE fitted: our pyramid is a simpler one."""

TILE, ACROSS = 256, 3
"""A large picture is judged by so many tiles across and down, of so many pixels: in a fixed time."""

COLOUR = torch.tensor([[0.2, 0.8, 0.0], [0.2, -0.24, -0.08], [0.2, 0.0, 0.8]])
"""Columns: a step in lightness, red-green and blue-yellow as red, green, blue; no row sums to more than one in size."""

WORDS = ((9.5, "invisible to most"), (8.8, "hard to see"), (8.0, "visible up close"), (7.0, "easy to see"))
PLAIN = "plain to see"
LARGEST_EPSILON = 64


@dataclass(frozen=True, eq=False)
class Band:
    """One octave of pictures: what the eye makes of its contrast (N, 3, h, w), its sensitivity and mean light alike."""

    response: Tensor
    sensitivity: Tensor
    light: Tensor


def visibility(original: Levels, changed: Levels) -> float:
    """How visible the change from one picture to the other is, in JOD; both (H, W, 3) uint8 of one size. 10 for equal."""
    return _jod([*bands(_tiles(original))], _tiles(changed))


def word(jod: float) -> str:
    """What a painter reads: down to 9.5 JOD 'invisible to most', 8.8 'hard to see', 8.0 'visible up close', 7.0 ..."""
    return next((said for least, said in WORDS if jod >= least), PLAIN)


def bands(pixels: Tensor, halvings: int = 0) -> Iterator[Band]:
    """The octaves of (N, 3, H, W) pixels in [0, 1], finest first; halvings: how often the picture was made smaller."""
    linear = torch.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    picture = torch.einsum("oc,nchw->nohw", OPPONENT, linear * WHITE + REFLECTED)
    for octave, sensitivity in enumerate(SENSITIVITY.T[halvings:], halvings):
        if min(picture.shape[-2:]) < NEIGHBOURHOOD:
            return
        halved = F.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False)
        coarse = F.interpolate(halved, size=picture.shape[-2:], mode="bilinear")
        light = coarse[:, :1]
        # A pyramid of means passes half of a wave on to the next octave, but for the finest.
        share = 1 if octave == 0 else 2
        seen = share * sensitivity.view(3, 1, 1) * ((1 + DIM / 100) / (1 + DIM / light)) ** FALL
        yield Band((picture - coarse) / light * seen, seen, light)
        picture = halved


def masking(contrast: Tensor) -> Tensor:
    """What the eye forgives, M, where responses to a band have this size: (N, 3, h, w), both."""
    near = F.avg_pool2d(contrast, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
    return torch.einsum("io,nihw->nohw", W, (FORGIVEN * near) ** Q)


def _jod(original: list[Band], changed: Tensor) -> float:
    total = 0.0
    for one, other in zip(original, bands(changed), strict=True):
        response = other.response / other.sensitivity * one.sensitivity
        difference = (response - one.response).abs() ** P / (
            1 + masking(torch.minimum(one.response.abs(), response.abs()))
        )
        difference = CEILING * difference / (CEILING + difference)
        total += float(difference.square().mean((0, 2, 3)).square().sum())
    return 10 - SCALE * total ** (POWER / 4)


def _tiles(levels: Levels) -> Tensor:
    """The picture, or tiles of a large one spread evenly over it: (N, 3, h, w) in [0, 1]."""
    height, width = levels.shape[:2]
    if height * width <= (ACROSS * TILE) ** 2:
        tiles = levels[None]
    else:
        h, w = min(height, TILE), min(width, TILE)
        tops, lefts = (np.linspace(0, side - part, ACROSS).astype(int) for side, part in ((height, h), (width, w)))
        tiles = np.stack([levels[top : top + h, left : left + w] for top in tops for left in lefts])
    return torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
