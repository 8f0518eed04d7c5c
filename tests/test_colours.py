"""Every kind of picture in 8 bits of RGB or grey, in its own colour space; and what had to be changed is said."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from advdm.paintings import Painting
from tests.picture_files import (
    ALPHA,
    GREY,
    RGB,
    chunks_of,
    cmyk_profile,
    deep_png,
    encoded,
    gradient,
    icc_profile,
    image_of,
    read,
    replaced,
    tiff_of,
    with_chunks,
    written,
)


def same(painting: Painting, levels: Any, alpha: Any = None, tolerance: float = 0) -> None:
    """The painting has these levels (H, W) or (H, W, C), and this alpha or none."""
    wanted = np.asarray(levels).astype(int)
    wanted = np.broadcast_to(wanted.reshape(*wanted.shape[:2], -1), painting.levels.shape)
    assert np.abs(painting.levels - wanted).mean() <= tolerance
    np.testing.assert_array_equal(painting.alpha, alpha)


MODES = ("1", "L", "P", "RGB", "LA", "I;16", "RGBA")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(kind, mode) for kind in ("PNG", "TIFF") for mode in MODES]
    + [("BMP", mode) for mode in MODES[:4]]
    + [("WEBP", "RGB"), ("WEBP", "RGBA"), ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK")],
)
def test_files_of_every_kind_keep_their_levels(kind: str, mode: str) -> None:
    image = image_of(mode)
    painting = read(encoded(image, kind))
    kept = {"1": "L", "P": "RGB", "I;16": "L", "CMYK": "RGB"}.get(mode, mode)
    levels = GREY if mode == "I;16" else image.convert(kept.rstrip("A"))
    same(painting, levels, ALPHA if kept.endswith("A") else None, tolerance=6 if kind == "JPEG" else 0)
    assert (painting.mode, painting.size) == (kept, (96, 72))


def as_pillow_reads(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def uncommon() -> Iterator[tuple[str, bytes, Any]]:
    """Name, file and levels of what is rare and accepted."""
    yield "packed", encoded(RGB, "TIFF", compression="tiff_lzw"), RGB
    yield "BigTIFF", encoded(RGB, "TIFF", big_tiff=True), RGB
    yield "planes", tiff_of(RGB, planar=True), RGB
    yield "packed deep planes", tiff_of(RGB.astype("<u2") * 257, planar=True, compress=True), RGB
    yield "white is zero", tiff_of(255 - GREY[..., None], tags={262: [0]}), GREY
    yield "deep, white is zero", tiff_of((255 - GREY[..., None]).astype("<u2") * 257, tags={262: [0]}), GREY
    nines, size = np.full((128, 128, 1), 9, np.uint8), {256: [96], 257: [72]}
    yield "twelve bits are not sixteen", tiff_of(255 + 0 * nines, tags={**size, 258: [12]}), np.full((72, 96), 255)
    yield "a tile", tiff_of(nines, tags={**size, 322: [128], 323: [128]}), np.full((72, 96), 9)
    yield "top down", replaced(encoded(RGB[::-1].copy(), "BMP"), 22, struct.pack("<i", -72)), RGB
    count, control = struct.pack(">II", 1, 0), struct.pack(">5IHHBB", 0, 96, 72, 0, 0, 1, 9, 0, 0)
    yield "APNG of one frame", with_chunks(encoded(RGB), (b"acTL", count), (b"fcTL", control)), RGB
    jpeg, progressive = encoded(RGB, "JPEG"), encoded(RGB, "JPEG", progressive=True)
    yield "progressive", progressive, as_pillow_reads(progressive)
    yield "motion photo", jpeg + b"\xff\xda" * 5000, as_pillow_reads(jpeg)
    phone = encoded(RGB, "MPO", save_all=True, append_images=[Image.fromarray(RGB[::2, ::2])])
    yield "phone", phone, as_pillow_reads(phone)
    yield "phone, its second picture cut", phone[:-200], as_pillow_reads(phone)
    for size in ((64, 64), (512, 64), (64, 512)):
        yield f"{size}", encoded(Image.new("RGB", size)), np.zeros(size[::-1])


@pytest.mark.parametrize(("data", "levels"), [pytest.param(*case[1:], id=case[0]) for case in uncommon()])
def test_uncommon_files_keep_every_level(data: bytes, levels: Any) -> None:
    same(read(data), levels)


def test_sixteen_bits_for_three_colours_are_not_deep() -> None:
    header = replaced(encoded(RGB, "BMP")[:54], 28, struct.pack("<HI", 16, 3))
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    painting = read(replaced(header, 10, b"\x42") + masks + b"\x00\xf8" * 96 * 72)
    same(painting, np.broadcast_to([255, 0, 0], RGB.shape))
    assert painting.notes == ()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_become_eight(channels: int) -> None:
    levels = gradient(channels=channels)
    painting = read(deep_png(levels.astype(np.uint16) * 257))
    clear = channels % 2 == 0
    same(painting, levels[..., : channels - clear], levels[..., -1] if clear else None)
    assert painting.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
    assert "reduced to 8 bits" in painting.notes[0]


def test_sixteen_bit_grey_is_rounded_and_keeps_its_clear_level() -> None:
    deep = np.arange(96 * 72, dtype=np.uint16).reshape(72, 96, 1) * 9
    painting = read(with_chunks(deep_png(deep), (b"tRNS", struct.pack(">H", 9 * 5000))))
    same(painting, np.rint(deep / 257), np.where(np.arange(96 * 72) == 5000, 0, 255).reshape(72, 96))


def test_a_deep_colour_may_be_clear() -> None:
    """Its low bytes are those of no level, and its high bytes those of all pixels of this colour."""
    deep = np.full((64, 70, 3), 0x3434, np.uint16)
    deep[:20] = 0x1234
    painting = read(with_chunks(deep_png(deep), (b"tRNS", struct.pack(">3H", *[0x1234] * 3))))
    same(painting, deep >> 8, np.where(deep[..., 0] == 0x1234, 0, 255))


@pytest.mark.parametrize(("mode", "clear"), [("L", 100), ("RGB", tuple(RGB[5, 6].tolist())), ("1", 255)])
def test_a_clear_colour_becomes_alpha_and_stays(mode: str, clear: Any) -> None:
    levels = np.array(image_of(mode).convert("RGB"))
    hidden = (levels == clear).all(axis=2)
    assert hidden.any()
    same(read(encoded(image_of(mode), transparency=clear)), levels, np.where(hidden, 0, 255))


def test_a_palette_keeps_its_alpha_and_says_that_it_went() -> None:
    image = image_of("P")
    painting = read(encoded(image, transparency=bytes(range(10, 74))))
    same(painting, image.convert("RGB"), np.array(image) + 10)
    assert "palette" in painting.notes[0]


def test_tiffs_in_other_colour_spaces_become_rgb() -> None:
    image, (srgb, lab) = image_of("RGB"), map(ImageCms.createProfile, ("sRGB", "LAB"))
    other = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    for data in (encoded(other, "TIFF"), encoded(image.convert("YCbCr"), "TIFF", compression="tiff_lzw")):
        same(read(data), RGB, tolerance=3)


LEFT_OUT = "Its extra channel was left out, because the file does not call it transparency."
REDUCED = "Its levels were reduced to 8 bits a channel."
CMYK = "CMYK was converted to RGB without a profile; check the colours."
RGBA = np.dstack([RGB, ALPHA])
INK = np.dstack([255 - RGB, np.zeros_like(GREY)])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("levels", "extra", "alpha", "notes"),
    [
        (RGBA, [0], None, [LEFT_OUT]),
        (RGBA, [2], ALPHA, []),
        (np.dstack([RGBA, GREY]), [2, 0], ALPHA, [LEFT_OUT]),
        (RGBA.astype("<u2") * 257, [0], None, [REDUCED, LEFT_OUT]),
        (RGBA.astype("<u2") * 257, [2], ALPHA, [REDUCED]),
        (np.dstack([INK, ALPHA]), [0], None, [LEFT_OUT, CMYK]),
        (INK.astype("<u2") * 257, [], None, [REDUCED, CMYK]),
    ],
)
def test_extra_samples_are_alpha_or_left_out_aloud(
    levels: Any, extra: list[int], alpha: Any, notes: list[str], compress: bool
) -> None:
    """In `extra` 0 is what the file does not say, 2 alpha."""
    photometric = 5 if CMYK in notes else 2
    painting = read(tiff_of(levels, extra, compress=compress, tags={262: [photometric]}))
    same(painting, RGB, alpha)
    assert list(painting.notes) == notes


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("kind", "step"), [("u1", 1), ("<u2", 257)])
def test_premultiplied_alpha_is_divided_out(kind: str, step: int, compress: bool) -> None:
    """Shown over any ground, the picture is what it was: colour times alpha is what the file held."""
    held = np.minimum(RGB, ALPHA[..., None])
    painting = read(tiff_of(np.dstack([held, ALPHA]).astype(kind) * step, [1], compress=compress))
    np.testing.assert_array_equal(painting.alpha, ALPHA)
    assert np.abs(painting.levels * (ALPHA[..., None] / 255) - held).max() <= 1


GAMMA = (b"gAMA", struct.pack(">I", 100_000))
PRIMARIES = (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
SRGB = (b"sRGB", b"\1")
HDR = (b"cICP", b"\x09\x10\0\1")  # BT.2100 PQ
PROFILE = (b"iCCP", b"Profile\0\0" + zlib.compress(icc_profile(b"RGB ")))
Chunks = list[tuple[bytes, bytes]]


def said(painting: Painting) -> dict[bytes, bytes]:
    """What stands in the written file between header and picture, where readers look for it; behind stands nothing."""
    header, *kept, picture, end = chunks_of(written(painting)).items()
    assert (header[0], picture[0], end[0]) == (b"IHDR", b"IDAT", b"IEND")
    return {kind: PROFILE[1] if kind == b"iCCP" else data for kind, data in kept}  # it may be packed in another way


@pytest.mark.parametrize("chunks", [[GAMMA], [SRGB, GAMMA, PRIMARIES], [HDR, SRGB], [PROFILE, GAMMA, PRIMARIES, HDR]])
@pytest.mark.parametrize("mode", ["RGB", "LA", "P", "deep"])
def test_a_png_says_of_its_colours_what_it_said(chunks: Chunks, mode: str) -> None:
    data = deep_png(RGB.astype(np.uint16) * 257) if mode == "deep" else encoded(image_of(mode))
    plain, painting = read(data), read(with_chunks(data, *chunks))
    same(painting, plain.levels, plain.alpha)
    # A profile for colour does not fit a grey picture.
    assert said(painting) == dict(one for one in chunks if one != PROFILE or mode != "LA")


@pytest.mark.parametrize(
    ("chunks", "kept"),
    [
        ([(b"gAMA", bytes(8))], []),  # no reader heeds a chunk of another size
        ([(b"PLTE", bytes(30)), SRGB], []),  # nor one that comes too late
        ([GAMMA, (b"gAMA", bytes(4))], [GAMMA]),  # nor the second of a kind
        ([PROFILE, SRGB], [PROFILE]),  # a PNG may not hold both; the profile is what a reader follows
    ],
)
def test_what_no_reader_heeds_is_left_out(chunks: Chunks, kept: Chunks) -> None:
    painting = read(with_chunks(encoded(RGB), *chunks))
    same(painting, RGB)
    assert said(painting) == dict(kept)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "RGB"), ("WEBP", "RGBA"), ("TIFF", "LA")])
def test_profiles_are_kept_as_they_are(kind: str, mode: str) -> None:
    profile = icc_profile(b"GRAY" if mode == "LA" else b"RGB ", 70_000)  # in a JPEG, more than one segment
    painting = read(encoded(image_of(mode), kind, icc_profile=profile))
    assert (painting.icc_profile, painting.notes) == (profile, ())
    assert read(written(painting)).icc_profile == profile


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", icc_profile(b"RGB ").replace(b"acsp", b"ascp")),
        ("RGB", icc_profile(b"GRAY")),
        ("L", icc_profile(b"RGB ")),
        ("RGB", icc_profile(b"RGB ", PngImagePlugin.MAX_TEXT_CHUNK + 1)),
    ],
)
def test_profiles_that_do_not_fit_are_left_out_aloud(mode: str, profile: bytes) -> None:
    painting = read(encoded(image_of(mode), "TIFF", icc_profile=profile))
    assert painting.icc_profile is None and "colour profile" in painting.notes[0]
    assert read(written(painting)).mode == mode


def test_cmyk_goes_through_its_profile() -> None:
    painting = read(encoded(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "JPEG", icc_profile=cmyk_profile()))
    assert np.abs(painting.levels[32, 32] - [250.0, 0, 0]).max() < 30, "a plain conversion of cyan gives (0, 255, 255)"
    assert "profile" in painting.notes[0]
    profile = painting.icc_profile or b""
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).startswith("sRGB")
    # lcms stamps the time of making into a profile; the same painting must give the same bytes at any time.
    assert profile[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("profile", [None, b"no profile at all", icc_profile(b"RGB ")])
def test_cmyk_without_a_profile_that_works_is_converted_plainly(profile: bytes | None) -> None:
    painting = read(encoded(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "TIFF", icc_profile=profile))
    assert painting.levels[32, 32].tolist() == [0, 255, 255]
    assert painting.icc_profile is None and painting.notes == (CMYK,)
