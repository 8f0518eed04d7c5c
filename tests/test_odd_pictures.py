"""Odd and broken picture files, all the way: each is protected as it should be, or refused in one sentence."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from advdm import PaintingError, compare, protect, read_painting
from advdm.models.latent_diffusion import LatentDiffusion
from tests import app_server
from tests.picture_files import (
    after_header,
    bmp_file,
    chunk,
    gradient,
    grey_tiff,
    interlaced_png,
    planar_tiff,
    png_file,
    scan_bomb,
)

RGB = gradient(80, 100)
GREY = RGB[..., 0]
ALPHA = RGB[..., 2] // 2
ANY = None
"""Both outcomes will do."""
VISITOR: Any = SimpleNamespace(session_hash="somebody")


def saved(levels: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture = levels if isinstance(levels, Image.Image) else Image.fromarray(levels)
    picture.save(file, kind, **options)
    return file.getvalue()


def replaced(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


def exif(tag: int, kind: int, count: int, value: bytes, big: bool = True) -> bytes:
    """An EXIF block of one entry."""
    return b"MM\0*" + struct.pack(">IHHHI4s", 8, 1, tag, kind, count, value) + bytes(4)


PNG, JPEG = saved(RGB), saved(RGB, "JPEG", quality=98, subsampling=0)
CMYK = saved(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=98, subsampling=0)
PROGRESSIVE = saved(RGB, "JPEG", quality=98, subsampling=0, progressive=True)
MPO = saved(RGB, "MPO", quality=98, subsampling=0, save_all=True, append_images=[Image.fromarray(RGB[::2, ::2])])
TIFF, WEBP = saved(RGB, "TIFF"), saved(RGB, "WEBP", lossless=True)
FRAME = JPEG.find(b"\xff\xc0")
ADOBE = CMYK.find(b"\xff\xee")
BGR = np.ascontiguousarray(RGB[..., ::-1])
GREYS = b"".join(bytes([level] * 3 + [0]) for level in range(256))
ANIMATION = (
    chunk(b"acTL", struct.pack(">II", 1, 0)),
    chunk(b"fcTL", struct.pack(">5IHHBB", 0, 100, 80, 0, 0, 1, 9, 0, 0)),
)


def pictures() -> Iterator[tuple[str, bytes, Any]]:
    """Name, content, and the levels that must come of it, or the words of the refusal, or ANY."""
    # PNG
    yield "interlaced.png", interlaced_png(RGB), RGB
    yield "gamma.png", after_header(PNG, chunk(b"gAMA", struct.pack(">I", 100_000))), RGB
    yield "no_gamma.png", after_header(PNG, chunk(b"gAMA", b"\0")), "is damaged"
    yield "primaries.png", after_header(PNG, chunk(b"cHRM", bytes(32)), chunk(b"sRGB", b"\3")), RGB
    yield "hdr.png", after_header(PNG, chunk(b"cICP", b"\x09\x10\0\1")), RGB
    yield "suggested_palette.png", after_header(PNG, chunk(b"PLTE", bytes(30))), RGB
    yield "unknown_chunk.png", after_header(PNG, chunk(b"abCd", bytes(30))), RGB
    yield "wrong_checksum.png", replaced(PNG, 29, bytes([PNG[29] ^ 1])), "is damaged"
    yield "more_behind.png", PNG + b"rubbish" * 999, RGB
    yield "without_end.png", PNG[:-12], "is damaged"
    yield "apng_of_one_frame.png", after_header(PNG, *ANIMATION), RGB
    yield "apng_of_billions.png", after_header(PNG, chunk(b"acTL", bytes(3) + b"\1" + b"\xff" * 4)), ANY
    yield "tiny_chunks.png", after_header(PNG, chunk(b"tEXt", b"a\0b") * 2000), RGB
    for bits in (1, 2, 4):
        codes, step = GREY >> 8 - bits, 255 // (2**bits - 1)
        rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:]).tobytes() for row in codes]
        palette = chunk(b"PLTE", bytes(level for level in range(0, 256, step) for _ in range(3)))
        yield f"grey_{bits}.png", png_file(rows, 100, bits, 0), codes * step
        yield f"palette_{bits}.png", png_file(rows, 100, bits, 3, palette), codes * step
    yield "no_palette.png", png_file([bytes(100)] * 80, 100, 8, 3), "is damaged"
    yield "three_bits.png", png_file([bytes(100)] * 80, 100, 3, 0), "is damaged"
    yield "no_filter.png", replaced(PNG, len(PNG) - 40, bytes(9)), "is damaged"
    yield "bomb.png", png_file([bytes(300)] * 80 + [bytes(10**8)], 100, 8, 2).replace(b"\0\0\0\x51", b"\0\0\0\x50"), ANY
    # EXIF
    yield "orientation_text.png", saved(RGB, exif=exif(274, 2, 2, b"6\0")), RGB
    yield "orientation_list.jpg", saved(RGB, "JPEG", exif=exif(274, 3, 2, b"\0\6\0\6")), ANY
    yield "orientation_fraction.png", saved(RGB, exif=exif(274, 5, 1, struct.pack(">I", 8))), ANY
    yield "exif_in_itself.png", saved(RGB, exif=exif(0x8769, 4, 1, struct.pack(">I", 8))), RGB
    yield "exif_beyond.jpg", saved(RGB, "JPEG", exif=exif(0x8825, 4, 1, b"\x7f\xff\xff\xff")), ANY
    yield "exif_liar.jpg", JPEG[:2] + b"\xff\xe1\xff\xffExif\0\0II*\0" + JPEG[2:], "is damaged"
    # JPEG
    yield "progressive.jpg", PROGRESSIVE, Image.open(io.BytesIO(PROGRESSIVE))
    yield "scan_bomb.jpg", scan_bomb(PROGRESSIVE, 1000), "is drawn in too many scans"
    yield "scan_bomb.mpo", scan_bomb(PROGRESSIVE, 1000) + MPO[len(MPO) // 2 :], "is drawn in too many scans"
    yield "motion_photo.jpg", JPEG + b"\xff\xda" * 5000, Image.open(io.BytesIO(JPEG))
    yield "arithmetic.jpg", JPEG.replace(b"\xff\xc0", b"\xff\xc9", 1), ANY
    yield "lossless.jpg", JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1), "is damaged"
    yield "twelve_bits.jpg", replaced(JPEG, FRAME + 4, b"\x0c"), "is damaged"
    yield "no_height.jpg", replaced(JPEG, FRAME + 5, bytes(2)), "is damaged"
    yield "frame_within.jpg", JPEG[:FRAME] + replaced(JPEG[FRAME : FRAME + 19], 5, b"\xff" * 4) + JPEG[FRAME:], "is"
    yield "padded.jpg", JPEG[:2] + b"\xff" * 9000 + JPEG[2:], Image.open(io.BytesIO(JPEG))
    yield "ink.jpg", CMYK, Image.open(io.BytesIO(CMYK)).convert("RGB")
    yield "ink_not_by_adobe.jpg", CMYK[:ADOBE] + CMYK[ADOBE + 16 :], ANY
    yield "ink_as_ycck.jpg", replaced(CMYK, ADOBE + 15, b"\2"), ANY
    yield "phone.mpo", MPO, Image.open(io.BytesIO(MPO))
    yield "phone_cut.jpg", MPO[:-200], Image.open(io.BytesIO(MPO))
    yield "phone_lies.jpg", MPO.replace(b"MPF\0", b"MPF\xff", 1), ANY
    for tenth in range(1, 10):
        for kind, data in (("jpg", JPEG), ("png", PNG), ("webp", WEBP), ("tif", TIFF)):
            yield f"cut_{tenth}.{kind}", data[: len(data) * tenth // 10], "is"
    # TIFF
    for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma"):
        yield f"{kind}.tif", saved(RGB, "TIFF", compression=kind), RGB
    yield "big.tif", saved(RGB, "TIFF", big_tiff=True), RGB
    yield "planes.tif", planar_tiff(RGB, False), RGB
    yield "deep_planes_packed.tif", planar_tiff(RGB.astype("<u2") * 257, True), RGB
    yield "deep_planes.tif", planar_tiff(RGB.astype("<u2") * 257, False), "has 16 bits a channel in separate planes"
    yield "deep_plane.tif", planar_tiff(RGB[..., :1].astype("<u2") * 257, False), "has 16 bits a channel in separate"
    yield "floats.tif", saved(GREY.astype(np.float32), "TIFF"), "has 32 bits a channel"
    yield "long.tif", grey_tiff(1, 10_000, 8, False, bytes(10_000)), "has 1 x 10000 pixels"
    yield "padding.tif", TIFF + bytes(10**6), RGB
    # WebP and BMP
    yield "webp_behind.webp", WEBP + b"rubbish", RGB
    yield "webp_size.webp", replaced(WEBP, 4, b"\xff\xff\xff\x7f"), "is damaged"
    yield "top_down.bmp", bmp_file(100, -80, 24, 0, BGR.tobytes()), RGB
    run = b"".join(b"".join(bytes([1, level]) for level in row) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    yield "runs.bmp", bmp_file(100, 80, 8, 1, run, GREYS), GREY
    yield "runs_outside.bmp", bmp_file(100, 80, 8, 1, b"\0\2\xff\xff" * 999, GREYS), ANY
    yield "runs_too_long.bmp", bmp_file(100, 80, 8, 1, b"\xff\7" * 9999, GREYS), ANY
    yield "lowest.bmp", bmp_file(100, -(2**31), 24, 0, b""), "has too many pixels"
    yield "jpeg_within.bmp", bmp_file(100, 80, 0, 4, JPEG), "is damaged"
    os2 = b"BM" + struct.pack("<IHHIIHHHH", 24026, 0, 0, 26, 12, 100, 80, 1, 24) + BGR[::-1].tobytes()
    yield "os2.bmp", os2, RGB
    # Other files
    for kind in ("JPEG2000", "AVIF", "ICO", "TGA", "PPM", "PCX", "SGI", "DDS", "IM"):
        yield f"{kind}.png", saved(RGB, kind), "is an AVIF picture" if kind == "AVIF" else "is not a PNG"
    yield "page.png", b"<!doctype html><html><svg></svg></html>", "is not a PNG"
    yield "archive.png", b"PK\3\4" + bytes(300), "is not a PNG"
    yield "nothing.png", bytes(1000), "is not a PNG"
    yield "signature.png", PNG[:8], "is not a PNG"


PICTURES = list(pictures())


@pytest.fixture
def uploads() -> Path:
    """Where the app takes files from."""
    app_server.app()
    folder = Path(gr.utils.get_upload_folder()) / "odd"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(("name", "data", "expected"), PICTURES, ids=[name for name, *_ in PICTURES])
def test_odd_pictures(tiny: LatentDiffusion, uploads: Path, name: str, data: bytes, expected: Any) -> None:
    from ui import protect as protect_tab
    from ui.painting_input import objection, uploaded

    path = uploads / name
    path.write_bytes(data)
    try:
        painting = read_painting(path)
    except PaintingError as error:
        assert expected is ANY or isinstance(expected, str), error
        assert str(error).startswith(name) and (expected or "") in str(error)
        assert str(error).endswith(".") and str(error).isprintable() and "/" not in str(error)
        assert objection(str(path)) in ("", str(error))
        with pytest.raises(gr.Error, match=re.escape(str(error))):
            next(protect_tab.show_protection(uploaded(str(path)), 8, 1, 1, 0, "advdm", 0, False, VISITOR))
    else:
        assert not isinstance(expected, str)
        assert (uploaded(str(path)), objection(str(path))) == (str(path.resolve()), "")
        if expected is not ANY:
            levels = np.asarray(expected)
            np.testing.assert_array_equal(painting.levels, np.broadcast_to(levels.reshape(80, 100, -1), (80, 100, 3)))
        again = read_painting(protect(painting, tiny, steps=1, step_size=3).save(path.with_suffix(".out.png")))
        assert (again.mode, again.size) == (painting.mode, painting.size)
        assert compare(painting, again).max_change == 3


def test_libtiff_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command line promises one line on stderr, and a log must not fill up with strangers' files."""
    path = tmp_path / "broken.tif"
    path.write_bytes(replaced(planar_tiff(RGB, True), 8, b"rubbish"))
    with pytest.raises(PaintingError):
        read_painting(path)
    assert capfd.readouterr() == ("", "")
