"""Which picture files are accepted, judged by their headers before anything is decoded.

A picture file comes from a stranger. Whatever is wrong with it, and whatever Pillow raises on it, becomes one
`PaintingError`: a sentence for the painter.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from advdm.errors import PaintingError
from advdm.files import StrPath, reason, shown

MAX_PIXELS = 50_000_000  # painters photograph and scan at 24 to 48 million
MIN_SIDE = 64
MAX_ASPECT = 8
MAX_TILE = 8192
MAX_SCANS = 100  # of a progressive JPEG: 14 bytes of it can ask for one more pass over the whole picture
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp"})
UNREADABLE = "cannot be read; save it as PNG or JPEG first"

# How files begin. TIFF has two byte orders and two sizes of offset.
TIFF = re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+")
ACCEPTED = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|BM.{4}\0{4}|" + TIFF.pattern, re.DOTALL)
FOREIGN = {
    "an AVIF picture": rb".{4}ftyp(.{4}){0,9}avi[fs]",
    "a HEIC picture": rb".{4}ftyp(hei|hev|mif1|msf1)",
    "a GIF": rb"GIF8",
    "a Photoshop file": rb"8BPS",
    "a JPEG 2000 picture": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "a JPEG XL picture": rb"\0\0\0\x0cJXL |\xff\x0a",
    "a raw photograph": rb".{4}ftypcrx|(II\*\0|MM\0\*).{4}CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0",
    "an SVG drawing": rb"(\xef\xbb\xbf)?\s*(?=<)(?!.*<html).*<svg",
    "a GIMP file": rb"gimp xcf",
    "a Krita file": rb"PK\x03\x04.{26}mimetypeapplication/x-krita",
    "a Clip Studio file": rb"CSFCHUNK",
    "an OpenEXR picture": rb"v/1\x01",
    "an icon": rb"\0\0\x01\0[^\0]\0",
    "a PDF": rb"%PDF",
}
# A scan of the luminance or of up to four components; a segment of a JPEG: its marker and length.
SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
SEGMENT = re.compile(rb"\xff+([\x01-\xfe])(..)", re.DOTALL)
DECODED = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # the JPEG processes that libjpeg decodes; the others are lossless or layered

# What libtiff and Pillow find wrong comes out as an exception; it must not go to stderr as well.
logging.getLogger("PIL").addHandler(logging.NullHandler())
with suppress(Exception):
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]


def check_painting(path: StrPath) -> None:
    """Raise `PaintingError` for whatever can be told from the file without decoding it."""
    with opened(path) as image:
        image.verify()


@contextmanager
def opened(path: StrPath) -> Iterator[ImageFile.ImageFile]:
    """The picture, its header read and accepted. Any failure, here or in the block, is a `PaintingError`.

    An error raised in the block holds only what is wrong, as "is empty"; the file's name is put before it here.
    """
    try:
        _check_file(path)
        # Warnings are of odd metadata, and of sizes that are judged below.
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
            head = file.read(1024)
            if kind := foreign_kind(head):
                raise PaintingError(f"is {kind}, which {UNREADABLE}")
            if head.startswith(b"\xff\xd8\xff"):
                _check_jpeg(head + file.read())
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(image)
                _check_tiff(image)
                # MPO is what phones call a JPEG with a preview or depth map after the picture.
                if getattr(image, "is_animated", False) and image.format != "MPO":
                    raise PaintingError("has several frames or pages; save the one to protect by itself")
                yield image
    except Exception as e:  # Pillow raises nearly anything on hostile bytes
        raise PaintingError(f"{shown(path)} {_complaint(e, path)}.") from e


def foreign_kind(head: bytes) -> str | None:
    """What a file that begins so is, if it is of a common kind that is not accepted: "a GIF"."""
    return next((kind for kind, mark in FOREIGN.items() if re.match(mark, head, re.DOTALL)), None)


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of other files."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _check_file(path: StrPath) -> None:
    if os.path.isdir(path):
        raise PaintingError("is a folder, not a picture")
    if not os.path.exists(path):
        raise PaintingError("cannot be found")
    if not os.path.isfile(path):  # a pipe would keep us waiting
        raise PaintingError("is not a file")
    if os.path.getsize(path) == 0:
        raise PaintingError("is empty")


def _check_size(image: ImageFile.ImageFile) -> None:
    width, height = image.size
    size = f"has {width} x {height} pixels"
    if width * height > MAX_PIXELS:
        raise PaintingError(f"{size}; at most {MAX_PIXELS // 10**6} million are possible")
    if min(width, height) < MIN_SIDE:
        raise PaintingError(f"{size}; each side must have at least {MIN_SIDE}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise PaintingError(f"{size}; one side may be at most {MAX_ASPECT} times the other")


def _check_tiff(image: ImageFile.ImageFile) -> None:
    tags, tag = tiff_tags(image), ExifTags.Base
    if tags.get(tag.NewSubfileType, 0) & 1 or tag.DNGVersion in tags:
        raise PaintingError("is a raw photograph or begins with a mere preview; save it as PNG or JPEG first")
    # A tile may be far larger than its picture.
    if max(tags.get(tag.TileWidth, 0), tags.get(tag.TileLength, 0)) > MAX_TILE:
        raise PaintingError("has tiles that are too large; save it again without tiles")
    bits = tags.get(tag.BitsPerSample, (1,))
    if max(bits) == 32:
        raise PaintingError("has 32 bits a channel; save it with 8 or 16 bits a channel first")
    if 2 in tags.get(tag.SampleFormat, ()):  # some of which Pillow reads as if they were unsigned
        raise PaintingError("has signed levels; save it with 8 or 16 bits a channel first")
    planar = tags.get(tag.PlanarConfiguration) == 2 and tags.get(tag.Compression, 1) == 1
    if planar and max(bits) > 8:  # which Pillow reads as 8 bits, without a word
        raise PaintingError("has 16 bits a channel in separate planes; save it with interleaved channels first")


def _check_jpeg(data: bytes) -> None:
    if sum(1 for _ in SCAN.finditer(data)) > MAX_SCANS:
        raise PaintingError("is drawn in too many scans; save it again as a plain JPEG")
    at = 2
    while (segment := SEGMENT.match(data, at)) and (marker := segment[1][0]) != 0xDA:
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            if data[segment.end()] == 12 or marker not in DECODED:
                raise PaintingError("is a lossless, layered or 12-bit JPEG, which cannot be read; save it as PNG first")
            return
        at = segment.start(2) + int.from_bytes(segment[2], "big")


def _complaint(error: Exception, path: StrPath) -> str:
    match error:
        case PaintingError():
            return str(error)
        case Image.DecompressionBombError():
            return f"has too many pixels; at most {MAX_PIXELS // 10**6} million are possible"
        case MemoryError():
            return "is too large for the memory of this machine"
        case OSError(errno=int()):
            return f"cannot be read: {reason(error)}"
        case OSError() if "Unsupported BMP" in str(error):
            return f"is a BMP of an unusual kind, which {UNREADABLE}"
        case ValueError() if "MAX_TEXT" in str(error):
            return "carries too much text or too large a colour profile; save it again without metadata"
        case ValueError() if "unknown raw mode" in str(error) and (unusual := _unusual_tiff(path)):
            return unusual
        case UnidentifiedImageError():
            return _unusual_tiff(path) or "is not a PNG, JPEG, WebP, TIFF or BMP picture, or is damaged"
        case _:
            return "is damaged or incomplete"


def _unusual_tiff(path: StrPath) -> str | None:
    """What a TIFF that Pillow cannot read says of itself, if its tags are in order."""
    with suppress(Exception), warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
        header = file.read(8)
        if not TIFF.match(header):
            return None
        tags = ImageFileDirectory_v2(header + file.read(8 if b"+" in header[:4] else 0))
        file.seek(tags.next)
        tags.load(file)
        tag = ExifTags.Base
        if {tag.ImageWidth, tag.ImageLength, tag.BitsPerSample} <= tags.keys():  # else the list of tags is cut
            bits, channels = tags[tag.BitsPerSample], tags.get(tag.SamplesPerPixel, 1)
            layout = f"{channels} channel{'s' * (channels != 1)} of {' and '.join(map(str, sorted(set(bits))))} bits"
            return f"is a TIFF with {layout} in a layout that cannot be read; save it as PNG first"
    return None
