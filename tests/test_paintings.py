"""A painting in and out: upright, with its credits and resolution, nothing else; written exactly, or not at all."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from advdm.errors import PaintingError
from advdm.paintings import Painting, read_painting, write_painting, write_preview
from tests.picture_files import (
    GREY,
    RGB,
    after_header,
    chunk,
    chunks_of,
    encoded,
    exif_of,
    icc_profile,
    image_of,
    png_file,
    read,
    written,
)

# Orientation and metadata


def stored_as(orientation: int, upright: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The levels of a file that shows `upright` under that EXIF orientation, from the EXIF table, not from Pillow."""
    levels = upright.swapaxes(0, 1) if orientation > 4 else upright
    rows, columns = [(1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1), (-1, 1), (-1, -1), (1, -1)][orientation - 1]
    return np.ascontiguousarray(levels[::rows, ::columns])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_paintings_come_upright(kind: str, orientation: int) -> None:
    painting = read(encoded(stored_as(orientation, RGB), kind, exif=exif_of(Orientation=orientation)))
    assert painting.size == (96, 72)
    assert np.abs(painting.levels.astype(int) - RGB).mean() < (6 if kind == "JPEG" else 1e-9)
    np.testing.assert_array_equal(read(written(painting)).levels, painting.levels)  # not turned a second time


@pytest.mark.parametrize("mode", ["LA", "I;16", "P", "CMYK"])
def test_other_modes_come_upright_with_their_alpha(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    turned = image_of(mode).transpose(Image.Transpose.ROTATE_90)
    painting, upright = read(encoded(turned, kind, exif=exif_of(Orientation=6))), read(encoded(image_of(mode), kind))
    np.testing.assert_array_equal(painting.levels, upright.levels)
    np.testing.assert_array_equal(painting.alpha, upright.alpha)


def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    entries = [(0x0112, 3, 1, 6 << 16), (0x013B, 2, 900, 60_000), (0x8769, 4, 1, 70_000)]
    block = b"MM\0*" + struct.pack(">IH", 8, len(entries)) + b"".join(struct.pack(">HHII", *e) for e in entries)
    files = [encoded(RGB, exif=exif_of(Orientation=unknown)) for unknown in (0, 9, 65535)]
    for data in (*files, encoded(stored_as(6, RGB), exif=block + bytes(4)), encoded(RGB, exif=b"rubbish")):
        np.testing.assert_array_equal(read(data).levels, RGB)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_credits_stay_and_everything_else_goes(kind: str) -> None:
    credits = {"Artist": "Zoë Ødegård", "Copyright": "(c) 2026 Zoë", "ImageDescription": "Harvest"}
    secrets = {"Make": "SecretCamera", "Software": "SecretProgram", "DateTime": "2026:01:02 03:04:05"}
    exif = exif_of(**{name: text.encode() for name, text in credits.items()}, **secrets)
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = "SecretPlace"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] = "SecretSerial"
    data = encoded(RGB, kind, exif=exif)
    assert data.count(b"Secret") >= 2
    copy = written(read(data))
    assert b"Secret" not in copy
    tags = Image.open(io.BytesIO(copy)).getexif()
    assert {ExifTags.TAGS[tag]: value.encode("latin-1").decode() for tag, value in tags.items()} == credits


def test_png_text_gives_the_credits_where_exif_does_not() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Overruled")
    text.add_itxt("Copyright", "© Zoë")
    text.add_text("Comment", "Secret")
    text.add_text("XML:com.adobe.xmp", "Secret")
    copy = written(read(encoded(RGB, pnginfo=text, exif=exif_of(Artist="Zoë".encode()))))
    assert "© Zoë".encode() in copy
    assert b"Secret" not in copy and b"Overruled" not in copy


def test_endless_credits_are_cut() -> None:
    assert len(read(encoded(RGB, exif=exif_of(Artist="x" * 500_000))).exif) < 3000


@pytest.mark.parametrize(
    ("kind", "turn"), [(kind, turn) for kind in ("PNG", "JPEG", "TIFF") for turn in (1, 6)] + [("BMP", 1)]
)
def test_dpi_stays_and_turns_with_the_picture(kind: str, turn: int) -> None:
    painting = read(encoded(RGB, kind, dpi=(300, 150), exif=exif_of(Orientation=turn)))
    for one in (painting, read(written(painting))):
        assert one.dpi == pytest.approx((300, 150) if turn == 1 else (150, 300), abs=0.1)


def test_no_dpi_is_made_up() -> None:
    zero = png_file([bytes(64)] * 64, 64, 8, 0, chunk(b"pHYs", struct.pack(">IIB", 0, 4_000_000_000, 1)))
    undefined = encoded(RGB, "TIFF", tiffinfo={282: 300.0, 283: TiffImagePlugin.IFDRational(0, 0), 296: 2})
    for data in (encoded(RGB), encoded(RGB, "TIFF"), zero, undefined):
        assert b"pHYs" not in chunks_of(written(read(data)))


