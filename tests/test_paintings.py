"""Pictures in and out: what is read, what is refused, what is kept, and that a file is written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from advdm import paintings
from advdm.errors import AdvDMError, PaintingError
from advdm.files import atomic_path, shown
from advdm.paintings import Painting, check_painting, find_paintings, read_painting, write_painting
from tests.picture_files import (
    chunk,
    cmyk_profile,
    deep_png,
    gradient,
    grey_tiff,
    icc_profile,
    png_file,
    png_header,
    tiff_file,
)

RGB = gradient()
GREY = gradient(channels=1)[..., 0]
ALPHA = gradient()[..., 2] // 2
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
    "JPEG": {"quality": 95, "subsampling": 0},
    "BMP": {},
}


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **LOSSLESS.get(kind, {}), **options)
    return file.getvalue()


def image_of(mode: str) -> Image.Image:
    """A picture in that mode, cut from RGB, GREY and ALPHA."""
    match mode:
        case "1":
            return Image.fromarray(GREY).convert("1")
        case "L":
            return Image.fromarray(GREY)
        case "LA" | "RGBA":
            image = Image.fromarray(GREY if mode == "LA" else RGB)
            image.putalpha(Image.fromarray(ALPHA))
            return image
        case "I;16":
            return Image.fromarray(GREY.astype(np.uint16) * 257)
        case "P":
            return Image.fromarray(RGB).quantize(64)
        case "RGB":
            return Image.fromarray(RGB)
        case _:
            return Image.fromarray(RGB).convert(mode)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Put bytes into a file."""

    def write(data: bytes, name: str = "harvest.png") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(path: str | Path) -> str:
    """The sentence with which a file is refused, as the app shows it."""
    with pytest.raises(PaintingError) as info:
        read_painting(path)
    return sentence(info.value)


def sentence(error: BaseException) -> str:
    text = str(error)
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert text.isprintable()
    assert len(text) < 200
    assert "/" not in text  # no folder of the server
    return text


# Formats and modes


@pytest.mark.parametrize(
    ("kind", "mode", "kept"),
    [
        *(("PNG", mode, kept) for mode, kept in [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("I;16", "L")]),
        *(("TIFF", mode, kept) for mode, kept in [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("I;16", "L")]),
        *((kind, "RGB", "RGB") for kind in ("PNG", "TIFF", "WEBP", "BMP")),
        *((kind, "RGBA", "RGBA") for kind in ("PNG", "TIFF", "WEBP")),
        *(("BMP", mode, kept) for mode, kept in [("1", "L"), ("L", "L"), ("P", "RGB")]),
    ],
)
def test_lossless_files_keep_every_level(save: Callable[..., Path], kind: str, mode: str, kept: str) -> None:
    image = image_of(mode)
    painting = read_painting(save(encoded(image, kind)))
    expected = np.array(image_of("L") if mode == "I;16" else image.convert(kept))
    assert painting.mode == kept
    assert painting.size == (96, 72)
    assert painting.levels.dtype == np.uint8
    assert painting.levels.shape == (72, 96, 3)
    if painting.grey:
        np.testing.assert_array_equal(painting.levels, np.repeat(expected.reshape(72, 96, -1)[..., :1], 3, axis=2))
    else:
        np.testing.assert_array_equal(painting.levels, expected[..., :3])
    if kept.endswith("A"):
        np.testing.assert_array_equal(painting.alpha, ALPHA)
    else:
        assert painting.alpha is None


@pytest.mark.parametrize(("mode", "kept"), [("L", "L"), ("RGB", "RGB"), ("CMYK", "RGB")])
def test_jpegs_keep_their_picture(save: Callable[..., Path], mode: str, kept: str) -> None:
    painting = read_painting(save(encoded(image_of(mode), "JPEG"), "harvest.jpg"))
    expected = image_of(mode).convert("RGB")
    assert painting.mode == kept
    assert np.abs(painting.levels.astype(int) - np.array(expected)).mean() < 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_the_suffix_does_not_matter(save: Callable[..., Path], kind: str) -> None:
    for name in ("harvest.png", "harvest.JPG", "harvest", "harvest.txt"):
        assert read_painting(save(encoded(image_of("RGB"), kind), name)).size == (96, 72)


def test_a_palette_keeps_its_transparency_and_says_that_it_went(save: Callable[..., Path]) -> None:
    image = image_of("P")
    alphas = bytes(range(10, 74))
    painting = read_painting(save(encoded(image, transparency=alphas)))
    assert painting.mode == "RGBA"
    np.testing.assert_array_equal(painting.alpha, np.array(image) + 10)
    np.testing.assert_array_equal(painting.levels, np.array(image.convert("RGB")))
    assert "palette" in painting.notes[0]


