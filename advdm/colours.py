"""What the numbers of a picture mean: its levels in 8 bits of RGB or grey, and the colour space they are in.

Levels stay in the file's own colour space wherever a PNG can say which that is. A PNG says it in four ways, of
which a reader takes the first that is there: cICP, iCCP (an ICC profile), sRGB, gAMA and cHRM (PNG, third
edition, 4.3). All are copied as they are, so a browser shows the copy as it shows the original. Only CMYK, which
no PNG can hold, is converted, to sRGB.
"""

from __future__ import annotations

import functools
import io
import struct
from contextlib import suppress

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, PngImagePlugin

from advdm.formats import tiff_tags

# Pillow refuses to read a PNG with a longer profile: keep one, and nobody could open what we wrote.
MAX_PROFILE = PngImagePlugin.MAX_TEXT_CHUNK
CHUNK_SIZES = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}  # bytes; readers ignore a chunk of another size

Chunks = tuple[tuple[bytes, bytes], ...]  # kind and data of each


def colour_chunks(image: ImageFile.ImageFile) -> Chunks:
    """The chunks that say what the colours are, the first of each kind, of a PNG that is not loaded yet."""
    chunks: dict[bytes, bytes] = {}
    if image.format != "PNG":
        return ()
    file = image.fp
    assert file is not None
    place = file.tell()
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in (b"PLTE", b"IDAT"):  # readers ignore what comes later
            break
        data = file.read(length)
        if CHUNK_SIZES.get(kind) == length:
            chunks.setdefault(kind, data)
        file.seek(4, io.SEEK_CUR)  # the checksum, which Pillow has compared
    file.seek(place)
    return tuple(chunks.items())


def eight_bit(image: Image.Image, stored: str) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """The picture in mode L, LA, RGB or RGBA, the colour profile that goes with it, and what was changed.

    `stored` is Pillow's name for the layout of the samples in the file, as "RGB;16B".
    """
    profile = image.info.get("icc_profile")
    notes = []
    if ("I;12" in stored or ";16" in stored) and "BGR" not in stored:  # BGR;16 is 5 + 6 + 5 bits
        notes.append("Its levels were reduced to 8 bits a channel.")
    if 0 in tiff_tags(image).get(ExifTags.Base.ExtraSamples, ()):
        notes.append("Its extra channel was left out, because the file does not call it transparency.")
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


def _eight_bit_grey(image: Image.Image, stored: str) -> Image.Image:
    levels = np.asarray(image).astype(np.uint32)
    white = 4095 if "I;12" in stored else 65535
    grey = Image.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8))
    if tiff_tags(image).get(ExifTags.Base.PhotometricInterpretation) == 0:
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
