"""Odd, broken and hostile picture files are refused in one true sentence, from the header where that can tell."""

from __future__ import annotations

import errno
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from advdm.errors import PaintingError
from advdm.formats import check_painting
from advdm.paintings import read_painting
from tests.picture_files import (
    GREY,
    RGB,
    cmyk_profile,
    deep_png,
    encoded,
    exif_of,
    icc_profile,
    png_file,
    read,
    replaced,
    tiff_of,
    with_chunks,
    written,
)

PNG, JPEG, TIFF, WEBP, BMP = (encoded(RGB, kind) for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"))
FRAME = JPEG.find(b"\xff\xc0")
LAYOUT = "is a TIFF with {} in a layout that cannot be read; save it as PNG first"
UNKNOWN = "is not a PNG, JPEG, WebP, TIFF or BMP picture, or is damaged"
BEGINNINGS = {
    b"\0\0\0\x18ftypheic": "is a HEIC picture",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic": "is a HEIC picture",
    b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif": "is an AVIF picture, which cannot be read; save it as PNG or JPEG first",
    b"\0\0\0\x0cjP  ": "is a JPEG 2000 picture",
    b"\0\0\0\x0cJXL ": "is a JPEG XL picture",
    b"GIF89a": "is a GIF",
    b"8BPS\0\1": "is a Photoshop file",
    b"II*\0\x10\0\0\0CR\2\0": "is a raw photograph",
    b"FUJIFILMCCD-RAW ": "is a raw photograph",
    b"PK\3\4" + bytes(26) + b"mimetypeapplication/x-krita": "is a Krita file",
    b"gimp xcf v011": "is a GIMP file",
    b"%PDF-1.7\n": "is a PDF",
    b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg/>': "is an SVG drawing",
    b"<!doctype html><html><svg></svg></html>": UNKNOWN,
    b"PK\3\4": UNKNOWN,
    b"\x89PNG\r\n\x1a\n": UNKNOWN,
    b"": UNKNOWN,
}
"""Of files, and what is said of them."""


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


def refused() -> Iterator[tuple[str, bytes, str]]:
    """Name, content, and words of the refusal."""
    yield "empty.png", b"", "is empty"
    for number, (beginning, words) in enumerate(BEGINNINGS.items()):
        yield f"beginning_{number}.png", beginning + bytes(200), words
    # Damage
    yield "wrong_checksum.png", replaced(PNG, 29, bytes([PNG[29] ^ 1])), "is damaged"
    yield "no_palette.png", png_file([bytes(100)] * 80, 100, 8, 3), "is damaged"
    packed = encoded(RGB, "TIFF", compression="tiff_lzw")
    yield "no_code.tif", replaced(packed, 60, b"\xff" * 200), "is damaged"
    for kind, data in (("jpg", JPEG), ("png", PNG), ("webp", WEBP), ("tif", TIFF)):
        for tenth in (1, 8):
            yield f"cut_{tenth}.{kind}", data[: len(data) * tenth // 10], "is damaged"
    yield "cut_in_its_tags.tif", packed[:-60], UNKNOWN
    # JPEG
    progressive = encoded(RGB, "JPEG", progressive=True)
    scan = progressive[progressive.rfind(b"\xff\xda") : -2]  # each time a pass over the whole picture
    yield "scan_bomb.jpg", progressive[:-2] + scan * 1000, "is drawn in too many scans"
    yield "lossless.jpg", JPEG.replace(b"\xff\xc0", b"\xff\xc3", 1), "is a lossless, layered or 12-bit JPEG"
    padded = JPEG[:2] + b"\xff" * 9 + replaced(JPEG, FRAME + 4, b"\x0c")[2:]
    yield "twelve_bits.jpg", padded, "is a lossless, layered or 12-bit JPEG"
    # TIFF and BMP
    deep = RGB.astype("<u2") * 257
    yield "deep_planes.tif", tiff_of(deep, planar=True), "has 16 bits a channel in separate planes"
    yield "deep_alpha.tif", tiff_of(deep[..., :2], [2]), LAYOUT.format("2 channels of 16 bits")
    yield "colour_of_565.tif", tiff_of(RGB, tags={258: [5, 6, 5]}), LAYOUT.format("3 channels of 5 and 6 bits")
    yield "jpeg_2000_within.tif", tiff_of(RGB, tags={259: [34712]}), LAYOUT.format("3 channels of 8 bits")
    yield "floats.tif", encoded(GREY.astype(np.float32), "TIFF"), "has 32 bits a channel"
    yield "signed.tif", tiff_of(deep[..., :1], tags={339: [2]}), "has signed levels"
    yield "raw.dng", tiff_of(RGB, tags={50706: [1]}), "is a raw photograph or begins with a mere preview"
    yield "preview.tif", tiff_of(RGB, tags={254: [1]}), "is a raw photograph or begins with a mere preview"
    yield "tile_bomb.tif", tiff_of(RGB, tags={322: [30_000], 323: [30_000]}), "has tiles that are too large"  # 900 MB
    yield "jpeg_within.bmp", replaced(BMP, 30, b"\4"), "is a BMP of an unusual kind"
    # Several frames
    pages = [Image.fromarray(np.roll(RGB, shift, axis=1)) for shift in (5, 9)]
    for kind in ("PNG", "WEBP", "TIFF"):
        yield f"frames.{kind}", encoded(RGB, kind, save_all=True, append_images=pages), "several frames or pages"
    # Sizes, judged by the header alone
    for width, height, words in (
        (63, 64, "each side must have at least 64"),
        (1, 10_000, "each side must have at least 64"),
        (513, 64, "one side may be at most 8 times the other"),
        (64, 513, "one side may be at most 8 times the other"),
        (7072, 7072, "at most 50 million"),
        (2**31 - 1, 2**31 - 1, "at most 50 million"),
    ):
        yield f"{width}_by_{height}.png", png_of(width, height), words
    wide = struct.pack("<I", 16383 | 16383 << 14)
    yield "bomb.webp", replaced(WEBP, WEBP.find(b"VP8L") + 9, wide), "at most 50 million"
    yield "bomb.bmp", replaced(BMP, 22, struct.pack("<i", -(2**31))), "at most 50 million"
    yield "bomb.tif", tiff_of(GREY[..., None], tags={256: [90_000], 257: [90_000]}), "at most 50 million"
    yield "bomb.jpg", replaced(JPEG, FRAME + 5, struct.pack(">HH", 65_500, 65_500)), "at most 50 million"
    # Text that takes memory
    text, profile = (b"Name\0\0" + zlib.compress(bytes(size)) for size in (10_000_000, 2_000_000))
    for chunks in ([(b"zTXt", text)], [(b"iCCP", profile)], [(b"tEXt", b"Comment\0" + bytes(1_000_000))] * 68):
        yield f"{len(chunks)}.png", with_chunks(PNG, *chunks), "carries too much text or too large a colour profile"


@pytest.mark.parametrize(("name", "data", "words"), [pytest.param(*case, id=case[0]) for case in refused()])
def test_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, data: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        said = refusal(tmp_path / name)
    assert said.startswith(f"{name} ") and words in said and not warned
    assert capfd.readouterr() == ("", ""), "libtiff and Pillow's log say nothing of their own"


def test_what_can_be_told_without_decoding(harvest: Path) -> None:
    harvest.write_bytes(png_of(10_000, 5_000))  # the largest that is accepted, and nothing in it
    check_painting(harvest)
    harvest.write_bytes(replaced(PNG, len(PNG) - 20, bytes([PNG[-20] ^ 1])))  # within the picture's last checksum
    with pytest.raises(PaintingError, match="is damaged"):
        check_painting(harvest)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, words in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.png", "is not a file"),  # and nobody waits for a writer
        ("nul\0l.png", "cannot be found"),
        ("", "cannot be found"),
        (tmp_path / "new\nline\x07\x1b[31m.png", "cannot be found"),
        ("/etc/secret/" + "é" * 5000, "cannot be found"),
        (tmp_path / ("a" * 300 + ".png"), "a.png cannot be found"),
    ):
        assert words in refusal(path)


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_file_that_may_not_be_read_is_refused(harvest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", "/secret/folder/harvest.png")
    monkeypatch.setattr("builtins.open", failing(denied))
    assert refusal(harvest) == "harvest.png cannot be read: permission denied."


@pytest.mark.parametrize("where", ["load", "verify"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("x"), "is damaged or incomplete"),
        (RecursionError(), "is damaged or incomplete"),
        (MemoryError(), "is too large for the memory of this machine"),
    ],
)
def test_whatever_pillow_raises_is_one_sentence(
    harvest: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception, words: str
) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, where, failing(error))
    assert refusal(harvest) == f"harvest.png {words}."


