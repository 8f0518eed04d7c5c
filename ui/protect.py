"""The Protect tab: a painting goes in, a protected painting comes out."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pandas as pd
import spaces
from PIL import Image

from advdm import Comparison, Painting, Settings, compare, protection_steps, read_painting
from advdm.objectives import MEANINGS, OBJECTIVES
from advdm.sheets import picture
from advdm.tables import number_of
from ui import shared
from ui.painting_input import PaintingInput, objection
from ui.shared import (
    ANONYMOUS_SECONDS,
    FILES_SECONDS,
    LANE,
    MODEL,
    NOT_TAKEN,
    ON_ZERO,
    QUIET,
    SHOWN_SIDE,
    WATCHED,
    as_whole,
    in_words,
    keep,
    pace,
    run_folder,
    said,
    stop_flag,
    write_picture,
)

STRENGTHS = {"Subtle": 4, "Balanced": 8, "Strong": 16}
"""epsilon in 8-bit levels."""
EFFORTS = {"Quick": (25, 1), "Thorough": (100, 4)}
"""(steps, samples)."""
PREVIEW_SIDE = 640
SMOOTHING = 10
"""Steps that each point of the loss curve averages."""
AMPLIFIED = 10
"""How many times the change is enlarged to be seen."""
ENCODING = 2
"""Passes through the denoiser that take as long as one through the encoder: 1.9 of Stable Diffusion, 4 of atelier."""
PASS_SECONDS, MEGAPIXEL_SECONDS = 0.08, 0.5
"""Generous guesses for ZeroGPU: one pass of one picture through Stable Diffusion, and what a large painting adds."""
EXAMPLES = [str(path) for path in sorted(Path(__file__).parents[1].glob("examples/*.webp"))]

WELCOME = """### How it works
1. **Choose a painting**, or an example by Vincent van Gogh.
2. **Protect** moves its pixels by a few levels of brightness, in the way that misleads the model most.
3. **Compare and download.** Publish the protected copy everywhere, and the clean one nowhere.
"""
LIMITS = """
- Smooth areas, like a plain sky, show the change most: look closely before you publish, and choose Subtle if need be.
- JPEG, resizing, screenshots, cleaning and newer models weaken it. Resize first, protect last.
- It does not stop anybody from copying the picture itself.
- The copy is a PNG, larger than a JPEG, because lossy formats would damage the protection.
- Your painting stays in temporary files, which are deleted within the hour, and is used for nothing else.
"""


@dataclass
class Pace:
    """Seconds of one pass of one picture through the model, and of all the rest, as the last run took them here."""

    one_pass: float
    rest: float


PACES: dict[str, Pace] = {}
"""By objective: some never go through the denoiser, or not back."""


def passes(steps: float, samples: float, objective: str) -> float:
    """How often a picture goes through the denoiser and back: in each step once for each sample.

    And ENCODING times more, as long as it takes through the encoder, which is all that textural asks.
    """
    return steps * (ENCODING + (0 if objective == "textural" else samples))


def gpu_seconds(painting: str, settings: Settings, folder: str, stop: str) -> int:
    """What one attack asks of ZeroGPU; takes what `attack` takes.

    The size of a painting asks for no more than everybody is admitted for: `cost` cannot say so before.
    """
    with Image.open(painting) as image:
        megapixels = image.width * image.height / 1e6
    seconds = zero_seconds(settings.steps, settings.samples, settings.objective)
    return max(seconds, min(seconds + round(MEGAPIXEL_SECONDS * megapixels), ANONYMOUS_SECONDS))


def zero_seconds(steps: float, samples: float, objective: str) -> int:
    return FILES_SECONDS + round(PASS_SECONDS * passes(steps, samples, objective))


@dataclass(frozen=True)
class Moment:
    """Where an attack stands: the loss of every step so far, and paths of what there is to show."""

    losses: list[float]
    preview: str | None = None
    protected: str | None = None
    seen: tuple[str, str] | None = None
    comparison: Comparison | None = None


@spaces.GPU(duration=gpu_seconds)
def attack(painting: str, settings: Settings, folder: str, stop: str) -> Iterator[Moment]:
    """All that needs a network: previews about every second; at last the protected file, what the model sees, numbers.

    Only files and small values go in and out, because on ZeroGPU this runs in another process.
    """
    with said():
        original = read_painting(painting)
        losses: list[float] = []
        due = 0.0
        for step in protection_steps(original, MODEL, settings):
            losses.append(step.loss)
            if os.path.exists(stop):
                break
            if (now := time.monotonic()) >= due:
                path = f"{folder}/preview{step.number}.webp"
                yield Moment(losses, preview=write_picture(step.protected().levels, original, path, PREVIEW_SIDE))
                cost = time.monotonic() - now
                due = now + max(1, 5 * cost)  # so that previews of a large painting do not become most of the work
        yield Moment(losses)
        protected = step.protected()
        path = str(protected.save(f"{folder}/{original.name}_protected.png"))
        seen = (
            write_seen(original.levels, f"{folder}/original_seen.png"),
            write_seen(protected.levels, f"{folder}/protected_seen.png"),
        )
        yield Moment(losses, protected=path, seen=seen, comparison=compare(original, read_painting(path)))


def write_seen(levels: np.ndarray, path: str) -> str:
    """Write the whole picture as the model sees it: encoded and decoded."""
    picture(MODEL.reconstruct(MODEL.see(levels))[0]).save(path)
    return path


def write_details(original: Painting, protected: Painting, folder: Path) -> list[tuple[str, str]]:
    """Both pictures and their difference, pixel by pixel; of a large painting the middle. Paths with captions."""
    opaque = replace(original, alpha=None)
    before, after = middle(original.levels), middle(protected.levels)
    change = np.clip(128 + AMPLIFIED * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)
    return [
        (write_picture(before, opaque, folder / "original_detail.png"), "Original"),
        (write_picture(after, opaque, folder / "protected_detail.png"), "Protected"),
        (write_picture(change, Painting(change), folder / "change.png"), f"Change x {AMPLIFIED}"),
    ]


def middle(levels: np.ndarray) -> np.ndarray:
    """The middle of a picture, at most SHOWN_SIDE pixels a side."""
    top, left = (max(0, side - SHOWN_SIDE) // 2 for side in levels.shape[:2])
    return levels[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]


def is_large(painting: Painting) -> bool:
    return max(painting.size) > SHOWN_SIDE


class Shown(NamedTuple):
    """What `show_protection` puts on the page, in the order of its outputs; what is not given stays as it is."""

    status: Any = gr.skip()
    protected: Any = gr.skip()
    report: Any = gr.skip()
    numbers: Any = gr.skip()
    slider: Any = gr.skip()
    seen: Any = gr.skip()
    details: Any = gr.skip()
    curve: Any = gr.skip()
    welcome: Any = gr.skip()
    results: Any = gr.skip()
    pair: Any = gr.skip()


def show_protection(
    painting: str | None,
    epsilon: float,
    steps: float,
    samples: float,
    step_size: float | None,
    objective: str,
    seed: float | None,
    robust: bool,
    request: gr.Request,
) -> Iterator[Shown]:
    """Protect one painting and show it: previews about every second, then the result, also of a stopped run."""
    if painting is None:
        raise gr.Error("Choose a painting first.", print_exception=False)
    stop = stop_flag(request)
    if stop.exists():  # pressed while this run waited in the queue
        yield Shown(status="Stopped before it began.")
        return
    with said(), run_folder() as folder:
        settings = settings_from(epsilon, steps, samples, step_size, objective, seed, robust)
        original = read_painting(painting)
        before = write_picture(original.levels, original, folder / "original.png")
        yield Shown(
            status="Starting.",
            protected=gr.update(value=None, interactive=False),
            report=None,
            numbers=notes_on(original),
            slider=(before, before),
            seen=None,
            details=None,
            welcome=gr.update(visible=False),
            results=gr.update(visible=True),
        )
        started = time.monotonic()
        steps_done: list[tuple[int, float]] = []  # and seconds of each moment
        with closing(attack(painting, settings, str(folder), str(stop))) as moments:
            for moment in moments:
                keep([painting, before])
                seconds = time.monotonic() - started
                if not moment.protected:
                    steps_done.append((len(moment.losses), seconds))
                slider = (before, moment.preview) if moment.preview else gr.skip()
                yield Shown(progress_line(moment, settings, seconds), slider=slider, curve=curve_of(moment.losses))
        done = len(moment.losses)
        if a_step := pace(steps_done):
            PACES[settings.objective] = Pace(
                a_step / passes(1, settings.samples, settings.objective), seconds - a_step * done
            )
        protected = read_painting(moment.protected)
        end = "Done" if done == settings.steps else "Stopped"
        yield Shown(
            status=f"{end} after {number_of(done, 'step')}: {original.name}.{warning(moment.comparison)}",
            protected=gr.update(value=moment.protected, interactive=True),
            report=report_of(replace(settings, steps=done), seconds, moment.comparison),
            numbers=f"{numbers_line(moment.comparison, seconds)}\n\n{notes_on(original)}",
            slider=(before, write_picture(protected.levels, protected, folder / "protected.png")),
            seen=list(zip(moment.seen, ("Original", "Protected"), strict=True)),
            details=write_details(original, protected, folder),
            curve=curve_of(moment.losses),  # again, or a tab that was never opened cannot draw it
            welcome=gr.update(visible=False),  # again, for another painting may have been chosen meanwhile
            results=gr.update(visible=True),
            pair=(painting, moment.protected),
        )


def protect(
    painting: str | None,
    epsilon: float,
    steps: float,
    samples: float,
    step_size: float | None,
    objective: str,
    seed: float | None,
    robust: bool,
    request: gr.Request,
) -> Iterator[tuple[str | None, dict[str, Any] | None]]:
    """Protect a painting from diffusion mimicry: the protected PNG, and a report measured on that file.

    painting: PNG, JPEG, WebP, TIFF or BMP. epsilon: largest change of any channel of any pixel, in 8-bit levels.
    steps: sign-gradient steps. samples: Monte-Carlo samples averaged in each step. step_size: in 8-bit levels, 0 for
    an eighth of epsilon. objective: what the attack pushes on. seed: the same seed and settings give the same file.
    robust: each step looks through JPEG, resizing or a slight blur.
    The report holds the settings as used, seconds, max_change (8-bit levels), psnr (dB), ssim and perceptual (distance,
    0 for equal pictures).
    """
    protected: str | None = None
    report: dict[str, Any] | None = None
    shows = show_protection(painting, epsilon, steps, samples, step_size, objective, seed, robust, request)
    for shown in shows:
        if shown.protected != gr.skip():
            protected, report = shown.protected["value"], shown.report
        yield protected, report  # each time, so that a client who leaves is noticed
    for file in Path(protected).parent.iterdir() if protected else ():  # nothing where Stop came first
        if str(file) != protected:
            file.unlink()  # the page's, which nobody sees here


def settings_from(
    epsilon: float,
    steps: float,
    samples: float,
    step_size: float | None,
    objective: str,
    seed: float | None,
    robust: bool,
) -> Settings:
    """Settings from the page's numbers, where 8 may come as 8.0 and an empty box as None. Raises SettingsError."""
    numbers = as_whole(epsilon), as_whole(steps), as_whole(samples), step_size or None
    return Settings(*numbers, str(objective), as_whole(seed or 0), bool(robust))


