"""The Mimicry tab: the same imitator learns from the original, from its protected copy and from random noise."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd
from PIL import Image

from advdm import SettingsError
from advdm.mimicry import ORIGINAL, PROMPT_ONLY, PROTECTED, RANDOM, findings, percent, settings_used
from advdm.settings import (
    IMITATORS,
    LEAST_PICTURES,
    MOST_OF_EACH,
    ImitatorSettings,
    InversionSettings,
    LoraSettings,
    MimicrySettings,
    RepaintSettings,
)  # fmt: skip
from ui.experiment import Moment, experiment, paint_more
from ui.pace import Clock, Work, gpu_seconds, in_words, learning, painting, time_of
from ui.runs import HIDDEN, VISIBLE, Moments, Run, as_whole, model, not_possible, number_of, on_gpu, say
from ui.uploads import objection

LABELS = {PROMPT_ONLY: "Unseen", ORIGINAL: "Original", PROTECTED: "Protected", RANDOM: "Noise"}
"""What an imitator learned from, in a word."""
NAMES = {InversionSettings: "a learned word", LoraSettings: "a LoRA", RepaintSettings: "image to image"}
SMOOTHING, POINTS = 20, 200
"""Steps that each point of a loss curve averages, and points of a curve."""
MOST_PROMPTS, LONGEST_PROMPT = 12, 200


class Order(NamedTuple):
    """What a visitor asks for; the page's components stand in the same form, and so do the API's parameters."""

    original: Any = None
    protected: Any = None
    imitator: Any = None
    control: Any = None
    steps: Any = None
    prompts: Any = None
    count: Any = None
    strength: Any = None
    seed: Any = None

    @property
    def settings(self) -> MimicrySettings:
        """Raises SettingsError."""
        return MimicrySettings(self.learner, prompts_from(self.prompts), as_whole(self.count), seed=as_whole(self.seed))

    @property
    def learner(self) -> ImitatorSettings:
        if self.imitator not in IMITATORS:
            raise SettingsError("Choose an imitator.")
        if self.imitator == "repaint":
            return RepaintSettings(self.strength)
        kind = IMITATORS[self.imitator]
        return kind(**({"steps": as_whole(self.steps)} if self.steps else {}))

    @property
    def sides(self) -> int:
        return 3 if self.control else 2


class Shown(NamedTuple):
    """What a run puts on the page, in the order of its outputs; what is not given stays as it is."""

    status: Any = gr.skip()
    finding: Any = gr.skip()
    pictures: Any = gr.skip()
    curve: Any = gr.skip()
    downloads: Any = gr.skip()
    report: Any = gr.skip()
    more: Any = gr.skip()
    known: Any = gr.skip()
    welcome: Any = gr.skip()
    results: Any = gr.skip()


def show(run: Run, *wishes: Any) -> Iterator[Shown]:
    """Learn from every side, paint and judge: while it is done, and what came of it, also if stopped."""
    order = Order(*wishes)
    if wrong := complaint(order.original, order.protected):
        raise not_possible(wrong)
    with run.working(*order.original, *order.protected):
        settings = order.settings
        yield Shown(say("Reading the pictures.", 0), "", [], None, None, None, known=None)
        work = {**learning(settings, order.sides), **painting(settings, order.sides)}
        given = (order.original, order.protected, bool(order.control), settings, run.folder, run)
        yield from follow(run, work, experiment, *given)


def show_more(run: Run, known: Moment | None) -> Iterator[Shown]:
    """As many pictures again with what was learned, so that chance has less to say."""
    if known is None or not os.path.exists(known.learned):
        raise not_possible("What was learned is gone: let the imitators learn again.")
    with run.working(known.learned, *known.downloads, *(path for side in known.pictures.values() for path in side)):
        now = more(known)
        if now is None:
            raise not_possible(f"There are {MOST_OF_EACH} pictures of each prompt already, which are the most.")
        work = painting(now.settings, len(now.sides), known.count)
        yield from follow(run, work, paint_more, now, run.folder, run)


def follow(run: Run, work: Work, task: Callable[..., Moments[Moment]], *given: Any) -> Iterator[Shown]:
    """What the page shows of each moment of an experiment, and of its end."""
    started, clock, start = time.monotonic(), Clock(work), None
    blank = run.folder / "blank.png"
    Image.new("RGB", (64, 64), "#d6d3d1").save(blank)
    with closing(on_gpu(gpu_seconds(work), task, *given)) as moments:
        for moment in moments:
            if moment.learned or isinstance(moment.settings.imitator, RepaintSettings):
                made = sum(map(len, moment.pictures.values()))
                start = made if start is None else start
                kind, done, of = "picture", made - start, moment.settings.pictures * (1 + len(moment.sides)) - start
                line = f"Painting: picture {done} of {of}"
            else:
                kind, done, of = next(iter(work)), len(moment.losses), moment.settings.imitator.steps
                line = f"Learning: step {done} of {of}"
            left, share = clock.tick(kind, done / of)
            # The results show again each time, for other pictures may have been chosen meanwhile.
            curve = gr.update(value=curve_of(moment), visible=bool(learning(moment.settings, 1)))
            page = Shown(None, None, gallery(moment, blank), curve, welcome=HIDDEN, results=VISIBLE)
            status = say("Stopping." if run.stopped else f"{line}{left}.", share)
            yield page._replace(status=status, finding=strong(moment.doubt))
    seconds = time.monotonic() - started
    end = f"{'Stopped' if run.stopped else 'Done'} after {in_words(seconds)}: {moment.name}."
    yield page._replace(
        status=say(end),
        finding=finding(moment),
        downloads=list(moment.downloads) or None,
        report=report_of(moment, seconds),
        more=more_label(moment),
        known=moment,
    )


def mimic(*wishes: Any) -> Iterator[tuple[list[tuple[str, str]], dict[str, Any] | None]]:
    """Let one imitator learn from originals, from their protected copies and from random noise: what each paints.

    original, protected: a picture, or as many of each, in the same order. imitator: inversion learns a word, lora a
    change of the model, repaint paints over the picture and learns nothing. control: whether random noise as large as
    the copy's change is a third side. steps: of learning, 0 for as many as the imitator usually takes. prompts: one a
    line, * is the painter's style. count: pictures of each prompt. strength: of repaint. seed: for all of it.
    Returns all pictures, row by row of one prompt and seed, and a report with the settings as used: gain (how much
    nearer the original brought the imitator, with gain_low and gain_high), imitation by side (0 never saw the painting,
    100 learned from the original, with its 90 % interval) and the finding in a sentence.
    """
    pictures: list[tuple[str, str]] = []
    report: dict[str, Any] | None = None
    run = Run.new()
    for page in show(run, *wishes):
        if page.report not in (None, gr.skip()):
            pictures, report = page.pictures["value"], page.report
        yield pictures, report  # each time, so that a client who leaves is noticed
    run.keep_only(*(path for path, _ in pictures))  # the page's files, which nobody sees here


mimic.__signature__ = signature(Order)  # type: ignore[attr-defined]  # whose names the API's parameters have


def more(known: Moment) -> Moment | None:
    """The same experiment with twice as many pictures, at least one more of each prompt, and enough for a verdict.

    None where there are as many as can be.
    """
    prompts = len(known.settings.prompts)
    pictures = max(2 * known.count, known.count + prompts, LEAST_PICTURES)
    settings = replace(known.settings, count=min(MOST_OF_EACH, math.ceil(pictures / prompts)))
    return replace(known, settings=settings) if settings.pictures > known.count else None


def more_label(known: Moment) -> str:
    now = more(known)
    if now is None:
        return "No more pictures"
    cost = time_of(painting(now.settings, len(now.sides), now.count))
    return f"Paint {number_of(now.settings.pictures - now.count, 'more picture')} with each imitator{cost}"


def complaint(original: Sequence[str], protected: Sequence[str]) -> str:
    """Why these cannot be compared, or nothing."""
    if not original or not protected:
        return "Choose an original and its protected copy."
    if len(original) != len(protected):
        return f"There must be as many protected copies as originals, not {len(protected)} for {len(original)}."
    return ""


def new_pair(original: Sequence[str], protected: Sequence[str]) -> tuple[Any, Any, Any, str, None]:
    """Status line, and the findings on earlier pictures gone, so that nobody takes them for findings on these."""
    line = objection(*original, *protected) or complaint(original, protected) or "Ready."
    return say(line), VISIBLE, HIDDEN, "", None


def use_pair(pair: tuple[str, str] | None) -> tuple[Any, Any, Any]:
    """The painting that was last protected, its copy, and the status line, which also says that there is none."""
    if pair is None or not all(map(os.path.exists, pair)):
        return gr.skip(), gr.skip(), say("Protect a painting first, on the Protect tab.")
    return [pair[0]], [pair[1]], say("Ready.")


def prompts_from(text: str | None) -> tuple[str, ...]:
    """One prompt a line, with {} in the place of the style. Raises SettingsError."""
    prompts = tuple(line.strip().replace("*", "{}") for line in (text or "").splitlines() if line.strip())
    if not 0 < len(prompts) <= MOST_PROMPTS:
        raise SettingsError(f"There must be 1 to {MOST_PROMPTS} prompts, one a line, not {len(prompts)}.")
    for prompt in prompts:
        if len(prompt) > LONGEST_PROMPT:
            raise SettingsError(f"A prompt may have at most {LONGEST_PROMPT} characters.")
        if "{}" not in prompt:
            raise SettingsError("Each prompt needs a * in the place of the painter's style.")
    return prompts


def describe(*wishes: Any) -> str:
    """What a click on the button takes."""
    try:
        order = Order(None, None, *wishes)
        settings = order.settings
    except SettingsError as error:
        return str(error)
    learns, paints = learning(settings, order.sides), painting(settings, order.sides)
    steps = f"{number_of(settings.imitator.steps, 'step')}, " if learns else ""
    return f"{steps}{settings.pictures * (1 + order.sides)} pictures{time_of({**learns, **paints})}."


def finding(moment: Moment) -> str:
    """The verdict in words, what it rests on, and why to doubt it."""
    found = moment.finding
    if found is None:
        needed = f"It needs {LEAST_PICTURES} pictures of each imitator: paint more."
        return f"### No verdict yet\n{needed}\n\n{strong(moment.doubt)}"
    word, _, rest = found.sentence.partition(": ")
    learned = found.gain.low > 0  # if not, the sentence says how much
    gain = f"The original brought the imitator {percent(found.gain)} nearer to the painting. " if learned else ""
    brackets = (
        f"In brackets: the 90 % interval, by {found.pictures} pictures of each imitator. Another training may give "
        "another score."
    )
    word_only = isinstance(moment.settings.imitator, InversionSettings) and not learned
    advice = "**Try the LoRA**: it learns more from one painting than a word does." if word_only else ""
    title = f"Against {NAMES[type(moment.settings.imitator)]}: {word.lower()}" if learned else word
    parts = f"### {title}\n{rest[:1].upper()}{rest[1:]}", gain + brackets, strong(moment.doubt), advice
    return "\n\n".join(filter(None, parts))


def strong(sentence: str) -> str:
    return f"**{sentence}**" if sentence else ""


def gallery(moment: Moment, blank: Path) -> Any:
    """A row for each prompt and seed, in it the picture of each side, blank while it is not painted yet."""
    files = {side: moment.pictures.get(side, []) for side in (PROMPT_ONLY, *moment.sides)}
    prompts, _ = moment.settings.prompts_and_seeds(0, max(map(len, files.values())))
    subjects = [p.removesuffix(" in the style of {}").replace("a painting of ", "").replace("{}", "*") for p in prompts]
    pictures = [
        (of[row] if row < len(of) else str(blank), f"{LABELS[side]}: {subject}")
        for row, subject in enumerate(subjects)
        for side, of in files.items()
    ]
    return gr.update(value=pictures, columns=len(files))


def curve_of(moment: Moment) -> pd.DataFrame:
    """The smoothed loss curves, thinned to what the plot can show."""
    smooth = pd.DataFrame(moment.losses, columns=list(moment.sides)).rolling(SMOOTHING, min_periods=1).mean()
    smooth["step"] = range(1, len(smooth) + 1)
    thinned = smooth.iloc[:: -max(1, len(smooth) // POINTS)].iloc[::-1]
    return thinned.melt("step", var_name="learns from", value_name="noise error")


def report_of(moment: Moment, seconds: float) -> dict[str, Any]:
    """The settings as used and what came of them, as the command line's report."""
    report = settings_used(moment.settings, model()) | {"seconds": round(seconds, 2), "pictures": moment.count}
    if "steps" in report:
        report["steps"] = len(moment.losses)  # fewer where it was stopped
    return report | (findings(moment.finding) if moment.finding else {})
