"""Which files of a folder are paintings, and why the others are not: nothing is passed over in silence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from advdm.errors import PaintingError
from advdm.files import StrPath, reason, shown
from advdm.formats import ACCEPTED, SUFFIXES, UNREADABLE, check_painting, foreign_kind

HIDDEN = "is hidden"
NO_PICTURE = "is no picture"
# Pictures that the first bytes of the file may not tell.
OTHER_SUFFIXES = frozenset({
    ".afphoto", ".arw", ".avif", ".clip", ".cr2", ".dng", ".eps", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".kra",
    ".nef", ".ora", ".pcx", ".ppm", ".procreate", ".psb", ".psd", ".raw", ".sai", ".sai2", ".svg", ".tga", ".xcf",
})  # fmt: skip


def find_paintings(paths: Iterable[StrPath], recursive: bool = False) -> tuple[list[Path], dict[Path, str]]:
    """The paintings at these paths, and why each other file of the folders is skipped; in order, none twice.

    Files as named, whatever they are; of folders, the pictures in them, known by suffix or by content. With
    `recursive`, folders within folders are searched too, except hidden ones and links. Raises `PaintingError` if a
    folder that is named cannot be opened.
    """
    taken: dict[str, Path] = {}
    skipped: dict[str, tuple[Path, str]] = {}
    named = [Path(path) for path in paths]
    for path in named:
        try:
            for one, why in _within(path, recursive) if os.path.isdir(path) else ((path, ""),):
                if why:
                    skipped.setdefault(os.path.abspath(one), (one, why))
                else:
                    taken.setdefault(os.path.abspath(one), one)
        except OSError as error:
            raise PaintingError(f"{shown(path)} cannot be opened: {reason(error)}.") from error
    done = taken.keys() | set(map(os.path.abspath, named))
    return list(taken.values()), {one: why for place, (one, why) in skipped.items() if place not in done}


def sentences(skipped: Mapping[Path, str]) -> list[str]:
    """Why each file was skipped, for the painter; hidden files and files that are no pictures are counted."""
    named = {path: why for path, why in skipped.items() if why not in (HIDDEN, NO_PICTURE)}
    said = [f"Skipped: {shown(path)} {why}." for path, why in named.items()]
    if others := len(skipped) - len(named):
        files = "1 file that is hidden or no picture" if others == 1 else f"{others} files, hidden or no pictures"
        said.append(f"Skipped: {files}.")
    return said


def why_skipped(path: Path) -> str:
    """Why this file is not taken when it is found in a folder; empty if it is taken.

    A picture by its suffix is taken whatever it holds, so that one that is damaged counts as a failure.
    """
    name, suffix = path.name.lower(), path.suffix.lower()
    if name.startswith("."):
        return HIDDEN
    if os.path.isdir(path):
        return "is a link to a folder" if path.is_symlink() else "is a folder; --recursive searches it too"
    if not os.path.isfile(path):
        return "is not a file" if os.path.exists(path) else "is a link that leads nowhere"
    if name.endswith("_protected.png"):
        return "is a protected copy"
    if suffix in SUFFIXES:
        return ""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
        if ACCEPTED.match(head):
            check_painting(path)
            return ""
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    except PaintingError as error:
        return str(error).removeprefix(f"{shown(path)} ").removesuffix(".")
    if kind := foreign_kind(head) or (suffix in OTHER_SUFFIXES and f"a {suffix} file"):
        return f"is {kind}, which {UNREADABLE}"
    return NO_PICTURE


def _within(folder: Path, recursive: bool) -> Iterator[tuple[Path, str]]:
    """What lies in a folder, each with why it is skipped; nothing if it is taken."""
    for path in sorted(folder.iterdir()):
        if recursive and os.path.isdir(path) and not path.is_symlink() and not path.name.startswith("."):
            try:
                yield from _within(path, recursive)
            except OSError as error:
                yield path, f"cannot be opened: {reason(error)}"
        else:
            yield path, why_skipped(path)