def describe(epsilon: float, steps: float, samples: float, objective: str) -> tuple[str | None, Any]:
    """The words that stand for the numbers, None where there is none, and what the effort costs."""
    effort = gr.update(value=word_for((steps, samples), EFFORTS), info=cost(steps, samples, objective))
    return word_for(epsilon, STRENGTHS), effort


def word_for(value: object, words: dict[str, Any]) -> str | None:
    return next((word for word, meaning in words.items() if meaning == value), None)


def cost(steps: float, samples: float, objective: str) -> str:
    """The steps, and how long they take where that is known."""
    work = number_of(int(steps), "step")
    if ON_ZERO and zero_seconds(steps, samples, objective) > ANONYMOUS_SECONDS:
        return f"{work}: sign in to Hugging Face first, without an account they are too many here."
    if (known := PACES.get(objective)) is None:
        return f"{work}."
    return f"{work}, {in_words(known.one_pass * passes(steps, samples, objective) + known.rest)}."


def new_painting(painting: str | None) -> tuple[str, Any, Any, Any]:
    """Status, and the result of an earlier painting gone, so that nobody publishes it for this one."""
    gone = gr.update(value=None, interactive=False)
    return welcome_line(painting), gone, gr.update(visible=True), gr.update(visible=False)


def welcome_line(painting: str | None) -> str:
    if painting is None:
        return "Choose a painting, or one of the examples."
    return objection(painting) or "Ready."


