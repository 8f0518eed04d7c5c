"""What the Protect tab does: paintings go in, protected paintings come out."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import gradio as gr
import numpy as np

from advdm import Painting, Settings, read_painting
from advdm.files import shown
from advdm.paintings import Levels, is_grey
from advdm.portfolios import sentences, why_skipped
from advdm.settings import FAINT
from advdm.visibility import word
from ui import expected
from ui.attack import Moment, Order, Result, attack
from ui.pace import Clock, attacking, gpu_seconds, time_of
from ui.runs import HIDDEN, VISIBLE, Run, model, not_possible, number_of, on_gpu, say
from ui.uploads import SHOWN_SIDE, objection, under_the_brush

EFFORTS = {"Quick": (25, 1), "Thorough": (100, 4)}
"""(steps, samples)."""
SMALL = 200
"""Pixels of a short side: a smaller picture has no details to hide the change in."""
AMPLIFIED = 10
"""How many times the change is enlarged to be seen."""
CHOOSE = "Choose a painting, or one of the examples."


class Shown(NamedTuple):
    """What a run puts on the page, in the order of its outputs; what is not given stays as it is."""

    status: Any = gr.skip()
    protected: Any = gr.skip()
    copies: Any = gr.skip()
    report: Any = gr.skip()
    summary: Any = gr.skip()
    slider: Any = gr.skip()
    change: Any = gr.skip()
    welcome: Any = gr.skip()
    single: Any = gr.skip()
    several: Any = gr.skip()
    pair: Any = gr.skip()


def show(run: Run, many: bool, files: list[str] | None, brush: Any, *wishes: Any) -> Iterator[Shown]:
    """Protect one painting, or many, as the tab has it."""
    order = Order(*wishes)
    if not (files if many else order.painting):
        raise not_possible("Choose a painting first.")
    return show_several(run, files, order) if many and files else show_one(run, order, brush)


def show_one(run: Run, order: Order, brush: Any) -> Iterator[Shown]:
    """Previews about every second, then the result, also of a stopped run."""
    with run.working(order.painting, order.mask, order.target):
        steps = order.settings.steps
        original = read_painting(order.painting)
        before = str(original.save(run.folder / "original.png", SHOWN_SIDE))
        gone = gr.update(value=None, interactive=False)
        yield Shown(
            say("Starting.", 0), gone, copies=None, report=None, summary="", change=None, single=HIDDEN, several=HIDDEN
        )
        started = time.monotonic()
        for moment, line in follow(run, order, brush, run.folder):
            slider = (before, moment.preview) if moment.preview else gr.skip()
            yield Shown(line, slider=slider, welcome=HIDDEN, single=VISIBLE)
        result, seconds = moment.result, time.monotonic() - started
        assert result is not None
        copy = read_painting(result.protected)
        after = str(copy.save(run.folder / "protected.png", SHOWN_SIDE))
        done = result.settings.steps
        how = "Done after" if done == steps else f"Stopped after {done} of"
        less = "" if done == steps else " It protects less than a finished copy."
        end = f"{how} {number_of(steps, 'step')}: {shown(order.painting)}.{less}"
        yield Shown(
            say(end + unchanged(result)),
            gr.update(value=result.protected, interactive=True),
            report=result.report(order, brush, seconds),
            summary="\n\n".join(
                filter(None, [*summary(result, order, brush, original), *original.notes, reduced(original)])
            ),
            slider=(before, after),
            change=details(original, copy, run.folder),
            welcome=HIDDEN,  # again, for another painting may have been chosen meanwhile
            single=VISIBLE,
            pair=(order.painting, result.protected),
        )


def show_several(run: Run, files: Sequence[str], order: Order) -> Iterator[Shown]:
    """One after another with the same settings: one that fails does not stop the others, and is named."""
    with run.working(*files, order.target):
        _ = order.settings  # refuses, before the first painting, what is out of range
        reasons = {path: why_skipped(Path(path)) for path in files}
        lines, copies = sentences({Path(path): why for path, why in reasons.items() if why}), list[str]()
        yield Shown(
            say("Starting.", 0), copies=None, summary=listed(lines), welcome=HIDDEN, single=HIDDEN, several=VISIBLE
        )
        paintings = [path for path, why in reasons.items() if not why]
        for number, path in enumerate(paintings):
            folder = run.folder / str(number)
            folder.mkdir()
            place = number, len(paintings)
            try:
                for moment, line in follow(run, order._replace(painting=path, mask=None), None, folder, place):
                    result = moment.result
                    yield Shown(line)
            except gr.Error as error:
                lines.append(f"Not done: {error.message}")
            else:
                assert result is not None
                copies.append(result.protected)
                lines.append(f"{shown(path)}: {visible(result)}{unchanged(result)}")
            yield Shown(copies=[*copies], summary=listed(lines))
            if run.stopped:
                break
        end = f"{'Stopped' if run.stopped else 'Done'}: {len(copies)} of {number_of(len(files), 'file')} protected."
        archive = [zipped(copies, run.folder / "protected.zip")] if len(copies) > 1 else []
        yield Shown(say(end), copies=[*archive, *copies])


def follow(
    run: Run, order: Order, brush: Any, folder: Path, place: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Moment, Any]]:
    """Each moment of one attack, and how it stands in words; place is the painting's number, of how many."""
    steps, (number, count) = order.steps, place
    work = attacking(steps, order.samples, order.objective)
    ((kind, _),) = work.items()
    clock, which = Clock(work), f"Painting {number + 1} of {count}, {shown(order.painting)}. " if count > 1 else ""
    with closing(on_gpu(gpu_seconds(work), attack, order, brush, folder, run)) as moments:
        for moment in moments:
            left, share = clock.tick(kind, moment.done / steps)
            line = f"Step {moment.done} of {steps}{left}." if moment.preview else "Writing the copy."
            yield moment, say(which + ("Stopping." if run.stopped else line), (number + share) / count)


