"""The panel of the Mimicry tab that tells what is left of a protection after JPEG, resizing and cleaning."""

from collections.abc import Iterator
from contextlib import closing

import gradio as gr
import spaces

from advdm import read_painting
from advdm.files import shown
from advdm.robustness import PROTECTED, UNTOUCHED, left, noise_errors, treatments
from advdm.tables import ORIGINAL, markdown_table
from ui import shared
from ui.shared import FILES_SECONDS, LANE, MODEL, QUIET, WATCHED, give_back_memory, own, owned, said, stop_flag

HEADINGS = ("After", "What is left of the difference", "Noise error of the original", "of the protected copy")
PLACE = "robustness"
SECONDS = 45
"""Guess for ZeroGPU: two pictures after nine treatments on Stable Diffusion."""

ABOUT = f"""Platforms and imitators change a picture before a model learns from it. This does the same to both pictures
above (of several pairs, the first), and measures how wrong **{MODEL.title}** still is about each. That noise error is
what the attack raises, not yet what an imitator learns: `python -m advdm robustness` trains imitators as well."""

Errors = dict[str, dict[str, float]]


def gpu_seconds(original: str, protected: str) -> int:
    """What one table asks of ZeroGPU; takes what `measure` takes."""
    return FILES_SECONDS + SECONDS


@spaces.GPU(duration=gpu_seconds)
def measure(original: str, protected: str) -> Iterator[Errors]:
    """The noise errors so far, after each treatment."""
    with said():
        copies = {ORIGINAL: read_painting(original), PROTECTED: read_painting(protected)}
        errors: Errors = {}
        for name, row in noise_errors(copies, MODEL):
            errors[name] = row
            yield errors


def show_robustness(original: list[str], protected: list[str], request: gr.Request) -> Iterator[tuple[str, str]]:
    """How far it is, in the end what was found, and the table as it grows; of several pairs the first."""
    if not original or not protected:
        raise gr.Error("Choose an original and its protected copy.", print_exception=False)
    stop = stop_flag(own(PLACE, request))
    if stop.exists():  # pressed while this run waited in the queue
        yield "Stopped.", ""
        return
    name, total = shown(original[0]), len(treatments(MODEL))  # named, for others may have been chosen meanwhile
    yield "Measuring.", ""
    try:
        with closing(measure(original[0], protected[0])) as tables:
            for errors in tables:
                if stop.exists():
                    yield f"{name}: stopped.", table(errors)
                    return
                yield f"{name}: treatment {len(errors)} of {total}.", table(errors)
    finally:
        give_back_memory()
    yield f"{name}: {summary(errors)}", table(errors)


def table(errors: Errors) -> str:
    """As Markdown, a line for each treatment."""
    lines = []
    for name, row in errors.items():
        share = left(errors, name, PROTECTED)
        kept = "no difference to begin with" if share is None else f"{share:.0f} %, {share_in_words(share)}"
        lines.append([name, kept, f"{row[ORIGINAL]:.3f}", f"{row[PROTECTED]:.3f}"])
    return markdown_table(HEADINGS, lines)


def share_in_words(share: float) -> str:
    """What so many % left of the difference mean, as rounded beside it."""
    words = ((100, "all of it"), (80, "nearly all"), (40, "a part"), (10, "little"))
    return next((word for least, word in words if round(share) >= least), "nothing")


def summary(errors: Errors) -> str:
    """The end of a sentence on the whole table, whichever way it falls."""
    treated = [name for name in errors if name != UNTOUCHED]
    shares = {name: share for name in treated if (share := left(errors, name, PROTECTED)) is not None}
    if not shares:
        return (
            "the copy's noise error hardly differs from that of the original, so there is nothing that could be left."
        )
    weakest = min(shares, key=lambda name: shares[name])
    return f"**{weakest}** leaves least: {shares[weakest]:.0f} %, {share_in_words(shares[weakest])}."


def build_robustness_panel(original: gr.Gallery, protected: gr.Gallery) -> list[gr.Markdown]:
    """The panel with its events, on the pictures that the two inputs hold; returns what holds its findings."""
    with gr.Accordion("What is left after JPEG, resizing and cleaning?", open=False):
        gr.Markdown(ABOUT)
        with gr.Row():
            start, stop = gr.Button("Measure what is left"), gr.Button("Stop", interactive=False)
        status, result = gr.Markdown(), gr.Markdown()
    run = start.click(owned(PLACE, shared.begin), None, [status, start, stop], **QUIET).then(
        show_robustness, [original, protected], [status, result], **LANE, **WATCHED
    )
    run.success(owned(PLACE, shared.finish), None, [start, stop], **QUIET)
    run.failure(owned(PLACE, shared.fail), None, [status, start, stop], **QUIET)
    # Without its word: it may come after the last one of a run, which is short.
    stop.click(owned(PLACE, lambda request: shared.press_stop(request)[1]), None, stop, **QUIET)
    return [status, result]