def test_ctrl_c_is_not_taken_for_damage(harvest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read_painting(harvest)


SMALL = RGB[:64, :66]
TAGGED: dict[str, Any] = {"exif": exif_of(Orientation=6, Artist="Zoë".encode()), "icc_profile": icc_profile(b"RGB ")}
SEEDS = [
    *(encoded(SMALL, kind, **TAGGED) for kind in ("PNG", "JPEG", "WEBP", "TIFF")),
    with_chunks(encoded(SMALL), (b"cICP", b"\x09\x10\0\1"), (b"gAMA", struct.pack(">I", 100_000))),
    encoded(Image.fromarray(SMALL).quantize(64), "BMP"),
    encoded(Image.fromarray(SMALL).convert("CMYK"), "JPEG", icc_profile=cmyk_profile()),
    encoded(Image.fromarray(SMALL).convert("1"), "TIFF", compression="group4"),
    deep_png(SMALL[..., :2].astype(np.uint16) * 257),
    tiff_of(np.zeros((64, 64, 4), "<u2"), [1]),
]
# Where in the file, how many bytes go, and what comes in their place.
EDIT = st.tuples(st.integers(8, 400), st.integers(0, 40), st.binary(max_size=40) | st.just(b"\xff" * 4))


def with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks all check out, so that what is wrong inside them is not stopped at the door."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") if end + 4 <= len(data) else b""
        at = end + 4
    return data


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.sampled_from(SEEDS), st.lists(EDIT, min_size=1, max_size=5))
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
