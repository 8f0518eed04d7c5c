"""Where the commands write: never over a painting, and refused before the long work where it cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from advdm.errors import AdvDMError
from advdm.files import atomic_path, check_folder, clean, make_folder, shown

Report = dict[str, Any]
"""What becomes one JSON object."""


def plan_outputs(sources: Sequence[Path], output: Path | None, roots: Sequence[Path] = ()) -> dict[Path, Path]:
    """Where each painting goes: no two into one file, and none over a painting.

    In a folder `output` the folders within the roots, the folders that were named, come again.
    """
    from advdm.formats import SUFFIXES

    if output and output.suffix.lower() in SUFFIXES and not os.path.isdir(output):
        check_output(output, sources)
        return {sources[0]: output}
    taken = set(map(place, sources))
    outputs = {}
    for source in sources:
        root = next((root for root in roots if source.is_relative_to(root)), source.parent)
        folder = output / source.parent.relative_to(root) if output else source.parent
        paths = (folder / name for name in names_for(source))
        outputs[source] = next(path for path in paths if place(path) not in taken)
        taken.add(place(outputs[source]))
    return outputs


def names_for(source: Path) -> Iterator[str]:
    """harvest_protected.png, harvest_jpg_protected.png, harvest_jpg_2_protected.png, ..."""
    # Cut as bytes, of which file systems allow 255; what is no text is dropped.
    stem = os.fsencode(clean(source.stem))[:200].decode(errors="ignore")
    tagged = f"{stem}_{clean(source.suffix[1:])[:10]}"
    stems = chain((stem, tagged), (f"{tagged}_{number}" for number in count(2)))
    return (f"{stem}_protected.png" for stem in stems)


def check_output(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".png":
        raise AdvDMError(f"{shown(path)} must be a .png: lossy formats like JPEG weaken the protection.")
    if len(sources) > 1:
        raise AdvDMError(f"{shown(path)} is one file for {len(sources)} paintings; name a folder instead.")
    if place(path) == place(sources[0]):
        raise AdvDMError(f"{shown(path)} is the painting itself; choose another name.")
    check_folder(path.parent)


def check_report(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".json":
        raise AdvDMError(f"The report {shown(path)} must be a .json.")
    if place(path) in map(place, sources):
        raise AdvDMError(f"The report {shown(path)} would replace a painting; choose another name.")
    if path.is_dir():
        raise AdvDMError(f"The report {shown(path)} is a folder; choose another name.")
    check_folder(path.parent)


def check_apart(output: Path, folders: Iterable[Path]) -> None:
    """What is written must not land among the paintings."""
    if place(output) in map(place, folders):
        raise AdvDMError(f"The folder {shown(output.resolve())} holds the paintings; choose another.")
    check_folder(output)


def place(path: Path) -> str:
    """Equal for two paths that may lead to the same file: some file systems ignore case."""
    return os.path.realpath(path).casefold()


def write_report(path: Path, report: Report | list[Report]) -> None:
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
