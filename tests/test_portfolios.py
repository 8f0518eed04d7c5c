"""What is taken of a folder, and that everything else in it is named once, with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from advdm.errors import PaintingError
from advdm.portfolios import Found, Skipped, find_paintings
from tests.picture_files import RGB, encoded

PNG = encoded(RGB)
READABLE = "which cannot be read; save it as PNG or JPEG first"


def fill(folder: Path, files: Iterable[str], data: bytes = b"") -> list[Path]:
    paths = [folder / file for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return paths


def skipped(found: Found) -> dict[str, str]:
    return {one.path.name: one.reason for one in found.skipped}


def test_pictures_are_known_by_their_suffix_or_content(tmp_path: Path) -> None:
    named = fill(tmp_path, ["b.JPG", "a.png", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp", "h.jfif"])  # all empty
    known = fill(tmp_path, ["harvest", "harvest.bak", "scan.data"], PNG)
    found = find_paintings([str(tmp_path)])
    assert found == Found(tuple(sorted(named + known)))
    assert found.sentences == []


def test_everything_else_is_named_with_its_reason(tmp_path: Path) -> None:
    fill(tmp_path, ["a.png", "a_protected.png", "b_Protected.PNG"], PNG)
    fill(tmp_path, ["moving.gif"], encoded(RGB, "GIF"))
    fill(tmp_path, ["modern"], encoded(RGB, "AVIF"))
    fill(tmp_path, ["old.jp2"], encoded(RGB, "JPEG2000"))
    fill(tmp_path, ["phone.heic"], b"\0\0\0\x18ftypheic" + bytes(99))
    fill(tmp_path, ["layers.psd"], b"8BPS\0\1" + bytes(99))
    fill(tmp_path, ["tablet.procreate"], b"PK\3\4" + bytes(99))
    fill(tmp_path, ["small"], encoded(RGB[:20, :20]))
    fill(tmp_path, ["cut.dat"], PNG[:200])
    fill(tmp_path, ["notes.txt", "empty", ".hidden.png", "._a.png"], b"BM is how these notes begin")
    fill(tmp_path, ["inner.png/deep.png"], PNG)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    found = find_paintings([tmp_path])
    assert found.paintings == (tmp_path / "a.png",)
    assert skipped(found) == {
        "._a.png": "is hidden",
        ".hidden.png": "is hidden",
        "a_protected.png": "is a protected copy",
        "b_Protected.PNG": "is a protected copy",
        "cut.dat": "is damaged or incomplete",
        "empty": "is no picture",
        "inner.png": "is a folder; --recursive searches it too",
        "layers.psd": f"is a Photoshop file, {READABLE}",
        "lost.png": "is a link that leads nowhere",
        "modern": f"is an AVIF picture, {READABLE}",
        "moving.gif": f"is a GIF, {READABLE}",
        "notes.txt": "is no picture",
        "old.jp2": f"is a JPEG 2000 picture, {READABLE}",
        "phone.heic": f"is a HEIC picture, {READABLE}",
        "pipe.png": "is not a file",
        "small": "has 20 x 20 pixels; each side must have at least 64",
        "tablet.procreate": f"is a .procreate file, {READABLE}",
    }
    assert len(found.sentences) == len(found.skipped) - 3
    assert f"Skipped: moving.gif is a GIF, {READABLE}." in found.sentences
    assert found.sentences[-1] == "Skipped: 4 files, hidden or no pictures."


def test_a_file_that_is_named_is_always_taken(tmp_path: Path) -> None:
    named = fill(tmp_path, ["notes.txt", "a_protected.png", ".hidden.png", "b.jpg"])
    named += [tmp_path / "missing.png", tmp_path / ("a" * 300)]
    assert find_paintings(named) == Found(tuple(named))
    found = find_paintings([tmp_path, *named])
    assert set(found.paintings) == set(named) and found.skipped == ()
    assert find_paintings([]) == Found(())


def test_nothing_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = fill(tmp_path, ["a.png", "b.png"])
    (gif,) = fill(tmp_path, ["c.gif"], b"GIF89a")
    assert find_paintings([b, tmp_path, a, tmp_path]).paintings == (b, a)
    assert [one.path for one in find_paintings([tmp_path, b, tmp_path]).skipped] == [gif]
    monkeypatch.chdir(tmp_path)
    assert find_paintings(["b.png", b, "../" + tmp_path.name + "/b.png"]).paintings == (Path("b.png"),)


def test_recursive_searches_folders_but_no_hidden_ones_and_no_links(tmp_path: Path) -> None:
    paintings = fill(tmp_path, ["a.png", "b/c.png", "b/d/e.png", "f.png"])
    fill(tmp_path, ["b/notes.txt", ".cache/g.png"])
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = find_paintings([tmp_path, tmp_path / "b"], recursive=True)
    assert found.paintings == tuple(paintings)
    assert skipped(found) == {".cache": "is hidden", "loop": "is a link to a folder", "notes.txt": "is no picture"}
    assert [one.path.name for one in find_paintings([tmp_path, tmp_path / "b"]).skipped] == [
        ".cache",
        "d",
        "loop",
        "notes.txt",
    ]
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert find_paintings([tmp_path / "link"]).paintings == (tmp_path / "link" / "c.png",)  # one that is named is


def test_portfolios_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, ["a.png", "locked/b.png"])
    listing = Path.iterdir

    def denied(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied", "/secret/folder")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    found = find_paintings([tmp_path], recursive=True)
    assert found.paintings == (tmp_path / "a.png",)
    assert found.skipped == (Skipped(tmp_path / "locked", "cannot be opened: permission denied"),)
    with pytest.raises(PaintingError, match=r"^locked cannot be opened: permission denied\.$"):
        find_paintings([tmp_path / "locked"])
