"""How visible a change is at 100 % zoom, on ColorVideoVDP's scale of JOD (just-objectionable differences).

10 is no difference; at 9 three people in four tell which of two pictures was changed.

A small model of vision after ColorVideoVDP (Mantiuk et al. 2024, section 3), for still pictures. The screen's light is
split into lightness, red-green and blue-yellow (c), and each into octave bands k of a Laplacian pyramid. With R and T
the contrast of the original and of the changed picture to the local mean light, times the eye's sensitivity to it,

    D_kc = |T_kc - R_kc|^P / (1 + M_kc),   M_kc = sum_i W_ic * (FORGIVEN * local mean of min(|T_ki|, |R_ki|))^Q_i,
    JOD = 10 - SCALE * (sum over k, c of mean(D_kc^2)^2)^(POWER / 4).

M is what the eye forgives: a change hides in contrast that the painting itself has there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from advdm.paintings import Levels

WHITE, REFLECTED = 200.0, 0.6
"""Light of the screen's white and of its black, in cd/m^2: a 4K screen in an office, ColorVideoVDP's `standard_4k`."""
OPPONENT = torch.tensor([[0.2332, 0.7288, 0.0890], [0.1276, -0.0871, -0.0368], [-0.2148, -0.6263, 0.8514]])
"""Linear sRGB to lightness, red-green, blue-yellow (Derrington, Krauskopf and Lennie 1984; cones of CIE 2006, D65)."""
SENSITIVITY = torch.tensor(
    [
        [7.1, 92.8, 232.0, 315.4, 230.8, 108.7, 55.0],
        [29.5, 98.3, 189.0, 325.9, 458.6, 491.5, 434.2],
        [4.3, 14.4, 27.5, 47.9, 69.7, 77.1, 67.4],
    ]
)
"""Of the channels at 100 cd/m^2 to each octave, whose peaks are at 37.7, 12.2, 6.1, 3.0 ... cycles a degree: castleCSF
(Ashraf et al. 2024), red-green times ColorVideoVDP's 1.45."""
DIM, FALL = 10.0, 0.8
"""Below DIM cd/m^2 or so sensitivity falls, in the end as the light to the power FALL: a fit to castleCSF."""
P, FORGIVEN, CEILING = 2.264, 0.160, 367.0
Q = torch.tensor([1.303, 2.889, 3.681]).view(3, 1, 1)
W = torch.tensor([[0.877, 0.016, 0.050], [5.920, 1.269, 0.152], [14.04, 0.498, 0.698]])
"""ColorVideoVDP's masking, as published (version 0.5). A difference tends to CEILING, however large it is."""
NEIGHBOURHOOD = 7
"""Pixels of a band across which its contrast is averaged, as nobody sees exactly where a line lies."""
SCALE, POWER = 0.0180, 0.991
"""Fitted to ColorVideoVDP on 240 changes of twelve paintings (benchmarks/visibility.py), as our pyramid is simpler."""

TILE, ACROSS = 256, 3
"""A large picture is judged by so many tiles across and down, of so many pixels: in a fixed time."""

WORDS = ((9.5, "invisible to most"), (9.2, "hard to see"), (8.7, "visible up close"), (7.5, "easy to see"))
PLAIN = "obvious"
"""The least JOD of each word. At 9.5 six in ten pick the changed one of two, at 9 three in four, at 8 nine in ten."""


@dataclass(frozen=True, eq=False)
class Band:
    """One octave of pictures: what the eye makes of its contrast (N, 3, h, w), its sensitivity and mean light alike."""

    response: Tensor
    sensitivity: Tensor
    light: Tensor


def visibility(original: Levels, changed: Levels) -> float:
    """How visible the change from one (H, W, 3) uint8 picture to another of its size is, in JOD; 10 for equal ones."""
    return jod_between(list(bands(tiles(original))), tiles(changed))


def word(jod: float) -> str:
    """The same in a painter's words; see WORDS."""
    return next((said for least, said in WORDS if jod >= least), PLAIN)


def bands(pixels: Tensor, halvings: int = 0) -> Iterator[Band]:
    """The octaves of (N, 3, H, W) pixels in [0, 1], finest first; halvings: how often the picture was made smaller."""
    linear = torch.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    picture = torch.einsum("oc,nchw->nohw", OPPONENT, linear * WHITE + REFLECTED)
    for octave, sensitivity in enumerate(SENSITIVITY.T[halvings:], halvings):
        if min(picture.shape[-2:]) < NEIGHBOURHOOD:
            return
        halved = _halved(picture)
        coarse = F.interpolate(halved, size=picture.shape[-2:], mode="bilinear")
        light = coarse[:, :1]
        # A pyramid of means passes half of a wave on to the next octave, but for the finest.
        share = 1 if octave == 0 else 2
        seen = share * sensitivity.view(3, 1, 1) * ((1 + DIM / 100) / (1 + DIM / light)) ** FALL
        yield Band((picture - coarse) / light * seen, seen, light)
        picture = halved


def _halved(picture: Tensor) -> Tensor:
    """(N, 3, h, w) in half the size, each pixel the binomial mean of 4 x 4."""
    height, width = picture.shape[-2:]
    weights = torch.tensor([1, 3, 3, 1]) / 8
    kernel = torch.outer(weights, weights).expand(3, 1, 4, 4)
    around = F.pad(picture, (1, 1 + width % 2, 1, 1 + height % 2), mode="replicate")
    return F.conv2d(around, kernel, stride=2, groups=3)


def masking(contrast: Tensor) -> Tensor:
    """What the eye forgives, M, where responses to a band have this size: (N, 3, h, w), both."""
    near = F.avg_pool2d(contrast, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
    return torch.einsum("io,nihw->nohw", W, (FORGIVEN * near) ** Q)


def jod_between(original: list[Band], changed: Tensor) -> float:
    """JOD of (N, 3, h, w) changed pixels against the bands of the original ones."""
    total = torch.zeros(())
    for one, other in zip(original, bands(changed), strict=True):
        response = other.response / other.sensitivity * one.sensitivity
        masked = masking(torch.minimum(response.abs(), one.response.abs()))
        difference = (response - one.response).abs() ** P / (1 + masked)
        difference = CEILING * difference / (CEILING + difference)
        total += difference.square().mean((0, 2, 3)).square().sum()
    jod: float = 10 - SCALE * float(total) ** (POWER / 4)
    return jod


def tiles(picture: npt.NDArray[np.generic]) -> Tensor:
    """(H, W, C), or tiles of a large one spread evenly over it, as (N, C, h, w) float; uint8 comes out in [0, 1]."""
    height, width = picture.shape[:2]
    if height * width <= (ACROSS * TILE) ** 2:
        tiles = picture[None]
    else:
        h, w = min(height, TILE), min(width, TILE)
        tops, lefts = (np.linspace(0, side - part, ACROSS).astype(int) for side, part in ((height, h), (width, w)))
        tiles = np.stack([picture[top : top + h, left : left + w] for top in tops for left in lefts])
    planes = torch.from_numpy(tiles.astype(np.float32)).permute(0, 3, 1, 2)
    return planes / 255 if picture.dtype == np.uint8 else planes
