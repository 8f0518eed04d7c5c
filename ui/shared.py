"""What every tab needs: the model, files for the page, and a way to stop."""

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from advdm import AdvDMError, ModelError, Painting, load_model
from advdm.files import reason

SHOWN_SIDE = 2000
"""Pixels a side up to which the page shows a picture at full resolution."""
ON_ZERO = os.getenv("SPACES_ZERO_GPU", "").lower() in ("1", "true")
ANONYMOUS_SECONDS = 80
"""The longest call that ZeroGPU admits for a visitor without an account."""
FILES_SECONDS = 15
"""Generous guess for ZeroGPU: all reading, judging and writing of a run."""
WAITING = "Waiting for a free place."
LANE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""Of the events that work with the model, one at a time."""
WATCHED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
QUIET: dict[str, Any] = {"queue": False, **WATCHED}
"""Of an event without the queue the page shows no message when it fails."""
NOT_TAKEN = "Not taken; the message on the page says why."
"""Of a file when the queue was full just as it came, for one."""

try:
    MODEL = load_model()
except ModelError as error:
    print(error, file=sys.stderr)
    sys.exit(2)


@contextmanager
def said() -> Iterator[None]:
    """Whatever the library refuses becomes its sentence on the page, and so does a disk that is full."""
    try:
        yield
    except AdvDMError as error:
        raise gr.Error(str(error), title="Not possible", print_exception=False) from error
    except OSError as error:
        sentence = f"The pictures cannot be written on this machine: {reason(error)}."
        raise gr.Error(sentence, title="Not possible", print_exception=False) from error


RUN = f"tmp{os.getpid()}-"
"""Begins the names of all that this app itself puts into Gradio's cache, which others of it may share."""


class RunFiles(set[str]):
    """The files of all runs, and what asks them to stop, for Gradio to delete in time; it holds nothing itself.

    Gradio by itself forgets what a component showed as soon as an update of it goes to a visitor, as gr.skip() is one.
    """

    def __iter__(self) -> Iterator[str]:
        cache = Path(get_upload_folder())
        return map(str, chain(cache.glob(f"{RUN}*/*"), cache.glob(f"{RUN}stop-*")))


RUN_FILES = RunFiles()


@contextmanager
def run_folder() -> Iterator[Path]:
    """A fresh folder in Gradio's cache, whose files are deleted in time; a run that fails leaves nothing."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    remove_empty_folders()
    folder = Path(tempfile.mkdtemp(prefix=RUN, dir=cache))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        give_back_memory()


def remove_empty_folders() -> None:
    """Of runs whose files are deleted; Gradio knows only the files."""
    for folder in Path(get_upload_folder()).glob(f"{RUN}*/"):
        with suppress(OSError):  # not empty
            folder.rmdir()


def keep(paths: Iterable[str | Path]) -> None:
    """Begin the time of a run's files anew: it may last longer than Gradio keeps what nobody touches."""
    for path in paths:
        with suppress(OSError):  # already deleted, or not ours
            os.utime(path)


def give_back_memory() -> None:
    """Return to the system what a run has freed: glibc keeps it in a heap of each thread, some 45 MB more each round
    of twenty visitors."""
    with suppress(OSError, AttributeError):  # another system, another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def stop_flag(request: gr.Request) -> Path:
    """The file that stops this visitor's run; a file, because on ZeroGPU the work is done in another process."""
    session = hashlib.sha256(str(request.session_hash).encode()).hexdigest()
    return Path(get_upload_folder()) / f"{RUN}stop-{session}"


def own(place: str, request: gr.Request) -> Any:
    """The visitor as one place on the page knows them, so that its Stop stops nothing that runs for another."""
    return SimpleNamespace(session_hash=f"{place} {request.session_hash}")


def owned(place: str, function: Callable[[Any], Any]) -> Callable[[gr.Request], Any]:
    """One of the events below, for one place on the page."""

    def call(request: gr.Request) -> Any:
        return function(own(place, request))

    return call


def as_whole(number: float) -> Any:
    """8.0 as 8; what is not whole stays, for the settings to refuse."""
    return int(number) if float(number).is_integer() else number


def in_words(seconds: float) -> str:
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"


def pace(moments: Sequence[tuple[int, float]]) -> float | None:
    """Seconds a step, from the steps done and the time of each moment; the first also took what it takes to begin."""
    (first, since), (last, until) = moments[0], moments[-1]
    return (until - since) / (last - first) if last > first else None


def begin(request: gr.Request) -> tuple[str, Any, Any]:
    """Before a run: status line, start button off, Stop on."""
    stop_flag(request).unlink(missing_ok=True)
    return WAITING, gr.update(interactive=False), gr.update(interactive=True)


def press_stop(request: gr.Request) -> tuple[str, Any]:
    """Status line, Stop off."""
    stop_flag(request).touch()
    return "Stopping.", gr.update(interactive=False)


def finish(request: gr.Request) -> tuple[Any, Any]:
    """After a run: start button on, Stop off."""
    stop_flag(request).unlink(missing_ok=True)
    return gr.update(interactive=True), gr.update(interactive=False)


def fail(request: gr.Request) -> tuple[str, Any, Any]:
    """After a run that was refused: status line, start button on, Stop off."""
    return "Nothing was done.", *finish(request)


def write_picture(levels: np.ndarray, like: Painting, path: str | Path, side: int = SHOWN_SIDE) -> str:
    """Write `levels` for the page, with the profile and alpha of `like`, reduced to `side` pixels if larger."""
    picture = Image.fromarray(levels[..., 0] if like.grey else levels)
    if like.alpha is not None:
        picture.putalpha(Image.fromarray(like.alpha))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(path, icc_profile=like.icc_profile)
    return str(path)
