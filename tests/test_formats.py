"""Odd, broken and hostile picture files: each is read as it should be, or refused in one true sentence."""

from __future__ import annotations

import errno
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from advdm.errors import PaintingError
from advdm.formats import check_painting
from advdm.paintings import read_painting
from tests.picture_files import (
    ALPHA,
    GREY,
    RGB,
    after_header,
    bmp_file,
    chunk,
    cmyk_profile,
    deep_png,
    encoded,
    exif_of,
    gradient,
    icc_profile,
    image_of,
    png_file,
    read,
    replaced,
    scan_bomb,
    tiff_file,
    tiff_of,
    written,
)

UNKNOWN = "is not a PNG, JPEG, WebP, TIFF or BMP picture, or is damaged"
EITHER = None
"""May be read or refused, in a sentence."""


def sentence(error: BaseException) -> str:
    text = str(error)
    assert text.endswith(".") and text.count(". ") == 0
    assert text.isprintable() and len(text) < 200
    assert "/" not in text  # no folder of the server
    return text


def refusal(path: str | Path) -> str:
    with pytest.raises(PaintingError) as info:
        read_painting(path)
    return sentence(info.value)


@pytest.fixture
def harvest(tmp_path: Path) -> Path:
    (tmp_path / "harvest.png").write_bytes(PNG)
    return tmp_path / "harvest.png"


