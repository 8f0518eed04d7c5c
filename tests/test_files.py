"""Names that may be shown, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advdm.errors import AdvDMError, PaintingError
from advdm.files import atomic_path, check_folder, make_folder, shown


@given(st.text(max_size=400))
def test_any_name_can_be_shown(name: str) -> None:
    text = shown(name)
    assert 0 < len(text) <= 60
    assert text.isprintable()
    assert not set(text) & set('<>:"/\\|?*')


def test_of_a_long_path_the_end_of_the_name_is_shown() -> None:
    assert shown("/secret/" + "a" * 300 + ".png").endswith("a.png")
    assert "secret" not in shown("/secret/a.png")


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "report.json") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".json")
        temporary.write_text("{}")
        assert not (tmp_path / "report.json").exists()
    (tmp_path / "plain").write_bytes(b"")
    assert sorted(os.listdir(tmp_path)) == ["plain", "report.json"]
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in os.listdir(tmp_path)}
    assert len(modes) == 1  # others may read what any program would let them read


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), PaintingError, "^a cannot be written: no space left on dev"),
        (PermissionError(errno.EACCES, "Permission denied", "/secret"), PaintingError, "written: permission denied.$"),
        (OSError("encoder error -2"), PaintingError, "^a cannot be written: "),
        (MemoryError("x"), MemoryError, "x"),
        (KeyboardInterrupt("x"), KeyboardInterrupt, "x"),
    ],
)
def test_nothing_half_written_is_left(
    tmp_path: Path, error: BaseException, raised: type[BaseException], words: str
) -> None:
    (tmp_path / "a").write_bytes(b"earlier")
    with pytest.raises(raised, match=words), atomic_path(tmp_path / "a", PaintingError) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for place, words in (
        ("missing/out", "^out cannot be written: its folder does not exist.$"),
        ("file/out", "^out cannot be written: not a directory.$"),
        ("folder", "^folder cannot be written: is a directory.$"),
    ):
        with pytest.raises(AdvDMError, match=words), atomic_path(tmp_path / place) as temporary:
            temporary.write_bytes(b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_portfolios_are_made_or_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    check_folder(tmp_path / "new" / "deep")
    make_folder(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").is_dir()
    with pytest.raises(AdvDMError, match="is a file, not a folder"):
        check_folder(tmp_path / "file" / "deep")
    with pytest.raises(AdvDMError, match="The folder deep cannot be made: not a dir"):
        make_folder(tmp_path / "file" / "deep")
