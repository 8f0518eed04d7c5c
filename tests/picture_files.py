"""Picture files for the tests, many of which Pillow cannot write, or would not."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from advdm.paintings import Levels, Painting, read_painting

BEST: dict[str, dict[str, Any]] = {
    "WEBP": {"lossless": True, "exact": True},
    "JPEG": {"quality": 95, "subsampling": 0},
}


def gradient(height: int = 72, width: int = 96, channels: int = 3) -> Levels:
    """Smooth levels with no symmetry at all: whatever is turned, mirrored or swapped comes out different."""
    y, x, c = np.mgrid[:height, :width, :channels]
    levels: Levels = ((2 * y + x * (1 + c) / 2 + 40 * c) % 256).astype(np.uint8)
    return levels


RGB = gradient()
GREY = gradient(channels=1)[..., 0]
ALPHA = RGB[..., 2] // 2


def read(data: bytes, name: str = "harvest.png") -> Painting:
    """The painting in a file of that content and name."""
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        return read_painting(path)


def written(painting: Painting, levels: Levels | None = None) -> bytes:
    """The file that is written with these levels, or with the painting's own."""
    with TemporaryDirectory() as folder:
        changed = painting if levels is None else replace(painting, levels=levels)
        return changed.save(Path(folder, "out.png")).read_bytes()


def encoded(picture: Image.Image | npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """The file that Pillow writes, as close to the picture as its kind allows."""
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **(BEST.get(kind, {}) | options))
    return file.getvalue()


def image_of(mode: str) -> Image.Image:
    """A picture in that mode, cut from RGB, GREY and ALPHA."""
    if mode == "I;16":
        return Image.fromarray(GREY.astype(np.uint16) * 257)
    image = Image.fromarray(GREY if mode in ("1", "L", "LA") else RGB)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(ALPHA))
    return image.quantize(64) if mode == "P" else image.convert(mode)


def exif_of(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    exif.update({ExifTags.Base[name]: value for name, value in tags.items()})
    return exif


def replaced(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(rows: Sequence[bytes], width: int, depth: int, colour: int, height: int = 0) -> bytes:
    """A PNG of any depth and colour type."""
    header = struct.pack(">IIBBBBB", width, height or len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def deep_png(levels: npt.NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of levels (H, W, C): grey, grey and alpha, RGB or RGBA."""
    height, width, channels = levels.shape
    rows = [row.tobytes() for row in levels.astype(">u2").reshape(height, -1)]
    return png_file(rows, width, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels])


def with_chunks(png: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """The PNG with more chunks right behind its header: kind and data of each."""
    return png[:33] + b"".join(chunk(*one) for one in chunks) + png[33:]


def chunks_of(png: bytes) -> dict[bytes, bytes]:
    """Kind and data of the chunks, in their order."""
    found, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        found.setdefault(kind, png[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def tiff_of(
    levels: npt.NDArray[np.generic],
    extra: Sequence[int] = (),
    planar: bool = False,
    compress: bool = False,
    tags: dict[int, Sequence[int]] | None = None,
) -> bytes:
    """A TIFF of levels (H, W, C), grey or RGB with extra samples of those types, but for what `tags` say.

    All of its tags are lists of 32-bit integers. With 322 and 323 among them the levels are one tile.
    """
    height, width, channels = levels.shape
    strips = [levels[..., c].tobytes() for c in range(channels)] if planar else [levels.tobytes()]
    strips = [zlib.compress(strip) for strip in strips] if compress else strips
    bits, space, pages = [8 * levels.dtype.itemsize] * channels, [2 if channels >= 3 else 1], [2 if planar else 1]
    used: dict[int, Sequence[int]] = {256: [width], 257: [height], 258: bits, 259: [8 if compress else 1], 262: space}
    used |= {277: [channels], 278: [height], 284: pages, 338: extra} | (tags or {})
    sizes = [len(strip) for strip in strips]
    starts = [8 + sum(sizes[:number]) for number in range(len(sizes))]
    used |= {324: starts, 325: sizes} if 322 in used else {273: starts, 279: sizes}
    used = {tag: values for tag, values in sorted(used.items()) if values}
    at, lists, entries = 8 + sum(sizes), b"", b""
    for tag, values in used.items():
        data = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += data if len(data) == 4 else struct.pack("<I", at + len(lists))
        lists += data if len(data) > 4 else b""
    header, count = b"II*\0" + struct.pack("<I", at + len(lists)), struct.pack("<H", len(used))
    return b"".join([header, *strips, lists, count, entries, bytes(4)])


def icc_profile(space: bytes, size: int = 588) -> bytes:
    """The header of a profile for that colour space, and nothing to read after it."""
    return struct.pack(">I12s4s16s4s", size, b"", space, b"", b"acsp").ljust(size, b"\0")


def cmyk_profile() -> bytes:
    """A working CMYK profile in which cyan ink is red, so that nobody takes its colours for a plain conversion."""
    ink = np.indices((2, 2, 2, 2)).reshape(4, -1).T  # the 16 corners; cyan varies slowest
    paper, red, black = (255, 128, 128), (128, 208, 200), (0, 128, 128)  # L, a, b, each 0..255
    corners = [black if k else red if c else paper for c, _, _, k in ink]
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + bytes(sum(corners, ())) + identity * 3
    kinds = struct.pack(">4s4s4s12s4s", b"prtr", b"CMYK", b"Lab ", b"", b"acsp")
    header = struct.pack(">I4sI", 128 + 16 + len(table), b"lcms", 0x02400000) + kinds
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
