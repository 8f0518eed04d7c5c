"""Names that may be shown, and files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advdm.errors import AdvDMError
from advdm.files import atomic_path, make_folder, shown


@given(st.text(max_size=400))
def test_any_name_can_be_shown(name: str) -> None:
    text = shown(name)
    assert 0 < len(text) <= 60
    assert text.isprintable()
    assert not set(text) & set('<>:"/\\|?*')


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "report.json") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".json")
        temporary.write_text("{}")
        assert not (tmp_path / "report.json").exists()
    (tmp_path / "plain").touch()
    assert sorted(os.listdir(tmp_path)) == ["plain", "report.json"]
    assert len({stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}) == 1, "others may read it, too"


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place, words in (
        ("missing/out", "^out cannot be written: its folder does not exist.$"),
        ("file/out", "^out cannot be written: not a directory.$"),
        ("folder", "^folder cannot be written: is a directory.$"),
    ):
        with pytest.raises(AdvDMError, match=words), atomic_path(tmp_path / place) as temporary:
            temporary.touch()
    with pytest.raises(AdvDMError, match=r"^The folder deep cannot be made: not a directory\.$"):
        make_folder(tmp_path / "file" / "deep")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
