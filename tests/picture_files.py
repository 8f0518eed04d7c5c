"""Picture files that Pillow cannot write, or would not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.uint8]


def gradient(height: int = 72, width: int = 96, channels: int = 3) -> Levels:
    """Smooth levels with no symmetry at all: whatever is turned, mirrored or swapped comes out different."""
    y, x, c = np.mgrid[:height, :width, :channels]
    levels: Levels = ((2 * y + x * (1 + c) / 2 + 40 * c) % 256).astype(np.uint8)
    return levels


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(rows: list[bytes], width: int, depth: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG of any depth and colour type; `extra` holds the chunks between header and picture."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def deep_png(levels: npt.NDArray[np.uint16], extra: bytes = b"") -> bytes:
    """A 16-bit PNG of levels (H, W, C): grey, grey and alpha, RGB or RGBA."""
    height, width, channels = levels.shape
    rows = [row.tobytes() for row in levels.astype(">u2").reshape(height, -1)]
    return png_file(rows, width, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], extra)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def tiff_file(tags: dict[int, int], data: bytes, offset_tag: int = 273) -> bytes:
    """An uncompressed or compressed little-endian TIFF whose tags are all 32-bit integers."""
    tags = {**tags, offset_tag: 8 + 2 + 12 * (len(tags) + 1) + 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


def grey_tiff(width: int, height: int, bits: int, white_is_zero: bool, data: bytes) -> bytes:
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        277: 1,
        278: height,
        279: len(data),
    }
    return tiff_file(tags, data)


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
    header = struct.pack(
        ">I4sI4s4s4s12s4s28s3i48s",
        128 + 16 + len(table), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp", b"",
        63190, 65536, 54061, b"",
    )  # fmt: skip
    return header + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