def progress_line(moment: Moment, settings: Settings, seconds: float) -> str:
    number = len(moment.losses)
    if moment.preview is None:
        return "Writing the protected painting."
    left = seconds / number * (settings.steps - number)
    return f"Step {number} of {settings.steps}, loss {moment.losses[-1]:.3f}, {in_words(left)} left."


def numbers_line(comparison: Comparison, seconds: float) -> str:
    change = f"**Largest change {comparison.max_change} of 255 levels**"
    psnr = f"{comparison.psnr:.1f} dB" if math.isfinite(comparison.psnr) else "infinite"
    ssim, perceptual = comparison.ssim, comparison.perceptual
    return f"{change} · PSNR {psnr} · SSIM {ssim:.3f} · perceptual distance {perceptual:.3f} · {seconds:.1f} s"


def warning(comparison: Comparison) -> str:
    """Where less than half a level was changed, the saved copy is the original."""
    return "" if comparison.max_change else " Nothing is changed yet: this copy is not protected."


def notes_on(painting: Painting) -> str:
    """What the painter should know about this picture."""
    if not is_large(painting):
        return " ".join(painting.notes)
    reduced = f"Shown reduced to {SHOWN_SIDE} pixels, and under 'The change' its middle at 100 %."
    return " ".join((*painting.notes, reduced, "The download has the full size."))


