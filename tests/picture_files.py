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


def planar_tiff(levels: npt.NDArray[np.generic], compress: bool) -> bytes:
    """A TIFF of unsigned levels (H, W, C) whose channels, grey or RGB, are stored one after another."""
    height, width, channels = levels.shape
    planes = [levels[..., channel].tobytes() for channel in range(channels)]
    planes = list(map(zlib.compress, planes)) if compress else planes
    sizes = [len(plane) for plane in planes]
    starts = [8 + sum(sizes[:number]) for number in range(channels)]
    fields = {
        256: [width],
        257: [height],
        258: [8 * levels.dtype.itemsize] * channels,
        259: [8 if compress else 1],
        262: [2 if channels == 3 else 1],
        273: starts,
        277: [channels],
        278: [height],
        279: sizes,
        284: [2],
    }
    at, lists, entries = 8 + sum(sizes), b"", b""
    for tag, values in fields.items():
        data = struct.pack(f"<{len(values)}I", *values)
        entries += struct.pack("<HHI", tag, 4, len(values))
        entries += data if len(data) == 4 else struct.pack("<I", at + len(lists))
        lists += data if len(data) > 4 else b""
    header = b"II*\0" + struct.pack("<I", at + len(lists))
    return header + b"".join(planes) + lists + struct.pack("<H", len(fields)) + entries + bytes(4)


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


def bmp_file(width: int, height: int, bits: int, compression: int, data: bytes, palette: bytes = b"") -> bytes:
    """A Windows bitmap; a negative height means that the top row comes first."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + palette + data


def scan_bomb(jpeg: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again, each time for a pass over the whole picture."""
    last = jpeg.rfind(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + jpeg[-2:]


def after_header(png: bytes, *chunks: bytes) -> bytes:
    """The PNG with more chunks right behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def interlaced_png(levels: Levels) -> bytes:
    """An Adam7 PNG of RGB levels."""
    height, width, _ = levels.shape
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = (levels[top::down, left::right] for top, left, down, right in passes)
    data = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
