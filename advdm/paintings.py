"""Picture files in and out: what is accepted, what is kept, and a PNG that holds every level exactly.

A picture file comes from a stranger: its header is judged before anything is decoded, and whatever Pillow
raises on it comes out as one `PaintingError`.
"""

from __future__ import annotations

import ctypes
import functools
import io
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from advdm.errors import PaintingError
from advdm.files import StrPath, atomic_path, clean, reason, shown

Levels = npt.NDArray[np.uint8]

MAX_PIXELS = 50_000_000  # painters photograph and scan at 24 to 48 million
MIN_SIDE = 64
MAX_ASPECT = 8
MAX_TILE = 8192
MAX_SCANS = 100  # of a progressive JPEG, which may say in 14 bytes that the whole picture is to be gone over again
SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp"})

# Pillow refuses to read a PNG with a longer profile: keep one, and nobody could open what we wrote.
MAX_PROFILE = PngImagePlugin.MAX_TEXT_CHUNK
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

# Common files that are not accepted: where in the file to look, for what, and what it is.
FOREIGN = (
    (4, (b"ftypavi",), "an AVIF picture"),
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "a HEIC picture"),
    (0, (b"GIF8",), "a GIF"),
    (0, (b"8BPS",), "a Photoshop file"),
    (0, (b"%PDF",), "a PDF"),
)

# What libtiff finds wrong comes out as an error of Pillow; it shall not go to stderr as well.
with suppress(Exception):
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]


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


def check_painting(path: StrPath) -> None:
    """Raise `PaintingError` for whatever can be told from the file without decoding it."""
    with _opened(path) as image:
        image.verify()


def read_painting(path: StrPath) -> Painting:
    """The picture in `path`. Raises `PaintingError` unless it is accepted and whole."""
    check_painting(path)
    with _opened(path) as image:
        stored = str(image.tile[0].args) if image.tile else ""  # the layout of the samples; load() forgets it
        turned = _tag(image, ExifTags.Base.Orientation)
        image.load()
        picture, icc_profile, notes = _eight_bit(image, stored)
        orientation = _tag(image, ExifTags.Base.Orientation)  # none in a TIFF: load() has turned it already
        if orientation in TURNS:
            picture = picture.transpose(TURNS[orientation])
        return Painting(
            levels=np.array(picture.convert("RGB")),
            alpha=np.array(picture.getchannel("A")) if picture.mode in ("LA", "RGBA") else None,
            grey=picture.mode in ("L", "LA"),
            name=_stem(path),
            icc_profile=icc_profile,
            exif=_credits(image),
            dpi=_dpi(image.info.get("dpi"), swap=any(one in (5, 6, 7, 8) for one in (turned, orientation))),
            notes=notes,
        )


