"""What is taken of a folder, and that everything else in it is named once, with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from advdm.errors import PaintingError
from advdm.portfolios import find_paintings, sentences
from tests.picture_files import RGB, encoded

PNG = encoded(RGB)
READABLE = "which cannot be read; save it as PNG or JPEG first"
SKIPPED = {
    "._a.png": (PNG, "is hidden"),
    "a_protected.png": (PNG, "is a protected copy"),
    "b_Protected.PNG": (PNG, "is a protected copy"),
    "cut.dat": (PNG[:200], "is damaged or incomplete"),
    "empty": (b"", "is no picture"),
    "inner.png/deep.png": (PNG, "is a folder; --recursive searches it too"),
    "modern": (encoded(RGB, "AVIF"), f"is an AVIF picture, {READABLE}"),
    "moving.gif": (encoded(RGB, "GIF"), f"is a GIF, {READABLE}"),
    "notes.txt": (b"BM is how these notes begin", "is no picture"),
    "small": (encoded(RGB[:20, :20]), "has 20 x 20 pixels; each side must have at least 64"),
    "tablet.procreate": (b"PK\3\4" + bytes(99), f"is a .procreate file, {READABLE}"),
}


def fill(folder: Path, files: Iterable[str], data: bytes = b"") -> list[Path]:
    paths = [folder / file for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return paths


def reasons(skipped: dict[Path, str]) -> dict[str, str]:
    return {path.name: why for path, why in skipped.items()}


def test_pictures_are_known_by_their_suffix_or_content(tmp_path: Path) -> None:
    named = fill(tmp_path, ["b.JPG", "a.png", "c.jpeg", "d.WebP", "e.tif", "f.TIFF", "g.bmp", "h.jfif"])  # all empty
    known = fill(tmp_path, ["harvest", "harvest.bak", "scan.data"], PNG)
    assert find_paintings([str(tmp_path)]) == (sorted(named + known), {})


def test_everything_else_is_named_with_its_reason(tmp_path: Path) -> None:
    for name, (data, _) in SKIPPED.items():
        fill(tmp_path, [name], data)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    paintings, skipped = find_paintings([tmp_path])
    wanted = {name.split("/")[0]: reason for name, (_, reason) in SKIPPED.items()}
    assert reasons(skipped) == wanted | {"lost.png": "is a link that leads nowhere", "pipe.png": "is not a file"}
    assert paintings == []
    told = sentences(skipped)
    assert len(told) == len(skipped) - 2
    assert f"Skipped: moving.gif is a GIF, {READABLE}." in told
    assert told[-1] == "Skipped: 3 files, hidden or no pictures."


def test_a_file_that_is_named_is_always_taken(tmp_path: Path) -> None:
    named = fill(tmp_path, ["notes.txt", "a_protected.png", ".hidden.png", "b.jpg"])
    named += [tmp_path / "missing.png", tmp_path / ("a" * 300)]
    assert find_paintings(named) == (named, {})
    paintings, skipped = find_paintings([tmp_path, *named])
    assert set(paintings) == set(named) and skipped == {}


def test_nothing_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = fill(tmp_path, ["a.png", "b.png"])
    (gif,) = fill(tmp_path, ["c.gif"], b"GIF89a")
    paintings, skipped = find_paintings([b, tmp_path, a, tmp_path])
    assert (paintings, list(skipped)) == ([b, a], [gif])
    monkeypatch.chdir(tmp_path)
    assert find_paintings(["b.png", b, "../" + tmp_path.name + "/b.png"]) == ([Path("b.png")], {})


def test_recursive_searches_folders_but_no_hidden_ones_and_no_links(tmp_path: Path) -> None:
    paintings = fill(tmp_path, ["a.png", "b/c.png", "b/d/e.png", "f.png"])
    fill(tmp_path, ["b/notes.txt", ".cache/g.png"])
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found, skipped = find_paintings([tmp_path, tmp_path / "b"], recursive=True)
    assert found == paintings
    assert reasons(skipped) == {".cache": "is hidden", "loop": "is a link to a folder", "notes.txt": "is no picture"}
    _, flat = find_paintings([tmp_path, tmp_path / "b"])
    assert [*reasons(flat)] == [".cache", "d", "loop", "notes.txt"], "but not b, which is named"


def test_a_link_to_a_folder_that_is_named_is_searched(tmp_path: Path) -> None:
    fill(tmp_path, ["b/c.png"])
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert find_paintings([tmp_path / "link"]) == ([tmp_path / "link" / "c.png"], {})


def test_folders_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (painting, _) = fill(tmp_path, ["a.png", "locked/b.png"])
    listing = Path.iterdir

    def denied(folder: Path) -> object:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied", "/secret/folder")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    locked = {tmp_path / "locked": "cannot be opened: permission denied"}
    assert find_paintings([tmp_path], recursive=True) == ([painting], locked)
    with pytest.raises(PaintingError, match=r"^locked cannot be opened: permission denied\.$"):
        find_paintings([tmp_path / "locked"])
