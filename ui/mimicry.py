"""The Mimicry tab: the same imitator learns from the original and from its protected copy, before your eyes."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd

from advdm import SettingsError
from advdm.files import shown
from advdm.imitators.inversion import InversionSettings
from advdm.mimicry import PROMPTS, MimicrySettings, Verdict, check_prompts
from advdm.tables import number_of
from ui import shared
from ui.experiment import SIDES, Moment, Picture, experiment, pictures_of, zero_seconds
from ui.painting_input import PaintingsInput, objection
from ui.robustness import build_robustness_panel
from ui.shared import (
    ANONYMOUS_SECONDS,
    LANE,
    MODEL,
    NOT_TAKEN,
    ON_ZERO,
    QUIET,
    WATCHED,
    as_whole,
    in_words,
    keep,
    own,
    owned,
    pace,
    run_folder,
    said,
    stop_flag,
)

PLACE = "mimicry"
SMOOTHING, POINTS = 20, 200
"""Steps that each point of a loss curve averages, and points of a curve."""
MOST_PROMPTS, LONGEST_PROMPT = 12, 200

WELCOME = """### How it works
1. **Use the pair from Protect**, or upload originals and their protected copies in the same order.
2. **Two imitators** of equal skill each learn one new word: one from the original, one from the protected copy.
3. **Look.** Both paint the same subjects, and an independent judge measures how near each came to the painting.
"""
ABOUT = f"""### What this test is, and what it is not
It is textual inversion on **{MODEL.title}**; other imitators, and other models, may do better. Few pictures make a
rough score: more prompts, or more pictures of each, steady it. Do not train on living artists' work without their
leave.
"""


@dataclass
class Pace:
    """Seconds of one step of both imitators, of one picture, and up to the first step, as the last run took them."""

    step: float | None = None
    picture: float | None = None
    beginning: float = 0


PACE = Pace()


class Shown(NamedTuple):
    """What `show_mimicry` puts on the page, in the order of its outputs; what is not given stays as it is."""

    progress: Any = gr.skip()
    finding: Any = gr.skip()
    from_original: Any = gr.skip()
    from_protected: Any = gr.skip()
    never_saw: Any = gr.skip()
    curve: Any = gr.skip()
    original_word: Any = gr.skip()
    protected_word: Any = gr.skip()
    report: Any = gr.skip()
    welcome: Any = gr.skip()
    results: Any = gr.skip()


def show_mimicry(
    original: list[str],
    protected: list[str],
    steps: float,
    vectors: float,
    prompts: str,
    count: float,
    seed: float | None,
    request: gr.Request,
) -> Iterator[Shown]:
    """Train both imitators and show them: while they learn, while they paint, and what came of it, also if stopped."""
    if wrong := complaint(original, protected):
        raise gr.Error(wrong, print_exception=False)
    stop = stop_flag(own(PLACE, request))
    if stop.exists():  # pressed while this run waited in the queue
        yield Shown("Stopped before it began.")
        return
    with said(), run_folder() as folder:
        settings = settings_from(steps, vectors, prompts, count, seed)
        check_prompts(MODEL, settings)
        idle = gr.update(value=None, interactive=False)
        yield Shown(
            "Reading the pictures.",
            *("", *galleries(([], [], [])), None, idle, idle, None),
            welcome=gr.update(visible=False),
            results=gr.update(visible=True),
        )
        started = time.monotonic()
        learning: list[tuple[int, float]] = []  # steps and seconds of each moment
        with closing(experiment(original, protected, settings, str(folder), str(stop))) as moments:
            for moment in moments:
                keep([*original, *protected, *folder.iterdir()])
                seconds = time.monotonic() - started
                if not moment.words:
                    learning.append((len(moment.losses), seconds))
                    PACE.step = pace(learning) or PACE.step
                line = "Stopping." if stop.exists() else progress_line(moment, settings)
                yield Shown(line, strong(moment.doubt), *galleries(moment.pictures), curve_of(moment.losses))
        done = len(moment.losses)
        (_, PACE.beginning), (_, learned_in) = learning[0], learning[-1]
        PACE.picture = (seconds - learned_in) / sum(map(len, moment.pictures))
        downloads = (gr.update(value=path, interactive=True) for path in moment.words)
        used = replace(settings, inversion=replace(settings.inversion, steps=done))
        yield Shown(
            f"{'Done' if moment.verdict else 'Stopped'} after {number_of(done, 'step')}, in {in_words(seconds)}: "
            f"{named(original)}.",
            finding(moment.verdict, done, moment.doubt),
            *galleries(moment.pictures),
            curve_of(moment.losses),
            *downloads,
            report_of(used, seconds, moment.verdict),
            welcome=gr.update(visible=False),  # again, for other pictures may have been chosen meanwhile
            results=gr.update(visible=True),
        )


def mimic(
    original: list[str],
    protected: list[str],
    steps: float,
    vectors: float,
    prompts: str,
    count: float,
    seed: float | None,
    request: gr.Request,
) -> Iterator[tuple[list[Picture], list[Picture], list[Picture], dict[str, Any] | None]]:
    """Train the same imitator on originals and on their protected copies: what each paints, and a verdict.

    original, protected: a picture, or as many of each, in the same order. steps, vectors: of the textual inversion.
    prompts: one a line, * is the learned word. count: pictures of each prompt. seed: for learning and painting.
    Returns what was learned from the original, what from the protected copy, what the model paints that never saw the
    painting, and a report with the settings as used and the verdict: style distances to the painting of baseline,
    original and protected; imitation, 0 = never saw it, 100 = learned from the original; and both in a sentence.
    """
    pictures: list[list[Picture]] = [[], [], []]
    report: dict[str, Any] | None = None
    for page in show_mimicry(original, protected, steps, vectors, prompts, count, seed, request):
        if page.report not in (None, gr.skip()):
            pictures, report = [page.from_original, page.from_protected, page.never_saw["value"]], page.report
        yield *pictures, report  # each time, so that a client who leaves is noticed
    sent = {path for side in pictures for path, _ in side}
    for folder in {Path(path).parent for path in sent}:
        for file in folder.iterdir():
            if str(file) not in sent:
                file.unlink()  # the page's, which nobody sees here


def complaint(original: Sequence[str], protected: Sequence[str]) -> str:
    """Why these cannot be compared, or nothing."""
    if not original or not protected:
        return "Choose an original and its protected copy."
    if len(original) != len(protected):
        return f"There must be as many protected copies as originals, not {len(protected)} for {len(original)}."
    return ""


def new_pair(original: Sequence[str], protected: Sequence[str]) -> tuple[str, Any, Any, str, str]:
    """Progress line, and the findings on earlier pictures gone, so that nobody takes them for findings on these."""
    line = objection(*original, *protected) or complaint(original, protected) or "Ready."
    return line, gr.update(visible=True), gr.update(visible=False), "", ""


def settings_from(steps: float, vectors: float, prompts: str, count: float, seed: float | None) -> MimicrySettings:
    """Settings from the page, where 8 may come as 8.0 and an empty box as None. Raises SettingsError."""
    number = as_whole(seed or 0)
    inversion = InversionSettings(steps=as_whole(steps), vectors=as_whole(vectors), seed=number)
    return MimicrySettings(inversion, prompts_from(prompts), as_whole(count), seed=number)


def prompts_from(text: str | None) -> tuple[str, ...]:
    """One prompt a line, with {} in the place of the word. Raises SettingsError."""
    prompts = tuple(line.strip().replace("*", "{}") for line in (text or "").splitlines() if line.strip())
    if not 0 < len(prompts) <= MOST_PROMPTS:
        raise SettingsError(f"There must be 1 to {MOST_PROMPTS} prompts, one a line, not {len(prompts)}.")
    for prompt in prompts:
        if len(prompt) > LONGEST_PROMPT:
            raise SettingsError(f"A prompt may have at most {LONGEST_PROMPT} characters.")
        if "{}" not in prompt:
            raise SettingsError("Each prompt needs a * in the place of the learned word.")
    return prompts


def cost(steps: float, prompts: str | None, count: float) -> str:
    """What a click on the button takes, as far as that is known."""
    pictures = 3 * count * sum(bool(line.strip()) for line in (prompts or "").splitlines())
    work = f"{number_of(int(steps), 'step')}, {number_of(int(pictures), 'picture')}"
    if ON_ZERO:
        seconds = zero_seconds(steps, pictures)
        limit = " Sign in to Hugging Face first: without an account it is too much." * (seconds > ANONYMOUS_SECONDS)
        return f"{work}: up to {seconds} s of your daily GPU time.{limit}"
    if PACE.step is None or PACE.picture is None:
        return f"{work}."
    return f"{work}, {in_words(PACE.beginning + PACE.step * steps + PACE.picture * pictures)}."


def progress_line(moment: Moment, settings: MimicrySettings) -> str:
    if moment.words:
        return f"Painting: {sum(map(len, moment.pictures))} of {pictures_of(settings)} pictures."
    number, steps = len(moment.losses), settings.inversion.steps
    original, protected = moment.losses[-1]
    left = "" if PACE.step is None else f", {in_words(PACE.step * (steps - number))} of learning left"
    errors = f"noise error {original:.3f} (original) and {protected:.3f} (protected)"
    return f"Learning: step {number} of {steps}, {errors}{left}."


def finding(verdict: Verdict | None, steps: int, doubt: str) -> str:
    """The verdict in words, and why to doubt it; then a sentence for each side with what was measured."""
    if verdict is None:
        stopped = f"Stopped after {number_of(steps, 'step')}"
        return f"### No verdict\n{stopped}: this is what each imitator had learned by then.\n\n{strong(doubt)}"
    kind, _, rest = verdict.sentence.partition(": ")
    lines = [f"### {kind}", f"{rest[:1].upper()}{rest[1:]}", "", strong(doubt), ""]
    for side, distance, score in (
        ("Learned from the original", verdict.original, 100.0),
        ("Learned from the protected copy", verdict.protected, verdict.imitation),
        ("Never saw the painting", verdict.baseline, 0.0),
    ):
        place = "" if verdict.imitation is None or score is None else f"**{score:.0f}** of 100, "
        lines.append(f"- {side}: {place}style distance to the painting {distance:.3f}.")
    return "\n".join(lines)


def named(originals: Sequence[str]) -> str:
    """Whom the findings are about, for other pictures may have been chosen meanwhile."""
    first, *others = map(shown, originals)
    return f"{first} and {len(others)} more" if others else first


def strong(sentence: str) -> str:
    return f"**{sentence}**" if sentence else ""


def curve_of(losses: list[tuple[float, ...]]) -> pd.DataFrame:
    """Both smoothed loss curves, thinned to what the plot can show."""
    smooth = pd.DataFrame(losses, columns=list(SIDES)).rolling(SMOOTHING, min_periods=1).mean()
    smooth["step"] = range(1, len(losses) + 1)
    thinned = smooth.iloc[:: -max(1, len(losses) // POINTS)].iloc[::-1]
    return thinned.melt("step", var_name="learns from", value_name="noise error")


def report_of(settings: MimicrySettings, seconds: float, verdict: Verdict | None) -> dict[str, Any]:
    """The settings as used and what came of them."""
    found = {"seconds": round(seconds, 2), "verdict": verdict and asdict(verdict)}
    return {"model": MODEL.title, **MODEL.machine, **asdict(settings), **found}


def galleries(pictures: Sequence[list[Picture]]) -> tuple[list[Picture], list[Picture], Any]:
    """What the three galleries show; that of the baseline only once there is something in it."""
    original, protected, baseline = pictures
    return original, protected, gr.update(value=baseline, visible=bool(baseline))


def use_pair(pair: tuple[str, str] | None) -> tuple[Any, Any, str]:
    """The painting that was last protected, its copy, and the progress line, which also says that there is none."""
    if pair is None or not all(map(os.path.exists, pair)):
        return gr.skip(), gr.skip(), "Protect a painting first, on the Protect tab."
    return [pair[0]], [pair[1]], "Ready."


def build_mimicry_tab(pair: gr.State) -> None:
    """The tab with all its events; `pair` holds the paths of a painting and its protected copy, or None."""
    default = InversionSettings()
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            take = gr.Button("Use the pair from Protect")
            with gr.Row():
                original = paintings_input("Original")
                protected = paintings_input("Protected")
            with gr.Row():
                start = gr.Button("Train both imitators", variant="primary", min_width=100)
                stop = gr.Button("Stop", interactive=False, min_width=100)
            progress = gr.Textbox(complaint([], []), label="Progress", max_lines=2, interactive=False)
            price = gr.Markdown()
            with gr.Accordion("Advanced", open=False):
                steps = gr.Slider(1, 1000, default.steps, step=1, label="Steps")
                vectors = gr.Slider(1, 8, default.vectors, step=1, label="Vectors", info="That make up the new word.")
                prompts = gr.Textbox(
                    "\n".join(PROMPTS).replace("{}", "*"), label="Prompts", info="One a line; * is the word.", lines=6
                )
                count = gr.Slider(1, 4, 1, step=1, label="Pictures of each prompt")
                seed = gr.Number(0, label="Seed", minimum=0)
        with gr.Column(scale=3, min_width=320):
            with gr.Column() as welcome:
                gr.Markdown(WELCOME)
            with gr.Column(visible=False) as results:
                verdict = gr.Markdown()
                with gr.Row():
                    from_original = painted_gallery("Learned from the original")
                    from_protected = painted_gallery("Learned from the protected copy")
                never_saw = painted_gallery("Never saw the painting", columns=6, visible=False)
                with gr.Tab("Losses"):
                    curve = gr.LinePlot(
                        x="step",
                        y="noise error",
                        color="learns from",
                        color_map={"original": "#0d9488", "protected": "#ea580c"},
                        label=f"Noise error of each imitator, mean of up to {SMOOTHING} steps",
                        buttons=[],
                    )
                with gr.Tab("Word files"):
                    gr.Markdown("The learned words, as `load_textual_inversion` of diffusers reads them.")
                    words = [gr.DownloadButton(f"Word learned from the {side}", interactive=False) for side in SIDES]
                with gr.Tab("Report"):
                    report = gr.JSON(label="Report", show_label=False)
            gr.Markdown(ABOUT)
            left = build_robustness_panel(original, protected)

    numbers_in = [steps, prompts, count]
    gr.on(None, cost, numbers_in, price, **QUIET)  # at the start, and when a number changes
    take.click(use_pair, pair, [original, protected, progress], **QUIET)
    changes = [event for side in (original, protected) for event in (side.change, side.delete)]
    cleared = [progress, welcome, results, *left]
    look = gr.on(changes, new_pair, [original, protected], cleared, trigger_mode="always_last", **WATCHED)
    look.failure(lambda: NOT_TAKEN, None, progress, **QUIET)
    inputs = [original, protected, steps, vectors, prompts, count, seed]
    outputs = [progress, verdict, from_original, from_protected, never_saw, curve, *words, report, welcome, results]
    run = start.click(owned(PLACE, shared.begin), None, [progress, start, stop], **QUIET).then(
        show_mimicry, inputs, outputs, show_progress_on=progress, api_visibility="private", **LANE
    )
    run.success(owned(PLACE, shared.finish), None, [start, stop], **QUIET).then(cost, numbers_in, price, **QUIET)
    run.failure(owned(PLACE, shared.fail), None, [progress, start, stop], **QUIET)
    stop.click(owned(PLACE, shared.press_stop), None, [progress, stop], **QUIET)
    gr.on([], mimic, inputs, [from_original, from_protected, never_saw, report], **LANE)


def paintings_input(label: str) -> PaintingsInput:
    return PaintingsInput(
        label=label,
        type="filepath",
        file_types=["image"],
        sources=["upload"],
        columns=2,
        min_width=140,
        object_fit="contain",
        buttons=[],
        interactive=True,
        elem_classes="fit labelled",
    )


def painted_gallery(label: str, columns: int = 2, visible: bool = True) -> gr.Gallery:
    return gr.Gallery(
        label=label,
        columns=columns,
        visible=visible,
        min_width=240,
        object_fit="contain",
        format="png",
        buttons=["fullscreen"],
        interactive=False,
        elem_classes="fit labelled band" if columns > 2 else "fit labelled",
    )
