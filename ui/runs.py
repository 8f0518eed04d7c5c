"""One run of the page: its folder, its Stop, its errors in words; Protect and Mimicry share it.

All files of the app lie in one folder of its own, which a thread empties of what is old, and which goes with the app.
"""

import atexit
import ctypes
import html
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import gradio as gr
import spaces
from gradio.utils import get_upload_folder

from advdm import AdvDMError, LatentDiffusion, load_model
from advdm.files import make_folder, reason

KEPT, CHECKED = 50 * 60, 5 * 60
"""Seconds that a file is kept after its last use, and between two looks: gone within the hour."""
LANE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
"""Of the events that work with the model, one at a time."""
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of the page's small events."""

HIDDEN, VISIBLE = gr.update(visible=False), gr.update(visible=True)
Moment = TypeVar("Moment")
Moments: TypeAlias = Generator[Moment, None, None]
BUSY: dict["Run", set[Path]] = {}
"""What the runs in progress need; it is never old."""


def one_thread() -> ThreadPoolExecutor:
    """For all that works with the model, and gone with its block.

    OpenMP keeps helpers for every thread that ever computed. With more of them than cores it lets none wait awake, and
    an imitator learns half as fast.
    """
    return ThreadPoolExecutor(1)


@cache
def model() -> LatentDiffusion:
    """The app's model; app.py loads it before it serves. Raises ModelError."""
    with one_thread() as thread:
        return thread.submit(load_model).result()


def make_home() -> Path:
    """A new folder within Gradio's own, from now on for all uploads and results; it goes with the app."""
    parent = Path(get_upload_folder()).resolve()
    make_folder(parent)
    home = Path(tempfile.mkdtemp(prefix="advdm-", dir=parent))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(home)
    return home


def part_of_the_page(folder: Path) -> list[str]:
    """Copies of the files in `folder` that stay as long as the app."""
    there = Path(get_upload_folder()) / "page"
    shutil.copytree(folder, there, dirs_exist_ok=True)
    return [str(path) for path in sorted(there.iterdir())]


def clean(home: Path, before: float) -> None:
    """Delete what nobody has touched since `before`, in seconds, except what the page or a run in progress needs."""
    needed = {home / "page"}.union(*list(BUSY.values()))
    for path in sorted(home.rglob("*"), reverse=True):  # what lies in a folder comes before it
        with suppress(OSError):  # a folder that is not empty, or a file that has gone meanwhile
            if path.stat().st_mtime < before and needed.isdisjoint((path, *path.parents)):
                path.rmdir() if path.is_dir() else path.unlink()


def keep_cleaning(home: Path) -> None:
    """From now on delete what is old."""

    def work() -> None:
        while True:
            time.sleep(CHECKED)
            with suppress(OSError):
                clean(home, time.time() - KEPT)

    threading.Thread(target=work, daemon=True).start()


@dataclass(frozen=True)
class Run:
    """One run has a folder. Stop is a file in it, because on ZeroGPU another process does the work."""

    folder: Path

    @classmethod
    def new(cls) -> "Run":
        return cls(Path(get_upload_folder()) / f"run-{secrets.token_hex(8)}")

    @property
    def stopped(self) -> bool:
        return (self.folder / "stop").exists()

    def stop(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "stop").touch()

    def keep_only(self, *paths: str | None) -> None:
        """Delete what else lies in the folder."""
        for file in self.folder.iterdir() if self.folder.exists() else ():
            if str(file) not in paths:
                file.unlink()

    @contextmanager
    def working(self, *inputs: str | None) -> Iterator[None]:
        """Within the block neither the folder nor the inputs grow old. A run that fails leaves no folder behind."""
        BUSY[self] = {self.folder, *(Path(path) for path in inputs if path)}
        try:
            with errors_in_words():
                self.folder.mkdir(exist_ok=True)
                yield
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        finally:
            del BUSY[self]
            give_back_memory()


def give_back_memory() -> None:
    """Return freed memory to the system: glibc would keep some 45 MB more after each round of twenty visitors."""
    with suppress(OSError, AttributeError):  # another system, another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Whatever the library refuses becomes its sentence on the page, and so does a disk that is full."""
    try:
        yield
    except AdvDMError as error:
        raise not_possible(str(error)) from error
    except OSError as error:
        raise not_possible(f"The pictures cannot be written on this machine: {reason(error)}.") from error