def protect(*wishes: Any) -> Iterator[tuple[str | None, dict[str, Any] | None]]:
    """Protect a painting from diffusion mimicry: the protected PNG, and a report measured on that file.

    painting: PNG, JPEG, WebP, TIFF or BMP. mask: a picture of the same size, white where it may change, black where it
    may not. strength: how visible the change may become; it chooses epsilon for this painting. epsilon: largest change
    of any channel of any pixel, in 8-bit levels; 0 leaves it to the strength. steps: sign-gradient steps. samples:
    Monte-Carlo samples averaged in each step. step_size: in 8-bit levels, 0 for an eighth of epsilon. objective: what
    the attack pushes on. target: for textural, mist and ace a picture to drive to. even: spend epsilon evenly.
    as_published: the paper's algorithm and nothing else. seed: the same seed and settings give the same file.
    The report holds the settings as used, seconds, max_change (8-bit levels), visibility (10 for no difference), psnr
    (dB) and ssim.
    """
    run, protected, report = Run.new(), None, None
    for page in show(run, False, None, None, *wishes):
        if page.report not in (None, gr.skip()):
            protected, report = page.protected["value"], page.report
        yield protected, report  # each time, so that a client who leaves is noticed
    run.keep_only(protected)  # the page's pictures, which nobody sees here


protect.__signature__ = signature(Order)  # type: ignore[attr-defined]  # the names of the API's parameters


def summary(result: Result, order: Order, brush: Any, original: Painting) -> list[str]:
    """The result in a few sentences."""
    used, found = result.settings, result.comparison
    by = "" if order.epsilon else f", chosen for this painting by {order.strength.capitalize()}"
    psnr = f"{found.psnr:.1f} dB" if math.isfinite(found.psnr) else "infinite"
    numbers = f"Epsilon {used.epsilon}{by} · largest change {found.max_change} of 255 levels · PSNR {psnr}"
    usual = Settings(epsilon=used.epsilon, steps=used.steps, samples=used.samples, seed=used.seed)
    all_of_it = order.mask is None and brush is None and not is_grey(original.levels)
    as_measured = used == usual and not order.epsilon and all_of_it
    hope = expected.sentence(model().name, order.strength, used.steps, used.samples) if as_measured else ""
    coarse = "A picture this small is changed coarsely." if min(original.size) < SMALL else ""
    return [f"**{visible(result)}**", hope, coarse, f"{numbers} · SSIM {found.ssim:.3f}", *original.notes]


def visible(result: Result) -> str:
    seen = result.comparison.visibility
    faint = " So faint a change may protect little." if seen > FAINT and result.comparison.max_change else ""
    scale = "where 10 is no difference, and at 9 three people in four tell which was changed"
    return f"{word(seen).capitalize()} at 100 % zoom: {seen:.1f} of 10, {scale}.{faint}"


def unchanged(result: Result) -> str:
    """Where less than half a level was changed, the saved copy is the original."""
    return "" if result.comparison.max_change else " The copy came out unchanged: it protects nothing."


def reduced(painting: Painting) -> str:
    if max(painting.size) <= SHOWN_SIDE:
        return ""
    middle = "under 'The change' its middle at 100 %"
    return f"Shown reduced to {SHOWN_SIDE} pixels, and {middle}. The download has the full size."


def details(original: Painting, copy: Painting, folder: Path) -> list[tuple[str, str]]:
    """Both pictures and their difference, pixel by pixel; of a large painting the middle. Paths with captions."""
    before, after = middle(original.levels), middle(copy.levels)
    change = np.clip(128 + AMPLIFIED * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)
    shows = {"Original": before, "Protected": after, f"Change x {AMPLIFIED}": change}
    return [
        (str(replace(original, levels=levels, alpha=None).save(folder / f"detail{number}.png")), caption)
        for number, (caption, levels) in enumerate(shows.items())
    ]


def middle(levels: Levels) -> Levels:
    """The middle of a picture, at most SHOWN_SIDE pixels a side."""
    top, left = (max(0, side - SHOWN_SIDE) // 2 for side in levels.shape[:2])
    return levels[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]


def listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def zipped(paths: Sequence[str], archive: Path) -> str:
    """All files in one, none twice by the same name."""
    with ZipFile(archive, "w") as file:
        for number, path in enumerate(map(Path, paths), 1):
            taken = path.name in file.namelist()
            file.write(path, f"{path.stem}_{number}{path.suffix}" if taken else path.name)
    return str(archive)


def describe(steps: float, samples: float, objective: str) -> Any:
    """The effort's word, None where there is none, and what it costs."""
    value = next((word for word, meaning in EFFORTS.items() if meaning == (steps, samples)), None)
    cost = time_of(attacking(steps, samples, objective))
    return gr.update(value=value, info=f"Each painting takes {number_of(int(steps), 'step')}{cost}.")


def new_painting(painting: str | None) -> tuple[Any, ...]:
    """Status and brush for it, and the result of an earlier painting gone, so that nobody publishes it for this one."""
    line = CHOOSE if painting is None else objection(painting) or "Ready."
    return say(line), under_the_brush(painting), gr.update(value=None, interactive=False), "", VISIBLE, HIDDEN, None


def add_folder(folder: list[str] | None, files: list[str] | None) -> list[str]:
    """The files of the folder after those that were chosen before."""
    return [*(files or ()), *(folder or ())]


def new_files(files: list[str] | None) -> Any:
    return say(f"{number_of(len(files), 'file')} chosen." if files else "Choose several paintings, or a folder.")
