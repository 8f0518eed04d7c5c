"""What the commands say on the terminal, beside a bar if there is one, and how they read what is named there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from advdm.errors import AdvDMError
from advdm.files import shown

if TYPE_CHECKING:
    from accelerate import PartialState

    from advdm.paintings import Painting


def say(sentence: str) -> None:
    """One line on stderr, beside a bar if there is one."""
    tqdm.write(sentence, file=sys.stderr)


def say_once(sentence: str) -> None:
    """The same of what every process of `accelerate launch` sees: only the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        say(sentence)


def progress(total: int, quiet: bool = False) -> Any:
    """A bar on a terminal; where stderr is none, it holds sentences and no bar."""
    return tqdm(total=total, unit=" steps", leave=False, dynamic_ncols=True, disable=quiet or None)


def read_aloud(path: Path, say: Callable[[str], None] = say_once) -> Painting:
    """The painting, and to the terminal what had to be changed in it."""
    from advdm.paintings import read_painting

    painting = read_painting(path)
    for note in painting.notes:
        say(f"{shown(path)}: {note}")
    return painting


def found_aloud(
    paths: Sequence[Path], recursive: bool = False, used: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """The pictures at these paths, at least one, and to the terminal what was skipped of folders, and why.

    What is `used` otherwise is neither.
    """
    from advdm.portfolios import find_paintings, sentences

    found, skipped = find_paintings(paths, recursive)
    paintings = [path for path in found if not used(path)]
    for sentence in sentences({path: why for path, why in skipped.items() if not used(path)}):
        say_once(sentence)
    if not paintings:
        raise AdvDMError(f"There is no picture in {', '.join(map(shown, paths))}.")
    return paintings


def processes(device: str) -> PartialState:
    """This process among those of `accelerate launch`; chooses its card."""
    from datetime import timedelta

    from accelerate import PartialState

    # One may wait for another's paintings for days.
    return PartialState(cpu=device == "cpu", timeout=timedelta(days=30))