def curve_of(losses: list[float]) -> pd.DataFrame:
    smooth = pd.Series(losses).rolling(SMOOTHING, min_periods=1).mean()
    return pd.DataFrame({"step": range(1, len(losses) + 1), "loss": smooth})


def report_of(settings: Settings, seconds: float, comparison: Comparison) -> dict[str, Any]:
    """The settings as used and what came of them, as in the command line's --report."""
    used = {**asdict(settings), "step_size": settings.stride}
    return {"model": MODEL.title, **MODEL.machine, **used, "seconds": round(seconds, 2), **asdict(comparison)}


def model_note(name: str) -> str:
    """Which model the protection is computed on, and what that means."""
    if name == "atelier":
        return (
            "**Computed on atelier**, the small model that comes with this app. It is made against atelier and shows "
            "the principle; against Stable Diffusion, start the app with `ADVDM_MODEL=sd15`."
        )
    return f"**Computed on {name}**: it is made against imitators that use this model or a close relative."


def build_protect_tab() -> gr.State:
    """The tab with all its events; returns the paths of the last painting and its protected copy, at first None."""
    pair = gr.State()
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            painting = PaintingInput(
                label="Painting",
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                buttons=[],
                height=240,
                alt_text="The chosen painting",
            )
            examples = gr.Gallery(
                EXAMPLES,
                label="Examples",
                show_label=False,
                columns=len(EXAMPLES),
                height=80,
                allow_preview=False,
                object_fit="cover",
                buttons=[],
                interactive=False,
                elem_classes="fit strip",
            )
            strength = gr.Radio(list(STRENGTHS), value="Balanced", label="Strength")
            effort = gr.Radio(list(EFFORTS), value="Quick", label="Effort")
            with gr.Row():
                start = gr.Button("Protect", variant="primary", min_width=100)
                stop = gr.Button("Stop", interactive=False, min_width=100)
            status = gr.Textbox(welcome_line(None), label="Status", max_lines=2, interactive=False)
            with gr.Accordion("Advanced", open=False):
                epsilon = gr.Slider(1, 32, 8, step=1, label="Epsilon", info="Largest change, in 8-bit levels.")
                steps = gr.Slider(1, 500, 25, step=1, label="Steps")
                samples = gr.Slider(1, 16, 1, step=1, label="Samples", info="Averaged in each step.")
                step_size = gr.Number(0, label="Step size", info="In levels; 0 = an eighth of epsilon.", minimum=0)
                objective = gr.Dropdown(list(OBJECTIVES), label="Objective", info=MEANINGS["advdm"])
                seed = gr.Number(0, label="Seed", minimum=0)
                robust = gr.Checkbox(
                    label="Robust", info="Attack through JPEG, resizing and blur; gained little in our tests."
                )
        with gr.Column(scale=3, min_width=320):
            with gr.Column() as welcome:
                gr.Markdown(f"{WELCOME}\n{model_note(MODEL.title)}")
            with gr.Column(visible=False) as results:
                slider = gr.ImageSlider(
                    label="Original | Protected",
                    type="filepath",
                    format="png",
                    interactive=False,
                    buttons=["fullscreen"],
                    max_height=400,
                )
                numbers = gr.Markdown()
                protected = gr.DownloadButton("Download the protected PNG", variant="primary", interactive=False)
                gr.Markdown(model_note(MODEL.title))
                with gr.Tab("What the model sees"):
                    seen = picture_gallery("What the model sees", columns=2)
                with gr.Tab("The change"):
                    details = picture_gallery("Pixel by pixel", columns=3)
                    gr.Markdown(
                        f"Click a picture to enlarge it. The change is enlarged {AMPLIFIED} times; grey is no change."
                    )
                with gr.Tab("Loss"):
                    curve = gr.LinePlot(
                        x="step",
                        y="loss",
                        label=f"What the attack raises (for advdm, the noise error), {SMOOTHING}-step mean",
                        height=260,
                        buttons=[],
                    )
                with gr.Tab("Report"):
                    report = gr.JSON(label="Report", show_label=False)
            gr.Markdown(f"### What to expect\n{LIMITS}")

    examples.select(pick_example, None, painting, **QUIET)
    numbers_in = [epsilon, steps, samples]
    described, words = [*numbers_in, objective], [strength, effort]
    strength.input(lambda word: STRENGTHS[word], strength, epsilon, **QUIET)
    effort.input(lambda word: EFFORTS[word], effort, [steps, samples], **QUIET)
    objective.input(lambda name: gr.update(info=MEANINGS[name]), objective, objective, **QUIET)
    gr.on(None, describe, described, words, **QUIET)  # at the start, and at each change
    look = painting.change(new_painting, painting, [status, protected, welcome, results], **WATCHED)
    look.failure(lambda: NOT_TAKEN, None, status, **QUIET)
    inputs = [painting, *numbers_in, step_size, objective, seed, robust]
    outputs = [status, protected, report, numbers, slider, seen, details, curve, welcome, results, pair]
    run = start.click(shared.begin, None, [status, start, stop], **QUIET).then(
        show_protection, inputs, outputs, show_progress_on=status, api_visibility="private", **LANE
    )
    run.success(shared.finish, None, [start, stop], **QUIET).then(describe, described, words, **QUIET)
    run.failure(shared.fail, None, [status, start, stop], **QUIET)
    stop.click(shared.press_stop, None, [status, stop], **QUIET)
    gr.on([], protect, inputs, [protected, report], **LANE)
    return pair


def pick_example(event: gr.SelectData) -> str:
    return EXAMPLES[event.index]


def picture_gallery(label: str, columns: int) -> gr.Gallery:
    return gr.Gallery(
        label=label,
        show_label=False,
        columns=columns,
        height=260,
        object_fit="contain",
        format="png",
        buttons=["fullscreen"],
        interactive=False,
        elem_classes="fit",
    )