# Names and sizes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_the_suffix_does_not_matter(kind: str) -> None:
    for name in ("harvest.png", "harvest.JPG", "harvest", "harvest.txt"):
        assert read(encoded(RGB, kind), name).size == (96, 72)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("harvest.tar.png", "harvest.tar"),
        ("Die Ernte (1888), Öl.png", "Die Ernte (1888), Öl"),
        ("a\nb\x1b[31m\u202e\udcff.png", "ab[31m"),
        ("<img src=x>.png", "_img src=x_"),
        ("..png", "painting"),
        ("...hidden.png", "hidden"),
        ("ö" * 125 + ".png", "ö" * 120),  # 254 bytes on disk; with _protected.png it must stay below 256
    ],
)
def test_names_are_fit_for_a_file_name(tmp_path: Path, name: str, stem: str) -> None:
    painting = read(encoded(RGB), name)
    assert painting.name == stem
    assert write_painting(RGB, painting, tmp_path / f"{painting.name}_protected.png").exists()


def test_reading_makes_no_wide_copies(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 1000), (1, 2, 3)).save(tmp_path / "a.bmp")
    read_painting(tmp_path / "a.bmp")
    tracemalloc.start()
    try:
        painting = read_painting(tmp_path / "a.bmp")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * painting.levels.nbytes  # one float32 copy of the whole would be 4 of these


# Writing


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_is_written_is_what_was_given(tmp_path: Path, mode: str) -> None:
    profile = icc_profile(b"GRAY" if mode.startswith("L") else b"RGB ")
    data = encoded(image_of(mode), exif=exif_of(Artist="Zoë".encode()), icc_profile=profile, dpi=(300, 300))
    like = read(after_header(data, chunk(b"gAMA", struct.pack(">I", 100_000))))
    noise = np.random.default_rng(1).integers(-8, 9, (72, 96, 1 if like.grey else 3))
    levels = np.clip(like.levels.astype(int) + noise, 0, 255).astype(np.uint8)
    path = write_painting(levels, like, str(tmp_path / "harvest_protected.PNG"))
    assert path == tmp_path / "harvest_protected.PNG"
    assert path.read_bytes() == written(like, levels)
    again = read_painting(path)
    np.testing.assert_array_equal(again.levels, levels)
    np.testing.assert_array_equal(again.alpha, like.alpha)
    assert (again.mode, again.icc_profile) == (mode, profile)
    assert (again.chunks, again.exif, again.dpi) == (like.chunks, like.exif, like.dpi)


def test_colour_under_transparent_pixels_stays() -> None:
    painting = read(encoded(np.dstack([RGB, np.zeros_like(GREY)])))
    for one in (painting, read(written(painting))):
        np.testing.assert_array_equal(one.levels, RGB)
        assert one.alpha is not None and not one.alpha.any()


@pytest.mark.parametrize("name", ["out.jpg", "out.webp", "out", "out.png.jpeg"])
def test_only_png_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(PaintingError, match=r"^out\S* must be a \.png: lossy formats .*\.$"):
        write_painting(RGB, Painting(RGB), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("levels", "grey"),
    [(RGB[:-1], False), (RGB.astype(np.float32), False), (GREY, False), (RGB.astype(int), False), (RGB, True)],
)
def test_levels_that_do_not_belong_to_the_painting_are_an_error(levels: Any, grey: bool) -> None:
    with pytest.raises(ValueError, match=r"expected uint8|three equal channels"):
        written(Painting(np.repeat(GREY[..., None], 3, axis=2) if grey else RGB, grey=grey), levels)


def test_a_picture_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Image.Image, path: Path, *__: object, **___: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("encoder error -2")

    (tmp_path / "out.png").write_bytes(b"earlier")
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(PaintingError, match=r"^out\.png cannot be written: "):
        write_painting(RGB, Painting(RGB), tmp_path / "out.png")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


@pytest.mark.parametrize(("side", "size"), [(88, (88, 66)), (200, (96, 72))])
def test_a_preview_is_a_small_png_in_the_same_colours(tmp_path: Path, side: int, size: tuple[int, int]) -> None:
    like = read(encoded(image_of("RGBA"), "TIFF", icc_profile=icc_profile(b"RGB ")), "harvest.tif")
    preview = read_painting(write_preview(like.levels, like, tmp_path / "preview.png", side))
    assert (preview.size, preview.mode, preview.icc_profile) == (size, "RGBA", like.icc_profile)
    large = np.asarray(Image.fromarray(preview.levels).resize((96, 72))).astype(int)
    assert np.abs(large - RGB).mean() < 20