def write_painting(levels: Levels, like: Painting, path: StrPath) -> Path:
    """Save `levels` as a PNG with everything else that `like` carries, whole or not at all; returns the path.

    `levels` is uint8 (height, width, 3) as in `like`, its three channels equal if `like` is grey (else
    ValueError). Raises `PaintingError` if `path` is not a .png or cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise PaintingError(f"{shown(path)} must be a .png: lossy formats like JPEG weaken the protection.")
    if levels.dtype != np.uint8 or levels.shape != like.levels.shape:
        raise ValueError(f"expected uint8 {like.levels.shape}, got {levels.dtype} {levels.shape}")
    if like.grey and (levels != levels[..., :1]).any():
        raise ValueError("a grey painting needs three equal channels")
    picture = Image.fromarray(levels[..., 0] if like.grey else levels)
    if like.alpha is not None:
        picture.putalpha(Image.fromarray(like.alpha))
    with atomic_path(path, PaintingError) as temporary:
        picture.save(temporary, "PNG", icc_profile=like.icc_profile, exif=like.exif, dpi=like.dpi)
    return path


def find_paintings(paths: Iterable[StrPath]) -> list[Path]:
    """Files as named, folders as the pictures directly in them, sorted; none twice. Raises `PaintingError`.

    Of a folder, hidden files and files with other suffixes are passed over, and so is what ends in
    _protected.png: a second run over the same folder must not protect the protected copies. A file that is
    named is always kept.
    """
    found: dict[str, Path] = {}
    for picture in chain.from_iterable(map(_pictures_at, map(Path, paths))):
        found.setdefault(os.path.abspath(picture), picture)
    return list(found.values())


def _pictures_at(path: Path) -> list[Path]:
    if not os.path.isdir(path):
        return [path]
    try:
        return sorted(file for file in path.iterdir() if _is_picture(file))
    except OSError as e:
        raise PaintingError(f"{shown(path)} cannot be opened: {reason(e)}.") from e


def _is_picture(path: Path) -> bool:
    name = path.name.lower()
    skipped = name.startswith(".") or name.endswith("_protected.png")
    return not skipped and path.suffix.lower() in SUFFIXES and path.is_file()


@contextmanager
def _opened(path: StrPath) -> Iterator[ImageFile.ImageFile]:
    """The picture, its header read and accepted. Any failure, here or in the block, is a `PaintingError`."""
    try:
        _check_file(path)
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that we judge
            _check_kind(file.read(1024))
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_header(image)
                _check_scans(image, file)
                yield image
    except Exception as e:  # Pillow raises nearly anything on hostile bytes
        raise PaintingError(f"{shown(path)} {_complaint(e)}.") from e


# Inside _opened an error holds only what is wrong with the file; its name is put before it there, once.


def _check_file(path: StrPath) -> None:
    if os.path.isdir(path):
        raise PaintingError("is a folder, not a picture")
    if not os.path.exists(path):
        raise PaintingError("cannot be found")
    if not os.path.isfile(path):  # a pipe would keep us waiting
        raise PaintingError("is not a file")
    if os.path.getsize(path) == 0:
        raise PaintingError("is empty")


def _check_kind(head: bytes) -> None:
    kind = next((kind for at, marks, kind in FOREIGN if head.startswith(marks, at)), None)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in head and b"<html" not in head:
        kind = "an SVG drawing"
    if kind:
        raise PaintingError(f"is {kind}, which cannot be read; save it as PNG or JPEG first")


def _check_header(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    size = f"has {width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise PaintingError(f"{size}; at most {MAX_PIXELS // 10**6} million are possible")
    if min(width, height) < MIN_SIDE:
        raise PaintingError(f"{size}; each side must have at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PaintingError(f"{size}; one side may be at most {MAX_ASPECT} times the other")
    tags = getattr(image, "tag_v2", {})  # of a TIFF, whose tiles may be far larger than its picture
    if max(tags.get(tag, 0) for tag in (ExifTags.Base.TileWidth, ExifTags.Base.TileLength)) > MAX_TILE:
        raise PaintingError("has tiles that are too large; save it again without tiles")
    planar = tags.get(ExifTags.Base.PlanarConfiguration) == 2 and tags.get(ExifTags.Base.Compression, 1) == 1
    if planar and max(tags[ExifTags.Base.BitsPerSample]) > 8:  # which Pillow reads as 8 bits, without a word
        raise PaintingError("has 16 bits a channel in separate planes; save it with interleaved channels first")
    # MPO is what phones call a JPEG with a preview or depth map after the picture.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise PaintingError("has several frames or pages; save the one to protect by itself")
    if image.mode in ("I", "F"):
        raise PaintingError("has 32 bits a channel; save it with 8 or 16 bits first")


def _check_scans(image: ImageFile.ImageFile, file: BinaryIO) -> None:
    if image.format not in ("JPEG", "MPO"):
        return
    place = file.tell()
    file.seek(0)
    scans = sum(1 for _ in SCAN.finditer(file.read()))
    file.seek(place)
    if scans > MAX_SCANS:
        raise PaintingError("is drawn in too many scans; save it again as a plain JPEG")


def _complaint(error: Exception) -> str:
    match error:
        case PaintingError():
            return str(error)
        case Image.DecompressionBombError():
            return f"has too many pixels; at most {MAX_PIXELS // 10**6} million are possible"
        case UnidentifiedImageError():
            return "is not a PNG, JPEG, WebP, TIFF or BMP picture, or is damaged"
        case MemoryError():
            return "is too large for the memory of this machine"
        case OSError(errno=int()):
            return f"cannot be read: {reason(error)}"
        case ValueError() if "MAX_TEXT" in str(error):
            return "carries too much text or too large a colour profile; save it again without metadata"
        case _:
            return "is damaged or incomplete"


def _eight_bit(image: ImageFile.ImageFile, stored: str) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """The picture in mode L, LA, RGB or RGBA, the colour profile that goes with it, and what was changed."""
    profile = image.info.get("icc_profile")
    notes = []
    if ("I;12" in stored or ";16" in stored) and "BGR" not in stored:  # BGR;16 is 5 + 6 + 5 bits
        notes.append("Its levels were reduced to 8 bits a channel.")
    if image.mode == "CMYK":
        picture, profile, note = _from_cmyk(image, profile)
        return picture, profile, (*notes, note)
    if image.mode in ("P", "PA"):
        notes.append("Its palette was replaced by full colour, which a perturbation needs.")
    picture = _eight_bit_grey(image, stored) if image.mode.startswith("I;16") else image
    if image.mode == "RGB" and ";16" in stored and isinstance(clear := image.info.get("transparency"), tuple):
        image.info["transparency"] = tuple(part >> 8 for part in clear)  # of which Pillow takes the low bytes
    grey = picture.mode in ("1", "L", "LA", "La") or "LA;16" in stored  # which Pillow opens as RGBA
    if profile and not _fits(profile, grey):
        profile = None
        notes.append("Its colour profile is damaged, too large or of another kind, and was left out.")
    alpha = "A" if picture.has_transparency_data else ""
    return picture.convert(("L" if grey else "RGB") + alpha), profile or None, tuple(notes)


def _eight_bit_grey(image: ImageFile.ImageFile, stored: str) -> Image.Image:
    levels = np.asarray(image).astype(np.uint32)
    white = 4095 if "I;12" in stored else 65535
    grey = Image.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8))
    if getattr(image, "tag_v2", {}).get(ExifTags.Base.PhotometricInterpretation) == 0:
        grey = ImageOps.invert(grey)  # a TIFF with white as zero, which Pillow turns right in 8 bits only
    if (clear := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
    return grey


def _from_cmyk(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None, str]:
    with suppress(ImageCms.PyCMSError, OSError, TypeError):
        source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile or b"", _srgb()))
        picture = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        if picture is not None:
            return picture, _srgb(), "CMYK was converted to sRGB through its colour profile."
    return image.convert("RGB"), None, "CMYK was converted to RGB without a profile; check the colours."


@functools.cache
def _srgb() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The time of making goes: the same painting must give the same bytes.
    return profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]


def _fits(profile: object, grey: bool) -> bool:
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE:
        return False
    return profile[36:40] == b"acsp" and profile[16:20] == (b"GRAY" if grey else b"RGB ")


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
