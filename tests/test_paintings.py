"""A painting in and out: upright, with its credits and resolution, nothing else; written exactly, or not at all."""

from __future__ import annotations

import io
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from advdm.errors import PaintingError
from advdm.paintings import Painting, mask_levels, read_painting
from tests.picture_files import (
    RGB,
    chunks_of,
    encoded,
    exif_of,
    icc_profile,
    image_of,
    read,
    with_chunks,
    written,
)


def stored_as(orientation: int, upright: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The levels of a file that shows `upright` under that EXIF orientation, from the EXIF table, not from Pillow."""
    levels = upright.swapaxes(0, 1) if orientation > 4 else upright
    rows, columns = [(1, 1), (1, -1), (-1, -1), (-1, 1), (1, 1), (-1, 1), (-1, -1), (1, -1)][orientation - 1]
    return np.ascontiguousarray(levels[::rows, ::columns])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_paintings_come_upright(kind: str, orientation: int) -> None:
    painting = read(encoded(stored_as(orientation, RGB), kind, exif=exif_of(Orientation=orientation)))
    assert np.abs(painting.levels.astype(int) - RGB).mean() < (6 if kind == "JPEG" else 1e-9)
    np.testing.assert_array_equal(read(written(painting)).levels, painting.levels)  # not turned a second time


@pytest.mark.parametrize("mode", ["LA", "I;16", "P", "CMYK"])
def test_other_modes_come_upright_with_their_alpha(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    turned = image_of(mode).transpose(Image.Transpose.ROTATE_90)
    painting, upright = read(encoded(turned, kind, exif=exif_of(Orientation=6))), read(encoded(image_of(mode), kind))
    np.testing.assert_array_equal(painting.levels, upright.levels)
    np.testing.assert_array_equal(painting.alpha, upright.alpha)


def exif_block(*entries: tuple[int, int, int, int]) -> bytes:
    """Of entries as they lie in a file: tag, type, count, and value or place."""
    packed = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return b"MM\0*" + struct.pack(">IH", 8, len(entries)) + packed + bytes(4)


def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    beyond = exif_block((0x0112, 3, 1, 6 << 16), (0x013B, 2, 900, 60_000), (0x8769, 4, 1, 70_000))
    text, itself = exif_block((0x0112, 2, 2, ord("6") << 24)), exif_block((0x8769, 4, 1, 8))
    unknown = [exif_of(Orientation=orientation) for orientation in (0, 9, 65535)]
    np.testing.assert_array_equal(read(encoded(stored_as(6, RGB), exif=beyond)).levels, RGB)
    for exif in (text, itself, b"rubbish", *unknown):
        np.testing.assert_array_equal(read(encoded(RGB, exif=exif)).levels, RGB)


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


@pytest.mark.parametrize(("turn", "turned"), [(1, (300, 150)), (6, (150, 300))])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_dpi_stays_and_turns_with_the_picture(kind: str, turn: int, turned: tuple[int, int]) -> None:
    painting = read(encoded(RGB, kind, dpi=(300, 150), exif=exif_of(Orientation=turn)))
    assert read(written(painting)).dpi == pytest.approx(turned, abs=0.1)


def test_no_dpi_is_made_up() -> None:
    zero = with_chunks(encoded(RGB), (b"pHYs", struct.pack(">IIB", 0, 4_000_000_000, 1)))
    undefined = encoded(RGB, "TIFF", tiffinfo={282: 300.0, 283: TiffImagePlugin.IFDRational(0, 0), 296: 2})
    for data in (encoded(RGB), encoded(RGB, "TIFF"), zero, undefined):
        assert b"pHYs" not in chunks_of(written(read(data)))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Die Ernte (1888), Öl.tar.png", "Die Ernte (1888), Öl.tar"),
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
    assert painting.save(tmp_path / f"{painting.name}_protected.png").exists()


def test_reading_makes_no_wide_copies(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 1000)).save(tmp_path / "a.bmp")
    tracemalloc.start()
    try:
        painting = read_painting(tmp_path / "a.bmp")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * painting.levels.nbytes  # one float32 copy of the whole would be 4 of these


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_is_written_is_what_was_given(tmp_path: Path, mode: str) -> None:
    profile = icc_profile(b"GRAY" if mode.startswith("L") else b"RGB ")
    data = encoded(image_of(mode), exif=exif_of(Artist="Zoë".encode()), icc_profile=profile, dpi=(300, 300))
    like = read(with_chunks(data, (b"gAMA", struct.pack(">I", 100_000))))
    levels = like.levels // 2 + 9
    path = replace(like, levels=levels).save(str(tmp_path / "harvest_protected.PNG"))
    assert path.read_bytes() == written(like, levels), "the same bytes each time"
    again = read_painting(path)
    np.testing.assert_array_equal(again.levels, levels)
    np.testing.assert_array_equal(again.alpha, like.alpha)
    assert (again.mode, again.icc_profile) == (mode, profile)
    assert (again.chunks, again.exif, again.dpi) == (like.chunks, like.exif, like.dpi)


def test_only_png_is_written(tmp_path: Path) -> None:
    with pytest.raises(PaintingError, match=r"^out\.png\.jpeg must be a \.png: lossy formats .*\.$"):
        Painting(RGB).save(tmp_path / "out.png.jpeg")
    assert not list(tmp_path.iterdir())


def test_a_grey_painting_has_no_levels_of_colour() -> None:
    with pytest.raises(ValueError, match="three equal channels"):
        written(Painting(RGB, grey=True))


def test_a_mask_is_white_where_it_is_transparent() -> None:
    """As a drawing program saves a layer with a few black strokes."""
    alpha = np.zeros(RGB.shape[:2], np.uint8)
    alpha[:9] = 255
    black = np.zeros_like(RGB)
    assert (mask_levels(Painting(black, alpha)) == 255 - alpha).all()
    assert (mask_levels(Painting(black)) == 0).all()


@pytest.mark.parametrize("error", [OSError("encoder error -2"), KeyboardInterrupt()])
def test_a_picture_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(_: Image.Image, path: Path, *__: object, **___: object) -> None:
        path.write_bytes(b"half")
        raise error

    (tmp_path / "out.png").write_bytes(b"earlier")
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises((PaintingError, KeyboardInterrupt)) as told:
        Painting(RGB).save(tmp_path / "out.png")
    assert str(told.value) in ("out.png cannot be written: the system refuses it.", "")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_a_preview_is_a_small_png_in_the_same_colours(tmp_path: Path) -> None:
    like = read(encoded(image_of("RGBA"), "TIFF", icc_profile=icc_profile(b"RGB ")))
    preview = read_painting(like.save(tmp_path / "preview.png", 88))
    assert (preview.size, preview.mode, preview.icc_profile) == ((88, 66), "RGBA", like.icc_profile)
    large = np.asarray(Image.fromarray(preview.levels).resize((96, 72))).astype(int)
    assert np.abs(large - RGB).mean() < 20
