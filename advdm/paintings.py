"""A painting: read from a picture file, and written as a PNG that holds every level exactly."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin

from advdm.colours import Chunks, colour_chunks, eight_bit
from advdm.errors import PaintingError
from advdm.files import StrPath, atomic_path, clean, shown
from advdm.formats import check_painting, opened

Levels = npt.NDArray[np.uint8]

MAX_CREDIT = 2000  # bytes

# The only metadata that is kept: EXIF tags, and the PNG text that says the same where there is no EXIF.
CREDITS = {
    ExifTags.Base.ImageDescription: "Description",
    ExifTags.Base.Artist: "Author",
    ExifTags.Base.Copyright: "Copyright",
}

# How to turn a picture upright, by EXIF orientation. ImageOps.exif_transpose knows it too, but rewrites the
# whole EXIF block on the way, and so fails on pictures whose block is a little damaged.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Painting:
    """A picture as it is protected: upright, 8 bits a channel, in its file's own RGB or grey space.

    Transparent pixels keep their hidden colour: `levels` and `alpha` know nothing of each other.
    """

    levels: Levels  # (height, width, 3); the three channels are equal if grey
    alpha: Levels | None = None  # (height, width)
    grey: bool = False
    name: str = "painting"  # the stem of its file, fit for the name of another file
    icc_profile: bytes | None = None
    chunks: Chunks = ()  # of its PNG: cICP, sRGB, gAMA and cHRM, which say what the colours are
    exif: bytes = b""  # description, artist and copyright, nothing else
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()  # what had to be changed, in sentences for the painter

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.levels.shape[1], self.levels.shape[0]

    @property
    def mode(self) -> str:
        """The Pillow mode of the saved file: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + ("" if self.alpha is None else "A")

    def save(self, path: StrPath, side: int | None = None) -> Path:
        """Write a PNG with everything that the painting carries, whole or not at all; returns the path.

        side: reduced to at most so many pixels a side, for a web page to show. Raises PaintingError if `path` is not a
        .png or cannot be written, ValueError if a grey painting has levels of colour.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise PaintingError(f"{shown(path)} must be a .png: lossy formats like JPEG weaken the protection.")
        if self.grey and (self.levels != self.levels[..., :1]).any():
            raise ValueError("a grey painting needs three equal channels")
        picture = Image.fromarray(self.levels[..., 0] if self.grey else self.levels)
        if self.alpha is not None:
            picture.putalpha(Image.fromarray(self.alpha))
        if side:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        info = PngImagePlugin.PngInfo()
        for kind, data in self.chunks:
            info.add(kind, data)
        with atomic_path(path, PaintingError) as temporary:
            picture.save(temporary, "PNG", pnginfo=info, icc_profile=self.icc_profile, exif=self.exif, dpi=self.dpi)
        return path


def read_painting(path: StrPath) -> Painting:
    """The picture in `path`. Raises `PaintingError` unless it is accepted and whole."""
    check_painting(path)
    with opened(path) as image:
        stored = str(image.tile[0].args) if image.tile else ""  # the layout of the samples; load() forgets it
        chunks = colour_chunks(image)  # before the EXIF is read, for which Pillow loads a PNG and lets its file go
        turned = _tag(image, ExifTags.Base.Orientation)
        image.load()
        picture, icc_profile, notes = eight_bit(image, stored)
        orientation = _tag(image, ExifTags.Base.Orientation)  # none in a TIFF: load() has turned it already
        if orientation in TURNS:
            picture = picture.transpose(TURNS[orientation])
        return Painting(
            levels=np.array(picture.convert("RGB")),
            alpha=np.array(picture.getchannel("A")) if picture.mode in ("LA", "RGBA") else None,
            grey=picture.mode in ("L", "LA"),
            name=_stem(path),
            icc_profile=icc_profile,
            chunks=chunks,
            exif=_credits(image),
            dpi=_dpi(image.info.get("dpi"), swap=any(one in (5, 6, 7, 8) for one in (turned, orientation))),
            notes=notes,
        )


def is_grey(levels: Levels) -> bool:
    """Whether a painting has no colour, and so its perturbation has none either."""
    return bool((levels == levels[..., :1]).all())


def mask_levels(mask: Painting) -> Levels:
    """The lightness (height, width) of a picture that is used as a mask; where it is transparent it is white."""
    picture = Image.fromarray(mask.levels).convert("L")
    if mask.alpha is not None:
        picture = Image.composite(picture, Image.new("L", mask.size, "white"), Image.fromarray(mask.alpha))
    return np.array(picture)


def _tag(image: Image.Image, tag: int) -> object:
    """The EXIF value, if there is one: a broken EXIF block is no reason to refuse a picture."""
    with suppress(Exception):
        return image.getexif().get(tag)
    return None


def _credits(image: Image.Image) -> bytes:
    kept = Image.Exif()
    for tag, key in CREDITS.items():
        credit = _tag(image, tag)
        if isinstance(credit, str):
            # Pillow reads EXIF text as Latin-1 but writes ASCII; bytes keep accents (often UTF-8) as is.
            text = credit.encode("latin-1", "replace")
        else:
            text = str(image.info.get(key, "")).encode("utf-8", "replace")
        if text:
            kept[tag] = text[:MAX_CREDIT]
    return kept.tobytes() if kept else b""


def _dpi(value: object, swap: bool) -> tuple[float, float] | None:
    with suppress(TypeError, ValueError, ArithmeticError):
        x, y = map(float, value)  # type: ignore[call-overload]
        if 1 < x <= 100_000 and 1 < y <= 100_000:  # nan is neither, and 1 is Pillow's for a TIFF that does not say
            return (y, x) if swap else (x, y)
    return None


def _stem(path: StrPath) -> str:
    # With _protected.png after it, a name must stay within 255 bytes.
    return clean(Path(path).stem).strip(" .").encode()[:240].decode(errors="ignore") or "painting"
