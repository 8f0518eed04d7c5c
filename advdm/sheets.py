"""Sheets of pictures that a person can look at: a row for each side, a column for each prompt."""

import math
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


def levels_of(pixels: Tensor) -> Levels:
    """(3, H, W) in [0, 1] to (H, W, 3) uint8."""
    return pixels.detach().float().clamp(0, 1).mul(255).round().permute(1, 2, 0).byte().cpu().numpy()


def picture(pixels: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1]."""
    return Image.fromarray(levels_of(pixels))


def strip(pictures: Tensor) -> Image.Image:
    """(n, 3, S, S) side by side: S high, n S wide."""
    return picture(pictures.permute(1, 2, 0, 3).flatten(2))


def sheet(strips: Mapping[str, Image.Image], columns: Sequence[str], title: str = "") -> Image.Image:
    """Strips of len(columns) squares below each other, each under its column and beside its name."""
    side = next(iter(strips.values())).height
    head = TEXT * (LINES + 2)
    size = (LABELS + len(columns) * side + GAP, head + len(strips) * (side + GAP))
    page = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    pen.text((GAP, GAP), _folded(title, LABELS, LINES), "black", font)
    for i, column in enumerate(columns):
        pen.text((LABELS + i * side + GAP, GAP), _folded(column, side, LINES), "black", font)
    for i, (name, row) in enumerate(strips.items()):
        top = head + i * (side + GAP)
        page.paste(row, (LABELS, top))
        pen.text((GAP, top + GAP), _folded(name, LABELS, LINES), "black", font)
    return page


def columns_of(count: int) -> int:
    """Of a grid of so many pages: as many columns as rows, or one more."""
    return math.ceil(math.sqrt(count))


def grid(pages: Sequence[Image.Image]) -> Image.Image:
    """All pages as one."""
    across = columns_of(len(pages))
    width, height = max(page.width for page in pages), max(page.height for page in pages)
    whole = Image.new("RGB", (across * width, -(-len(pages) // across) * height), "white")
    for i, page in enumerate(pages):
        whole.paste(page, (i % across * width, i // across * height))
    return whole


def _folded(text: str, width: int, lines: int) -> str:
    """The text in lines that fit a width in pixels, cut after `lines` of them."""
    return "\n".join(textwrap.wrap(text, max(1, 2 * (width - GAP) // TEXT), max_lines=lines, placeholder="…"))