@pytest.mark.parametrize(
    ("mode", "kept", "clear"), [("L", "LA", 100), ("RGB", "RGBA", tuple(RGB[5, 6].tolist())), ("1", "LA", 255)]
)
def test_a_transparent_colour_becomes_alpha(save: Callable[..., Path], mode: str, kept: str, clear: Any) -> None:
    image = image_of(mode)
    painting = read_painting(save(encoded(image, transparency=clear)))
    levels = np.array(image.convert("RGB"))
    hidden = (levels == clear).all(axis=2)
    assert painting.mode == kept
    assert hidden.any()
    np.testing.assert_array_equal(painting.alpha, np.where(hidden, 0, 255))
    np.testing.assert_array_equal(painting.levels, levels)  # the hidden colour too


@pytest.mark.parametrize(("channels", "kept"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_sixteen_bits_become_eight(save: Callable[..., Path], channels: int, kept: str) -> None:
    levels = gradient(channels=channels)
    painting = read_painting(save(deep_png(levels.astype(np.uint16) * 257)))
    colours = channels - (channels % 2 == 0)
    assert painting.mode == kept
    np.testing.assert_array_equal(painting.levels, np.broadcast_to(levels[..., :colours], (72, 96, 3)))
    if channels % 2 == 0:
        np.testing.assert_array_equal(painting.alpha, levels[..., -1])
    assert "reduced to 8 bits" in painting.notes[0]


def test_sixteen_bit_grey_is_rounded_and_keeps_its_transparent_level(save: Callable[..., Path]) -> None:
    deep = np.arange(96 * 72, dtype=np.uint16).reshape(72, 96, 1) * 9
    painting = read_painting(save(deep_png(deep, chunk(b"tRNS", struct.pack(">H", 9 * 5000)))))
    np.testing.assert_array_equal(painting.levels[..., :1], np.rint(deep / 257))
    assert painting.mode == "LA"
    assert painting.alpha is not None
    assert np.flatnonzero(painting.alpha == 0).tolist() == [5000]


def test_a_deep_colour_may_be_clear(save: Callable[..., Path]) -> None:
    """Its low bytes are those of no level, and its high bytes those of all pixels of this colour."""
    deep = np.full((64, 70, 3), 0x3434, np.uint16)
    deep[:20] = 0x1234
    painting = read_painting(save(deep_png(deep, chunk(b"tRNS", struct.pack(">3H", *[0x1234] * 3)))))
    assert painting.alpha is not None
    assert not painting.alpha[:20].any() and (painting.alpha[20:] == 255).all()


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiffs_may_count_from_white(save: Callable[..., Path], bits: int, white_is_zero: bool) -> None:
    stored = (255 - GREY if white_is_zero else GREY).astype("<u2") * (1 if bits == 8 else 257)
    data = stored.astype("u1" if bits == 8 else "<u2").tobytes()
    painting = read_painting(save(grey_tiff(96, 72, bits, white_is_zero, data)))
    np.testing.assert_array_equal(painting.levels[..., 0], GREY)
    assert painting.mode == "L"


def test_twelve_bit_tiffs_are_not_taken_for_sixteen(save: Callable[..., Path]) -> None:
    painting = read_painting(save(grey_tiff(96, 72, 12, False, b"\xff" * (96 * 72 * 12 // 8))))
    assert (painting.levels == 255).all()
    assert "reduced to 8 bits" in painting.notes[0]


def test_sixteen_bits_for_all_three_colours_are_not_reduced(save: Callable[..., Path]) -> None:
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    info = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 16, 3, 64 * 64 * 2, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 66 + 64 * 64 * 2, 0, 0, 66) + info + masks + struct.pack("<H", 0xF800) * 64 * 64
    painting = read_painting(save(data))
    assert painting.levels[9, 9].tolist() == [255, 0, 0]
    assert painting.notes == ()


@pytest.mark.parametrize(("mode", "compression"), [("LAB", "raw"), ("LAB", "tiff_lzw"), ("YCbCr", "tiff_lzw")])
def test_tiffs_in_other_colour_spaces_become_rgb(save: Callable[..., Path], mode: str, compression: str) -> None:
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image_of("RGB"), srgb, lab, outputMode="LAB")
    else:
        image = image_of("YCbCr")
    assert image is not None
    painting = read_painting(save(encoded(image, "TIFF", compression=compression)))
    assert painting.mode == "RGB"
    assert np.abs(painting.levels.astype(int) - RGB).mean() < 3


# Colour profiles


def test_cmyk_goes_through_its_profile(save: Callable[..., Path], tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    painting = read_painting(save(encoded(cyan, "JPEG", icc_profile=cmyk_profile())))
    red, green, blue = painting.levels[32, 32].tolist()
    assert red > 220  # in this profile cyan ink is red; a plain conversion gives (0, 255, 255)
    assert max(green, blue) < 30
    assert painting.icc_profile is not None
    assert painting.icc_profile[16:20] == b"RGB "
    assert "profile" in painting.notes[0]
    # lcms stamps the time of making into a profile; the same painting must give the same bytes at any time.
    assert painting.icc_profile[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    written = write_painting(painting.levels, painting, tmp_path / "out.png")
    assert ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(str_file(written))).startswith("sRGB")


def str_file(path: Path) -> io.BytesIO:
    with Image.open(path) as image:
        return io.BytesIO(image.info["icc_profile"])


@pytest.mark.parametrize("profile", [None, b"no profile at all", icc_profile(b"CMYK"), icc_profile(b"RGB ")])
def test_cmyk_without_a_profile_that_works_is_converted_plainly(
    save: Callable[..., Path], profile: bytes | None
) -> None:
    cyan = Image.new("CMYK", (64, 64), (255, 0, 0, 0))
    painting = read_painting(save(encoded(cyan, "TIFF", icc_profile=profile)))
    assert painting.levels[32, 32].tolist() == [0, 255, 255]
    assert painting.icc_profile is None
    assert "without a profile" in painting.notes[0]


def test_sixteen_bit_cmyk_says_both(save: Callable[..., Path]) -> None:
    tags = {256: 64, 257: 64, 258: 16, 259: 1, 262: 5, 277: 4, 278: 64, 279: 64 * 64 * 8}
    painting = read_painting(save(tiff_file(tags, struct.pack("<4H", 65535, 0, 0, 0) * 64 * 64)))
    assert painting.levels[32, 32].tolist() == [0, 255, 255]
    assert ["reduced to 8 bits" in note for note in painting.notes] == [True, False]
    assert ["CMYK" in note for note in painting.notes] == [False, True]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_kept_as_they_are(save: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    profile = icc_profile(b"RGB ", 70_000)  # in a JPEG, more than one segment
    painting = read_painting(save(encoded(image_of("RGB"), kind, icc_profile=profile)))
    assert painting.icc_profile == profile
    assert painting.notes == ()
    assert str_file(write_painting(painting.levels, painting, tmp_path / "out.png")).getvalue() == profile


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"no profile at all"),
        ("RGB", icc_profile(b"RGB ").replace(b"acsp", b"ascp")),
        ("RGB", icc_profile(b"CMYK")),
        ("RGB", icc_profile(b"GRAY")),
        ("L", icc_profile(b"RGB ")),
        ("RGB", icc_profile(b"RGB ", PngImagePlugin.MAX_TEXT_CHUNK + 1)),
    ],
)
def test_profiles_that_do_not_fit_are_left_out(
    save: Callable[..., Path], tmp_path: Path, mode: str, profile: bytes
) -> None:
    painting = read_painting(save(encoded(image_of(mode), "TIFF", icc_profile=profile)))
    assert painting.icc_profile is None
    assert "colour profile" in painting.notes[0]
    assert read_painting(write_painting(painting.levels, painting, tmp_path / "out.png")).mode == mode


def test_a_grey_profile_stays_with_a_grey_painting(save: Callable[..., Path]) -> None:
    profile = icc_profile(b"GRAY")
    assert read_painting(save(encoded(image_of("LA"), icc_profile=profile))).icc_profile == profile


# Orientation and metadata


def stored_as(orientation: int, upright: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The levels of a file that shows `upright` under that EXIF orientation, from the EXIF table, not from Pillow."""
    transposed = upright.swapaxes(0, 1)
    return np.ascontiguousarray(
        {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: transposed,
            6: transposed[::-1],
            7: transposed[::-1, ::-1],
            8: transposed[:, ::-1],
        }[orientation]
    )


def exif_of(**tags: Any) -> Image.Exif:
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_paintings_come_upright(save: Callable[..., Path], tmp_path: Path, kind: str, orientation: int) -> None:
    image = Image.fromarray(stored_as(orientation, RGB))
    painting = read_painting(save(encoded(image, kind, exif=exif_of(Orientation=orientation))))
    assert painting.size == (96, 72)
    assert np.abs(painting.levels.astype(int) - RGB).mean() < (6 if kind == "JPEG" else 1e-9)
    again = read_painting(write_painting(painting.levels, painting, tmp_path / "out.png"))
    np.testing.assert_array_equal(again.levels, painting.levels)  # not turned a second time


@pytest.mark.parametrize("mode", ["LA", "I;16", "P", "CMYK"])
def test_other_modes_come_upright_with_their_alpha(save: Callable[..., Path], mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    upright = read_painting(save(encoded(image_of(mode), kind)))
    turned = image_of(mode).transpose(Image.Transpose.ROTATE_90)
    painting = read_painting(save(encoded(turned, kind, exif=exif_of(Orientation=6))))
    np.testing.assert_array_equal(painting.levels, upright.levels)
    if upright.alpha is not None:
        np.testing.assert_array_equal(painting.alpha, upright.alpha)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(save: Callable[..., Path], orientation: int) -> None:
    painting = read_painting(save(encoded(image_of("RGB"), exif=exif_of(Orientation=orientation))))
    np.testing.assert_array_equal(painting.levels, RGB)


def test_a_damaged_exif_block_does_not_cost_the_picture(save: Callable[..., Path]) -> None:
    entries = [(0x0112, 3, 1, 6 << 16), (0x013B, 2, 900, 60_000), (0x8769, 4, 1, 70_000)]
    block = b"MM\0*" + struct.pack(">IH", 8, len(entries)) + b"".join(struct.pack(">HHII", *e) for e in entries)
    turned = Image.fromarray(stored_as(6, RGB))
    np.testing.assert_array_equal(read_painting(save(encoded(turned, exif=block + bytes(4)))).levels, RGB)
    np.testing.assert_array_equal(read_painting(save(encoded(image_of("RGB"), exif=b"rubbish"))).levels, RGB)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_credits_stay_and_everything_else_goes(save: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    exif = exif_of(
        Artist="Zoë Ødegård".encode(), Copyright="(c) 2026 Zoë".encode(), ImageDescription="Harvest",
        Make="SecretCamera", Software="SecretProgram", DateTime="2026:01:02 03:04:05",
    )  # fmt: skip
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSMapDatum: "SecretPlace"}
    )
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] = "SecretSerial"
    data = encoded(image_of("RGB"), kind, exif=exif)
    assert data.count(b"Secret") >= 2
    written = write_painting(RGB, read_painting(save(data)), tmp_path / "out.png")
    assert b"Secret" not in written.read_bytes()
    assert "Zoë Ødegård".encode() in written.read_bytes()
    with Image.open(written) as image:
        kept = {ExifTags.TAGS[tag]: value.encode("latin-1").decode() for tag, value in image.getexif().items()}
    assert kept == {"Artist": "Zoë Ødegård", "Copyright": "(c) 2026 Zoë", "ImageDescription": "Harvest"}


def test_png_text_gives_the_credits_where_exif_does_not(save: Callable[..., Path], tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Overruled")
    text.add_itxt("Copyright", "© Zoë")
    text.add_text("Comment", "Secret")
    text.add_text("XML:com.adobe.xmp", "Secret")
    painting = read_painting(save(encoded(image_of("RGB"), pnginfo=text, exif=exif_of(Artist="Zoë".encode()))))
    written = write_painting(RGB, painting, tmp_path / "out.png").read_bytes()
    assert "© Zoë".encode() in written
    assert b"Secret" not in written
    assert b"Overruled" not in written


def test_endless_credits_are_cut(save: Callable[..., Path]) -> None:
    assert len(read_painting(save(encoded(image_of("RGB"), exif=exif_of(Artist="x" * 500_000)))).exif) < 3000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_dpi_stays(save: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    painting = read_painting(save(encoded(image_of("RGB"), kind, dpi=(300, 150))))
    assert painting.dpi == pytest.approx((300, 150), abs=0.1)
    with Image.open(write_painting(RGB, painting, tmp_path / "out.png")) as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_dpi_turns_with_the_picture(save: Callable[..., Path], kind: str) -> None:
    data = encoded(image_of("RGB"), kind, dpi=(300, 150), exif=exif_of(Orientation=6))
    assert read_painting(save(data)).dpi == pytest.approx((150, 300), abs=0.1)


def test_no_dpi_is_made_up(save: Callable[..., Path], tmp_path: Path) -> None:
    zero = png_file([bytes(64)] * 64, 64, 8, 0, chunk(b"pHYs", struct.pack(">IIB", 0, 4_000_000_000, 1)))
    undefined = encoded(image_of("RGB"), "TIFF", tiffinfo={282: 300.0, 283: TiffImagePlugin.IFDRational(0, 0), 296: 2})
    for data in (encoded(image_of("RGB")), encoded(image_of("RGB"), "TIFF"), zero, undefined):
        painting = read_painting(save(data))
        assert painting.dpi is None
        with Image.open(write_painting(painting.levels, painting, tmp_path / "out.png")) as image:
            assert "dpi" not in image.info


# Refusals


def animation(kind: str) -> bytes:
    pages = [Image.fromarray(np.roll(RGB, shift, axis=1)) for shift in (0, 5, 9)]
    return encoded(pages[0], kind, save_all=True, append_images=pages[1:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(save: Callable[..., Path], kind: str) -> None:
    path = save(animation(kind))
    assert "several frames or pages" in refusal(path)
    with pytest.raises(PaintingError, match="several frames or pages"):
        check_painting(path)


def test_a_phone_picture_with_a_preview_behind_it_is_one_picture(save: Callable[..., Path]) -> None:
    data = animation("MPO")
    painting = read_painting(save(data, "phone.jpg"))
    assert np.abs(painting.levels.astype(int) - RGB).mean() < 8


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(200), "is a HEIC picture, which cannot be read; save it as PNG or JPEG first"),
        (b"\0\0\0\x1cftypmif1" + bytes(200), "HEIC"),
        (b"\0\0\0\x1cftypavif" + bytes(200), "AVIF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "SVG"),
        (encoded(image_of("P"), "GIF"), "is a GIF"),
        (animation("GIF"), "is a GIF"),
        (b"8BPS\0\1" + bytes(200), "Photoshop"),
        (b"%PDF-1.7\n", "PDF"),
        (encoded(image_of("RGB"), "PPM"), "is not a PNG, JPEG, WebP, TIFF or BMP picture"),
        (b"<!doctype html><html></html>", "is not a PNG, JPEG, WebP, TIFF or BMP picture"),
        (b"a", "is not a PNG, JPEG, WebP, TIFF or BMP picture"),
        (b"", "is empty"),
    ],
)
def test_other_files_are_refused_by_name(save: Callable[..., Path], data: bytes, words: str) -> None:
    path = save(data)
    assert words in refusal(path)
    with pytest.raises(PaintingError, match=words.split()[-1]):
        check_painting(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be found" in refusal(tmp_path / "missing.png")
    assert "is not a file" in refusal(pipe)  # and does not wait for somebody to write into it
    assert "cannot be found" in refusal("nul\0l.png")
    assert "cannot be found" in refusal("")


def test_a_file_that_may_not_be_read_is_refused(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/folder/harvest.png")

    path = save(encoded(image_of("RGB")))
    monkeypatch.setattr("builtins.open", denied)
    assert refusal(path) == "harvest.png cannot be read: permission denied."


@pytest.mark.parametrize("values", [np.ones((72, 96), np.float32), np.ones((72, 96), np.int32)])
def test_thirty_two_bits_are_refused(save: Callable[..., Path], values: np.ndarray[Any, Any]) -> None:
    assert "32 bits" in refusal(save(encoded(Image.fromarray(values), "TIFF")))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((1, 1), "at least 64"),
        ((63, 64), "at least 64"),
        ((1, 10_000), "at least 64"),
        ((513, 64), "8 times"),
        ((64, 513), "8 times"),
        ((7072, 7072), "at most 50 million"),  # 50.01 million
        ((10_000, 10_000), "at most 50 million"),  # where Pillow warns
        ((100_000, 100_000), "at most 50 million"),  # where Pillow raises
        ((2**31 - 1, 2**31 - 1), "at most 50 million"),
    ],
)
def test_sizes_are_judged_by_the_header_alone(save: Callable[..., Path], size: tuple[int, int], words: str) -> None:
    path = save(png_header(*size))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert words in refusal(path)
        with pytest.raises(PaintingError, match=words):
            check_painting(path)


@pytest.mark.parametrize("size", [(64, 64), (512, 64), (64, 512)])
def test_the_smallest_and_the_longest_are_accepted(save: Callable[..., Path], size: tuple[int, int]) -> None:
    assert read_painting(save(encoded(Image.new("RGB", size)))).size == size


def test_the_largest_is_accepted(save: Callable[..., Path]) -> None:
    check_painting(save(png_header(10_000, 5_000)))


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "JPEG"])
def test_other_formats_cannot_be_bombs_either(save: Callable[..., Path], kind: str) -> None:
    data = bytearray(encoded(Image.new("L" if kind == "TIFF" else "RGB", (64, 65)), kind))
    at, large = {
        "WEBP": (data.find(b"VP8L") + 9, struct.pack("<I", 16383 | 16383 << 14)),
        "BMP": (18, struct.pack("<ii", 90_000, 90_000)),
        "JPEG": (data.find(b"\xff\xc0") + 5, struct.pack(">HH", 65_500, 65_500)),
        "TIFF": (0, b""),
    }[kind]
    data[at : at + len(large)] = large
    if kind == "TIFF":
        data = bytearray(grey_tiff(90_000, 90_000, 8, False, b"abc"))
    assert "at most 50 million" in refusal(save(bytes(data)))


def test_tiff_tiles_cannot_be_bombs(save: Callable[..., Path]) -> None:
    def tiled(side: int, data: bytes) -> bytes:
        tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 325: len(data)}
        return tiff_file(tags, data, offset_tag=324)

    assert read_painting(save(tiled(256, zlib.compress(bytes(256 * 256))))).size == (64, 64)
    assert "tiles" in refusal(save(tiled(30_000, zlib.compress(bytes(1000)))))  # would take 900 MB


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_a_file_is_refused(save: Callable[..., Path], kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    words = refusal(save(data[: int(len(data) * share)]))
    assert "is damaged or incomplete" in words or "or is damaged" in words


def test_a_png_that_was_tampered_with_is_refused_before_it_is_decoded(save: Callable[..., Path]) -> None:
    data = bytearray(encoded(image_of("RGB")))
    data[-20] ^= 1  # within the last checksum of the picture
    with pytest.raises(PaintingError, match="is damaged"):
        check_painting(save(bytes(data)))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000))),
        chunk(b"iCCP", b"Profile\0\0" + zlib.compress(bytes(2_000_000))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(10_000_000))),
        b"".join([chunk(b"tEXt", b"Comment\0" + bytes(1_000_000))] * 68),
    ],
    ids=["zTXt", "iCCP", "iTXt", "tEXt"],
)
def test_png_text_bombs_are_refused(save: Callable[..., Path], extra: bytes) -> None:
    assert "is empty" not in (words := refusal(save(png_file([bytes(64)] * 64, 64, 8, 0, extra))))
    assert "carries too much text or too large a colour profile" in words


@pytest.mark.parametrize(
    "error",
    [OSError("x"), SyntaxError("x"), ValueError("x"), struct.error("x"), EOFError(), TypeError("x"), KeyError("x"),
     IndexError("x"), OverflowError("x"), zlib.error("x"), AttributeError("x"), AssertionError(), RuntimeError("x"),
     RecursionError(), ZeroDivisionError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x"), NotImplementedError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("where", ["open", "load", "verify"])
def test_whatever_pillow_raises_is_one_sentence(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    path = save(encoded(image_of("RGB")))
    monkeypatch.setattr(Image if where == "open" else PngImagePlugin.PngImageFile, where, fail)
    assert refusal(path) == "harvest.png is damaged or incomplete."


def test_memory_and_interrupts_are_not_taken_for_damage(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(encoded(image_of("RGB")))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: (_ for _ in ()).throw(MemoryError()))
    assert "memory of this machine" in refusal(path)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        read_painting(path)


def mutations(count: int) -> list[bytes]:
    """Files with a few bytes changed, cut, repeated or made extreme; the same ones every time."""
    random = np.random.default_rng(2026)
    exif = exif_of(Orientation=6, Artist="Zoë".encode())
    small = {mode: image_of(mode).resize((66, 64)) for mode in ("RGB", "LA", "P", "CMYK", "1")}
    seeds = [
        *(encoded(small["RGB"], kind, exif=exif, icc_profile=icc_profile(b"RGB ")) for kind in ("PNG", "JPEG", "WEBP")),
        encoded(small["RGB"], "TIFF", exif=exif, compression="tiff_lzw"),
        encoded(small["LA"], "PNG"),
        encoded(small["P"], "TIFF"),
        encoded(small["P"], "BMP"),
        encoded(small["CMYK"], "JPEG", icc_profile=cmyk_profile()),
        encoded(small["1"], "TIFF", compression="group4"),
        deep_png(gradient(64, 64, 1).astype(np.uint16) * 257),
        grey_tiff(64, 64, 16, True, bytes(64 * 64 * 2)),
    ]
    files = []
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(random.integers(1, 6)):
            at = int(random.integers(8, min(len(data), 400 if random.random() < 0.7 else len(data))))
            match random.integers(5):
                case 0:
                    data[at] ^= 1 << random.integers(8)
                case 1:
                    data[at : at + 4] = random.bytes(4)
                case 2:
                    data[at : at + 4] = b"\xff\xff\xff\xff" if random.random() < 0.5 else bytes(4)
                case 3:
                    del data[at : at + int(random.integers(1, 40))]
                case _:
                    data[at:at] = data[at : at + int(random.integers(1, 40))]
        files.append(bytes(with_checksums(data) if data[:4] == b"\x89PNG" else data))
    return files


def with_checksums(data: bytearray) -> bytearray:
    """A PNG whose chunks all check out, so that what is wrong inside them is not stopped at the door."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return data


def test_mutated_files_are_a_painting_or_one_sentence(save: Callable[..., Path], tmp_path: Path) -> None:
    read = refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in mutations(400):
            path = save(data, "mutated.png")
            try:
                painting = read_painting(path)
            except PaintingError as error:
                sentence(error)
                refused += 1
            else:
                again = read_painting(write_painting(painting.levels, painting, tmp_path / "out.png"))
                np.testing.assert_array_equal(again.levels, painting.levels)
                assert again.exif == painting.exif
                assert again.icc_profile == painting.icc_profile
                read += 1
    assert read > 40  # neither is the whole story
    assert refused > 40


# Names


def test_names_are_fit_for_a_file_name(save: Callable[..., Path], tmp_path: Path) -> None:
    data = encoded(image_of("RGB"))
    for name, stem in [
        ("harvest.tar.png", "harvest.tar"),
        ("Die Ernte (1888), Öl.png", "Die Ernte (1888), Öl"),
        ("a\nb\x1b[31m\u202e\udcff.png", "ab[31m"),
        ("<img src=x>.png", "_img src=x_"),
        ("..png", "painting"),
        ("...hidden.png", "hidden"),
        ("ö" * 125 + ".png", "ö" * 120),  # 254 bytes on disk; with _protected.png it must stay below 256
    ]:
        painting = read_painting(save(data, name))
        assert painting.name == stem
        assert write_painting(RGB, painting, tmp_path / f"{painting.name}_protected.png").exists()


def test_messages_never_show_more_than_the_end_of_a_path(tmp_path: Path) -> None:
    for path in (tmp_path / ("a" * 300 + ".png"), tmp_path / "new\nline\x07\x1b[31m.png", "/etc/secret/" + "é" * 5000):
        words = refusal(path)
        assert "cannot be found" in words
        assert "secret" not in words
        assert tmp_path.name not in words
    assert refusal(tmp_path / ("a" * 300 + ".png")).split(" ")[0].endswith("a.png")


@given(st.text(max_size=400))
def test_any_name_can_be_shown(name: str) -> None:
    text = shown(name)
    assert 0 < len(text) <= 60
    assert text.isprintable()
    assert not set(text) & set('<>:"/\\|?*')


# Writing


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_is_written_is_what_was_given(save: Callable[..., Path], tmp_path: Path, mode: str) -> None:
    profile = icc_profile(b"GRAY" if mode.startswith("L") else b"RGB ")
    data = encoded(image_of(mode), exif=exif_of(Artist="Zoë".encode()), icc_profile=profile, dpi=(300, 300))
    like = read_painting(save(data))
    noise = np.random.default_rng(1).integers(-8, 9, (72, 96, 1 if like.grey else 3))
    levels = np.clip(like.levels.astype(int) + noise, 0, 255).astype(np.uint8)
    path = write_painting(levels, like, str(tmp_path / "harvest_protected.PNG"))
    again = read_painting(path)
    np.testing.assert_array_equal(again.levels, levels)
    np.testing.assert_array_equal(again.alpha, like.alpha)
    assert (again.mode, again.icc_profile, again.exif, again.dpi) == (mode, profile, like.exif, like.dpi)
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, like.size)
    assert path == tmp_path / "harvest_protected.PNG"
    assert path.read_bytes() == write_painting(levels, like, tmp_path / "again.png").read_bytes()


def test_colour_under_transparent_pixels_stays(save: Callable[..., Path], tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    image.putalpha(0)
    painting = read_painting(save(encoded(image)))
    np.testing.assert_array_equal(painting.levels, RGB)
    again = read_painting(write_painting(painting.levels, painting, tmp_path / "out.png"))
    np.testing.assert_array_equal(again.levels, RGB)
    assert again.alpha is not None
    assert not again.alpha.any()


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out", "out.png.jpeg"])
def test_only_png_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(PaintingError, match=r"must be a \.png: lossy") as info:
        write_painting(RGB, Painting(RGB), tmp_path / name)
    sentence(info.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("levels", "grey"),
    [(RGB[:-1], False), (RGB.astype(np.float32), False), (GREY, False), (RGB.astype(int), False), (RGB, True)],
)
def test_levels_that_do_not_belong_to_the_painting_are_an_error(tmp_path: Path, levels: Any, grey: bool) -> None:
    like = Painting(np.repeat(GREY[..., None], 3, axis=2) if grey else RGB, grey=grey)
    with pytest.raises(ValueError, match=r"expected uint8|three equal channels"):
        write_painting(levels, like, tmp_path / "out.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), PaintingError),
        (OSError("encoder error -2"), PaintingError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException]
) -> None:
    def half(_: Image.Image, path: Path, *__: object, **___: object) -> None:
        Path(path).write_bytes(b"half")
        assert len(os.listdir(tmp_path)) == 2
        raise error

    (tmp_path / "out.png").write_bytes(b"earlier")
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(raised) as info:
        write_painting(RGB, Painting(RGB), tmp_path / "out.png")
    assert os.listdir(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"earlier"
    if raised is PaintingError:
        assert "out.png cannot be written" in sentence(info.value)


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/folder")

    monkeypatch.setattr(os, "replace", denied)
    with pytest.raises(PaintingError) as info:
        write_painting(RGB, Painting(RGB), tmp_path / "out.png")
    assert sentence(info.value) == "out.png cannot be written: permission denied."
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for path, words in [
        (tmp_path / "missing" / "out.png", "its folder does not exist"),
        (tmp_path / "file" / "out.png", "not a directory"),
        (tmp_path / "folder.png", "is a directory"),
    ]:
        with pytest.raises(PaintingError, match=words) as info:
            write_painting(RGB, Painting(RGB), path)
        sentence(info.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    path = write_painting(RGB, Painting(RGB), tmp_path / "out.png")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_atomic_path_serves_other_files(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "report.json") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"
        temporary.write_text("{}")
        assert not (tmp_path / "report.json").exists()
    assert os.listdir(tmp_path) == ["report.json"]
    with (
        pytest.raises(AdvDMError, match=r"report\.json cannot be written: no space left") as info,
        atomic_path(tmp_path / "report.json") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert type(info.value) is AdvDMError
    assert (tmp_path / "report.json").read_text() == "{}"
    assert os.listdir(tmp_path) == ["report.json"]


def test_reading_makes_no_wide_copies(save: Callable[..., Path]) -> None:
    path = save(encoded(Image.new("RGB", (1200, 1000), (1, 2, 3)), "BMP"))
    read_painting(path)
    tracemalloc.start()
    try:
        painting = read_painting(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * painting.levels.nbytes  # one float32 copy of the whole would be 4 of these


# Finding


def test_folders_give_their_pictures_and_files_stay_as_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        "b.JPG", "a.png", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp", "h.jfif",
        ".hidden.png", "._a.png", "notes.txt", "noextension", "a_protected.png", "b_Protected.PNG", "report.json",
    ]:  # fmt: skip
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "inner.png").mkdir()
    (tmp_path / "inner.png" / "deep.png").write_bytes(b"")
    inside = [tmp_path / name for name in ("a.png", "b.JPG", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp", "h.jfif")]
    assert find_paintings([str(tmp_path)]) == inside
    named = [tmp_path / name for name in ("notes.txt", "a_protected.png", ".hidden.png", "missing.png", "b.JPG")]
    assert find_paintings(named) == named
    assert find_paintings([tmp_path / "b.JPG", tmp_path]) == [inside[1], inside[0], *inside[2:]]  # none twice
    monkeypatch.chdir(tmp_path)
    assert find_paintings(["b.JPG", tmp_path / "b.JPG", "inner.png/../b.JPG"]) == [Path("b.JPG")]
    assert find_paintings([tmp_path / "inner.png"]) == [tmp_path / "inner.png" / "deep.png"]
    assert find_paintings([tmp_path / ("a" * 300)]) == [tmp_path / ("a" * 300)]
    assert find_paintings([]) == []


def test_a_folder_that_cannot_be_opened_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/folder")

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(PaintingError, match="cannot be opened: permission denied") as info:
        find_paintings([tmp_path])
    sentence(info.value)


def test_every_limit_is_the_one_that_was_promised() -> None:
    assert (paintings.MAX_PIXELS, paintings.MIN_SIDE, paintings.MAX_ASPECT) == (50_000_000, 64, 8)