def not_possible(sentence: str) -> gr.Error:
    """To be raised; the page shows the sentence."""
    return gr.Error(sentence, title="Not possible", print_exception=False)


@spaces.GPU(duration=lambda seconds, *_: seconds)
def on_gpu(seconds: int, work: Callable[..., Moments[Moment]], *given: Any) -> Moments[Moment]:
    """What `work` yields. On ZeroGPU it runs in another process, for at most so many seconds of the visitor's day."""
    moments = work(*given)
    with errors_in_words(), one_thread() as thread:
        try:
            while (moment := thread.submit(next, moments, None).result()) is not None:
                yield moment
        except RuntimeError as error:
            if "new futures" not in str(error):
                raise
            raise not_possible("The app is being ended.") from None
        finally:
            with suppress(RuntimeError):  # as then
                thread.submit(moments.close).result()


def number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def as_whole(number: float | None) -> Any:
    """8.0 as 8 and an empty box as 0; what is not whole stays, for the settings to refuse."""
    number = number or 0
    return int(number) if float(number).is_integer() else number


def say(text: str, share: float | None = None) -> dict[str, str]:
    """What `status_line` shows: a sentence, and a bar while something is under way."""
    bar = "" if share is None else f"<progress value='{share:.3f}' aria-label='Done so far'></progress>"
    return {"text": html.escape(text), "bar": bar}


def status_line(text: str) -> gr.HTML:
    """The line that tells how a run stands."""
    template = "<p role='status' aria-label='Status'>${value.text}</p>${value.bar}"
    return gr.HTML(say(text), html_template=template, elem_classes="status", min_height=32)


def wire(
    stop: gr.Button,
    status: gr.HTML,
    outputs: tuple[Any, ...],
    *starts: tuple[gr.Button, Callable[..., Any], Sequence[Any]],
) -> list[Any]:
    """Start and Stop, alike on both tabs: of each start the button, show(run, *inputs), which yields what the outputs
    show, and the inputs. Returns the last event of each that ends well."""
    run, buttons, ends = gr.State(), [start for start, *_ in starts], []
    focus = "document.getElementById('{}').focus()"
    # Whoever works by keyboard goes on from where he was: a button that is switched off loses the focus.
    lost = f"[document.body, document.getElementById('{stop.elem_id}')].includes(document.activeElement)"

    def switch(at_work: bool) -> list[Any]:
        return [gr.update(value="Stop", interactive=at_work), *[gr.update(interactive=not at_work) for _ in buttons]]

    def begin() -> list[Any]:
        return [Run.new(), say("Waiting for its turn."), *switch(True)]

    for start, show, inputs in starts:
        begun = start.click(begin, None, [run, status, stop, *buttons], **QUIET)
        begun.then(None, js=f"() => {focus.format(stop.elem_id)}")
        how = {**LANE, "show_progress_on": status, "api_visibility": "private"}
        shown = begun.then(answered(show, type(outputs)), [run, *inputs], outputs, **how)
        shown.failure(lambda: say("Nothing was done."), None, status, **QUIET)
        for after in (shown.failure, shown.success):  # Gradio's `then` does not follow a failure
            end = after(lambda: switch(False), None, [stop, *buttons], **QUIET)
            end.then(None, js=f"() => {{ if ({lost}) {focus.format(start.elem_id)} }}")
        ends.append(end)
    stop.click(press_stop, run, [status, stop], **QUIET)
    return ends


def answered(show: Callable[..., Iterator[Any]], shown: Callable[[Any], Any]) -> Callable[..., Iterator[Any]]:
    """`show` on the page: nothing begins that was stopped in the queue, and a refusal stays in the status line."""

    @wraps(show)
    def answers(run: Run | None, *given: Any) -> Iterator[Any]:
        try:
            if run and run.stopped:
                yield shown(say("Stopped before it began."))
            else:
                yield from show(run or Run.new(), *given)
        except gr.Error as error:
            yield shown(say(error.message))

    return answers


def press_stop(run: Run | None) -> tuple[Any, Any]:
    """A run in progress says itself that it stops: a line from here might come after its last."""
    line = gr.skip() if run is None or run in BUSY else say("Stopped: it will not begin.")
    if run:
        run.stop()
    return line, gr.update(value="Stopping", interactive=False)
