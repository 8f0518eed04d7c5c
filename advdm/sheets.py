"""Sheets of pictures that a person can look at: a row for each side, a column for each prompt."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from advdm.paintings import Levels

GAP = 4
TEXT = 11
LABELS = 110
"""Pixels left of the rows, and LINES of text above the columns."""
LINES = 4
WIDEST = 65_000
"""Pixels; JPEG ends at 65,500."""


def levels_of(pixels: Tensor) -> Levels:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8."""
    return pixels.detach().float().clamp(0, 1).mul(255).round().permute(1, 2, 0).byte().cpu().numpy()


def picture(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1]."""
    return Image.fromarray(levels_of(pixels))


def sheet(sides: Mapping[str, Tensor], columns: Sequence[str]) -> Image.Image:
    """Pictures (n, 3, S, S) of each side in a row, each under its column and beside its side's name.

    Of so many that the sheet would be wider than a file can be, the first.
    """
    columns = columns[: (WIDEST - LABELS - GAP) // next(iter(sides.values())).shape[-1]]
    strips = {name: picture(some[: len(columns)].permute(1, 2, 0, 3).flatten(2)) for name, some in sides.items()}
    side = next(iter(strips.values())).height
    head = TEXT * (LINES + 2)
    size = (LABELS + len(columns) * side + GAP, head + len(strips) * (side + GAP))
    page = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    for i, column in enumerate(columns):
        pen.text((LABELS + i * side + GAP, GAP), _folded(column, side), "black", font)
    for i, (name, row) in enumerate(strips.items()):
        top = head + i * (side + GAP)
        page.paste(row, (LABELS, top))
        pen.text((GAP, top + GAP), _folded(name, LABELS), "black", font)
    return page


def _folded(text: str, width: int) -> str:
    """The text in lines that fit a width in pixels, cut after LINES of them."""
    return "\n".join(textwrap.wrap(text, max(1, 2 * (width - GAP) // TEXT), max_lines=LINES, placeholder="…"))