def png_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then holds next to nothing."""
    return png_file([b""], width, 8, 2, height=height)


def exif(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """An EXIF block of one entry."""
    return b"MM\0*" + struct.pack(">IHHHI4s", 8, 1, tag, kind, count, value) + bytes(4)


PNG, JPEG = encoded(RGB), encoded(RGB, "JPEG")
SEEN = Image.open(io.BytesIO(JPEG))
CMYK = encoded(image_of("CMYK"), "JPEG")
PROGRESSIVE = encoded(RGB, "JPEG", progressive=True)
MPO = encoded(RGB, "MPO", save_all=True, append_images=[Image.fromarray(RGB[::2, ::2])])
TIFF, WEBP = encoded(RGB, "TIFF"), encoded(RGB, "WEBP")
FRAME, ADOBE = JPEG.find(b"\xff\xc0"), CMYK.find(b"\xff\xee")
GREYS = b"".join(bytes([level] * 3 + [0]) for level in range(256))
LAYOUT = "is a TIFF with {} in a layout that cannot be read; save it as PNG first"


def tiles(side: int, data: bytes) -> bytes:
    tags = {256: [64], 257: [64], 258: [8], 259: [8], 262: [1], 277: [1], 322: [side], 323: [side]}
    return tiff_file([data], tags, tiled=True)


def odd_files() -> Iterator[tuple[str, bytes, Any]]:
    """Name, content, and the levels that must come of it, or words of the refusal, or EITHER."""
    # PNG
    yield "gamma_of_no_use.png", after_header(PNG, chunk(b"gAMA", b"\0")), "is damaged"
    yield "primaries_of_no_use.png", after_header(PNG, chunk(b"cHRM", bytes(32)), chunk(b"sRGB", b"\3")), RGB
    yield "suggested_palette.png", after_header(PNG, chunk(b"PLTE", bytes(30))), RGB
    yield "wrong_checksum.png", replaced(PNG, 29, bytes([PNG[29] ^ 1])), "is damaged"
    yield "more_behind.png", PNG + b"rubbish" * 999, RGB
    yield "without_end.png", PNG[:-12], "is damaged"
    control = chunk(b"fcTL", struct.pack(">5IHHBB", 0, 96, 72, 0, 0, 1, 9, 0, 0))
    yield "apng_of_one_frame.png", after_header(PNG, chunk(b"acTL", struct.pack(">II", 1, 0)), control), RGB
    yield "apng_of_billions.png", after_header(PNG, chunk(b"acTL", bytes(3) + b"\1" + b"\xff" * 4)), EITHER
    yield "tiny_chunks.png", after_header(PNG, chunk(b"tEXt", b"a\0b") * 2000), RGB
    yield "no_palette.png", png_file([bytes(100)] * 80, 100, 8, 3), "is damaged"
    yield "no_filter.png", replaced(PNG, len(PNG) - 40, bytes(9)), "is damaged"
    yield "bomb.png", png_file([bytes(288)] * 72 + [bytes(10**8)], 96, 8, 2, height=72), EITHER
    # EXIF
    yield "orientation_text.png", encoded(RGB, exif=exif(274, 2, 2, b"6\0")), RGB
    yield "exif_in_itself.png", encoded(RGB, exif=exif(0x8769, 4, 1, struct.pack(">I", 8))), RGB
    yield "exif_beyond.jpg", encoded(RGB, "JPEG", exif=exif(0x8825, 4, 1, b"\x7f\xff\xff\xff")), EITHER
    yield "exif_liar.jpg", JPEG[:2] + b"\xff\xe1\xff\xffExif\0\0II*\0" + JPEG[2:], "is damaged"
    # JPEG
    yield "progressive.jpg", PROGRESSIVE, Image.open(io.BytesIO(PROGRESSIVE))
    yield "scan_bomb.jpg", scan_bomb(PROGRESSIVE, 1000), "is drawn in too many scans"
    yield "scan_bomb.mpo", scan_bomb(PROGRESSIVE, 1000) + MPO[len(MPO) // 2 :], "is drawn in too many scans"
    yield "motion_photo.jpg", JPEG + b"\xff\xda" * 5000, SEEN
    yield "lossless.jpg", JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1), "is a lossless, layered or 12-bit JPEG"
    yield "twelve_bits.jpg", replaced(JPEG, FRAME + 4, b"\x0c"), "is a lossless, layered or 12-bit JPEG"
    yield "no_height.jpg", replaced(JPEG, FRAME + 5, bytes(2)), "is damaged"
    yield "frame_within.jpg", JPEG[:FRAME] + replaced(JPEG[FRAME : FRAME + 19], 5, b"\xff" * 4) + JPEG[FRAME:], "is"
    yield "padded.jpg", JPEG[:2] + b"\xff" * 9000 + JPEG[2:], SEEN
    yield "ink.jpg", CMYK, Image.open(io.BytesIO(CMYK)).convert("RGB")
    yield "ink_not_by_adobe.jpg", CMYK[:ADOBE] + CMYK[ADOBE + 16 :], EITHER
    yield "phone.mpo", MPO, Image.open(io.BytesIO(MPO))
    yield "phone_cut.jpg", MPO[:-200], Image.open(io.BytesIO(MPO))
    yield "phone_lies.jpg", MPO.replace(b"MPF\0", b"MPF\xff", 1), EITHER
    for tenth in (1, 4, 8):
        for kind, data in (("jpg", JPEG), ("png", PNG), ("webp", WEBP), ("tif", TIFF)):
            yield f"cut_{tenth}.{kind}", data[: len(data) * tenth // 10], "damaged"
    # TIFF
    deep, grey_alpha = RGB.astype("<u2") * 257, np.dstack([GREY, ALPHA])
    yield "deep_planes.tif", tiff_of(deep, planar=True), "has 16 bits a channel in separate planes"
    yield "deep_alpha.tif", tiff_of(grey_alpha.astype("<u2") * 257, [2]), LAYOUT.format("2 channels of 16 bits")
    yield "premultiplied.tif", tiff_of(grey_alpha, [1]), LAYOUT.format("2 channels of 8 bits")
    ink = tiff_of(gradient(channels=5), [2], tags={262: [5]})
    yield "ink_with_alpha.tif", ink, LAYOUT.format("5 channels of 8 bits")
    yield "half_floats.tif", tiff_of(deep, tags={339: [3] * 3}), LAYOUT.format("3 channels of 16 bits")
    yield "colour_of_565.tif", tiff_of(RGB, tags={258: [5, 6, 5]}), LAYOUT.format("3 channels of 5 and 6 bits")
    yield "jpeg_2000_within.tif", tiff_of(RGB, tags={259: [34712]}), LAYOUT.format("3 channels of 8 bits")
    yield "floats.tif", encoded(GREY.astype(np.float32), "TIFF"), "has 32 bits a channel"
    yield "signed.tif", tiff_of(deep[..., :1], tags={339: [2]}), "has signed levels"
    yield "raw.dng", tiff_of(RGB, tags={50706: [1]}), "is a raw photograph or begins with a mere preview"
    yield "long.tif", tiff_of(np.zeros((10_000, 1, 1), np.uint8)), "has 1 x 10000 pixels"
    yield "tiles.tif", tiles(256, zlib.compress(bytes(256 * 256))), np.zeros((64, 64))
    yield "tile_bomb.tif", tiles(30_000, zlib.compress(bytes(1000))), "has tiles that are too large"  # 900 MB
    # WebP and BMP
    yield "webp_behind.webp", WEBP + b"rubbish", RGB
    yield "webp_size.webp", replaced(WEBP, 4, b"\xff\xff\xff\x7f"), "is damaged"
    yield "runs_outside.bmp", bmp_file(96, 72, 8, 1, b"\0\2\xff\xff" * 999, GREYS), EITHER
    yield "lowest.bmp", bmp_file(96, -(2**31), 24, 0, b""), "has too many pixels"
    yield "jpeg_within.bmp", bmp_file(96, 72, 24, 4, JPEG), "is a BMP of an unusual kind"
    # Several frames
    pages = [Image.fromarray(np.roll(RGB, shift, axis=1)) for shift in (5, 9)]
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"frames.{kind}", encoded(RGB, kind, save_all=True, append_images=pages), "several frames or pages"
    # Sizes, judged by the header alone
    for size in ((1, 1), (63, 64), (1, 10_000)):
        yield "{}_by_{}.png".format(*size), png_of(*size), "each side must have at least 64"
    for size in ((513, 64), (64, 513)):
        yield "{}_by_{}.png".format(*size), png_of(*size), "one side may be at most 8 times the other"
    for size in ((7072, 7072), (10_000, 10_000), (100_000, 100_000), (2**31 - 1, 2**31 - 1)):
        yield "{}_by_{}.png".format(*size), png_of(*size), "at most 50 million"
    for size in ((64, 64), (512, 64), (64, 512)):
        yield "{}_by_{}.png".format(*size), encoded(Image.new("RGB", size)), np.zeros(size[::-1])
    wide = struct.pack("<I", 16383 | 16383 << 14)
    yield "bomb.webp", replaced(WEBP, WEBP.find(b"VP8L") + 9, wide), "at most 50 million"
    yield "bomb.bmp", bmp_file(90_000, 90_000, 24, 0, b""), "at most 50 million"
    yield "bomb.tif", tiff_of(GREY[..., None], tags={256: [90_000], 257: [90_000]}), "at most 50 million"
    yield "bomb.jpg", replaced(JPEG, FRAME + 5, struct.pack(">HH", 65_500, 65_500)), "at most 50 million"
    # Text that takes memory
    for kind, text in (
        ("zTXt", chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000)))),
        ("iCCP", chunk(b"iCCP", b"Profile\0\0" + zlib.compress(bytes(2_000_000)))),
        ("iTXt", chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(10_000_000)))),
        ("tEXt", chunk(b"tEXt", b"Comment\0" + bytes(1_000_000)) * 68),
    ):
        yield f"{kind}.png", after_header(PNG, text), "carries too much text or too large a colour profile"
    # Other files
    for kind, words in (
        ("AVIF", "is an AVIF picture, which cannot be read; save it as PNG or JPEG first"),
        ("GIF", "is a GIF"),
        ("ICO", "is an icon"),
        ("JPEG2000", "is a JPEG 2000 picture"),
        ("TGA", UNKNOWN),
    ):
        yield f"{kind}.png", encoded(RGB, kind), words
    for mark, words in (
        (b"\0\0\0\x18ftypheic", "is a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "is a HEIC picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", "is an AVIF picture"),
        (b"\0\0\0\x0cJXL ", "is a JPEG XL picture"),
        (b"8BPS\0\1", "is a Photoshop file"),
        (b"II*\0\x10\0\0\0CR\2\0", "is a raw photograph"),
        (b"FUJIFILMCCD-RAW ", "is a raw photograph"),
        (b"PK\3\4" + bytes(26) + b"mimetypeapplication/x-krita", "is a Krita file"),
        (b"gimp xcf v011", "is a GIMP file"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "is an SVG drawing"),
        (b"<!doctype html><html><svg></svg></html>", UNKNOWN),
        (b"PK\3\4", UNKNOWN),
        (b"\x89PNG\r\n\x1a\n", UNKNOWN),
        (b"", UNKNOWN),
    ):
        yield f"{len(mark)}_{words[5:10]}.png", mark + bytes(200), words
    yield "empty.png", b"", "is empty"


@pytest.mark.parametrize(("name", "data", "expected"), [pytest.param(*case, id=case[0]) for case in odd_files()])
def test_odd_files(capfd: pytest.CaptureFixture[str], name: str, data: bytes, expected: Any) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            painting = read(data, name)
    except PaintingError as error:
        assert expected is EITHER or isinstance(expected, str), error
        assert sentence(error).startswith(f"{name} ") and (expected or "") in str(error)
    else:
        assert not isinstance(expected, str)
        if expected is not EITHER:
            levels = np.asarray(expected)
            wanted = np.broadcast_to(levels.reshape(*levels.shape[:2], -1), painting.levels.shape)
            np.testing.assert_array_equal(painting.levels, wanted)
    assert capfd.readouterr() == ("", "")  # libtiff and Pillow's log say nothing of their own


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png_of(63, 64), "at least 64"),
        (png_of(100_000, 100_000), "at most 50 million"),
        (encoded(RGB, "GIF"), "is a GIF"),
        (encoded(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(RGB)]), "several frames"),
        (replaced(PNG, len(PNG) - 20, bytes([PNG[-20] ^ 1])), "is damaged"),  # within the picture's last checksum
        (scan_bomb(PROGRESSIVE, 1000), "too many scans"),
        (png_of(10_000, 5_000), None),  # the largest that is accepted
    ],
)
def test_what_can_be_told_without_decoding(tmp_path: Path, data: bytes, words: str | None) -> None:
    path = tmp_path / "harvest.png"
    path.write_bytes(data)
    with pytest.raises(PaintingError, match=words) if words else nullcontext():
        check_painting(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "missing.png", "missing.png cannot be found"),
        (pipe, "is not a file"),  # and nobody waits for a writer
        ("nul\0l.png", "cannot be found"),
        ("", "cannot be found"),
        (tmp_path / "new\nline\x07\x1b[31m.png", "cannot be found"),
        ("/etc/secret/" + "é" * 5000, "cannot be found"),
    ):
        assert words in refusal(path)
    assert refusal(tmp_path / ("a" * 300 + ".png")).split(" ")[0].endswith("a.png")


def test_a_file_that_may_not_be_read_is_refused(harvest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/folder/harvest.png")

    monkeypatch.setattr("builtins.open", denied)
    assert refusal(harvest) == "harvest.png cannot be read: permission denied."


@pytest.mark.parametrize("error", [OSError("x"), SyntaxError("x"), struct.error("x"), RecursionError(), KeyError("x")])
@pytest.mark.parametrize("where", ["open", "load", "verify"])
def test_whatever_pillow_raises_is_one_sentence(
    harvest: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image if where == "open" else PngImagePlugin.PngImageFile, where, fail)
    assert refusal(harvest) == "harvest.png is damaged or incomplete."


def test_memory_and_interrupts_are_not_taken_for_damage(harvest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: (_ for _ in ()).throw(MemoryError()))
    assert "memory of this machine" in refusal(harvest)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read_painting(harvest)


SMALL = {mode: image_of(mode).resize((66, 64)) for mode in ("RGB", "LA", "P", "CMYK", "1")}
TAGGED: dict[str, Any] = {"exif": exif_of(Orientation=6, Artist="Zoë".encode()), "icc_profile": icc_profile(b"RGB ")}
SEEDS = [
    *(encoded(SMALL["RGB"], kind, **TAGGED) for kind in ("PNG", "JPEG", "WEBP")),
    after_header(encoded(SMALL["RGB"]), chunk(b"cICP", b"\x09\x10\0\1"), chunk(b"gAMA", struct.pack(">I", 100_000))),
    encoded(SMALL["RGB"], "TIFF", compression="tiff_lzw", **TAGGED),
    encoded(SMALL["LA"]),
    encoded(SMALL["P"], "TIFF"),
    encoded(SMALL["P"], "BMP"),
    encoded(SMALL["CMYK"], "JPEG", icc_profile=cmyk_profile()),
    encoded(SMALL["1"], "TIFF", compression="group4"),
    deep_png(gradient(64, 64, 1).astype(np.uint16) * 257),
    tiff_of(np.zeros((64, 64, 4), "<u2"), [1]),
]
EDITS = st.lists(
    st.tuples(
        st.integers(8, 400),  # where
        st.integers(0, 40),  # how many bytes go
        st.binary(max_size=40) | st.sampled_from([b"\xff" * 4, bytes(4)]),  # what comes in their place
    ),
    min_size=1,
    max_size=5,
)


def with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks all check out, so that what is wrong inside them is not stopped at the door."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") if end + 4 <= len(data) else b""
        at = end + 4
    return data


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from(SEEDS), EDITS)
def test_altered_files_are_a_painting_or_one_sentence(data: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    altered = bytearray(data)
    for at, gone, come in edits:
        altered[at : at + gone] = come
    altered = with_checksums(altered) if altered.startswith(b"\x89PNG") else altered
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            painting = read(bytes(altered))
        except PaintingError as error:
            sentence(error)
        else:
            again = read(written(painting))
            np.testing.assert_array_equal(again.levels, painting.levels)
            assert (again.exif, again.icc_profile) == (painting.exif, painting.icc_profile)
