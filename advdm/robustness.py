"""What is left of a protection after what platforms, and imitators who clean, do to a picture.

Each treatment is done to the original, to random noise within the same bound, and to both kinds of protected copy
alike: what counts is what still sets a copy apart from the original that went through the same.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageFilter

from advdm.evaluation import Tick, noise_error, protected_copy, with_noise
from advdm.judge import shared_judge, style_distance
from advdm.mimicry import (
    MimicrySettings,
    imitate,
    imitate_unseen,
    imitation,
    mimicry_steps,
    reference,
)
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Levels, Painting
from advdm.protection import PROMPT, Settings
from advdm.sheets import picture
from advdm.tables import ORIGINAL, RANDOM, Summary, csv_table, markdown_table, number_of, summarise, written

PROTECTED, ROBUST = "protected", "robustly protected"
COPIES = (ORIGINAL, RANDOM, PROTECTED, ROBUST)
UNTOUCHED = "untouched"

CROPPED = 0.8
"""Share of each side that a crop leaves, in the middle."""
BLUR = 1.0
"""Pixels."""
NOISE, NOISE_SEED = 8, 2**41
"""8-bit levels; and a seed of no copy, or the same noise would be added twice."""
CLEANING = 0.2
"""Strength of the purification: the share of the sampling steps, the last ones, that clean."""
LEAST_SHIFT = 0.02
"""Share of the original's noise error: a copy that differs by less has nothing that could be left."""


def jpeg(levels: Levels, quality: int) -> Levels:
    """As a JPEG file holds it, with chroma at half the resolution."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file))


def halved(levels: Levels) -> Levels:
    """At half the size, and back."""
    picture = Image.fromarray(levels)
    small = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BICUBIC)
    return np.array(small.resize(picture.size, Image.Resampling.BICUBIC))


def cropped(levels: Levels) -> Levels:
    """The middle, `CROPPED` of each side."""
    height, width = levels.shape[:2]
    above, beside = (round(side * (1 - CROPPED) / 2) for side in (height, width))
    return levels[above : height - above, beside : width - beside]


def blurred(levels: Levels) -> Levels:
    return np.array(Image.fromarray(levels).filter(ImageFilter.GaussianBlur(BLUR)))


def noised(levels: Levels) -> Levels:
    """With uniform random noise of up to `NOISE` levels."""
    return with_noise(Painting(levels), NOISE, NOISE_SEED)


def purified(levels: Levels, model: LatentDiffusion) -> Levels:
    """Noised and denoised by the model itself (as DiffPure, Nie et al. 2022), at the model's size."""
    (clean,) = model.repaint(model.see(levels), model.embed(PROMPT), [0], strength=CLEANING, guidance=1)
    return np.array(picture(clean))


def treatments(model: LatentDiffusion) -> dict[str, Callable[[Levels], Levels]]:
    """What may happen to a picture, by its name: from levels (H, W, 3) uint8 to levels of any size."""
    return {
        UNTOUCHED: lambda levels: levels,
        **{f"JPEG {quality}": partial(jpeg, quality=quality) for quality in (95, 75, 50)},
        "half size and back": halved,
        "cropped": cropped,
        "blurred": blurred,
        "noise added": noised,
        "purified": partial(purified, model=model),
    }


@dataclass(frozen=True)
class Row:
    """One treatment of one copy: noise error; what is left of the protection in %; imitation on its scale of 0 to 100.

    None where a number has no meaning or was not asked for.
    """

    treatment: str
    copy: str
    noise_error: float
    left: float | None
    imitation: float | None


def robustness(
    painting: Painting,
    model: LatentDiffusion,
    attack: Settings,
    mimicry: MimicrySettings | None,
    tick: Tick = lambda: None,
) -> list[Row]:
    """Make the four copies of one painting, and measure each after each treatment; mimicry None leaves it out."""
    copies = make_copies(painting, model, attack, tick)
    errors = dict(noise_errors(copies, model, tick))
    scales = dict(imitations(copies, model, mimicry, tick)) if mimicry else {}
    return [
        Row(name, copy, error, left(errors, name, copy), scales[name][copy] if scales else None)
        for name, row in errors.items()
        for copy, error in row.items()
    ]


def ticks(model: LatentDiffusion, attack: Settings, mimicry: MimicrySettings | None) -> int:
    """How often `robustness` ticks for one painting."""
    each = len(COPIES) + (mimicry.inversion.steps + len(COPIES) if mimicry else 0)
    return 2 * attack.steps + len(treatments(model)) * each


def make_copies(painting: Painting, model: LatentDiffusion, attack: Settings, tick: Tick) -> dict[str, Painting]:
    """The painting itself, with random noise, protected, and robustly protected: all with the attack's epsilon."""
    return {
        ORIGINAL: painting,
        RANDOM: replace(painting, levels=with_noise(painting, attack.epsilon, attack.seed)),
        PROTECTED: protected_copy(painting, model, replace(attack, robust=False), tick),
        ROBUST: protected_copy(painting, model, replace(attack, robust=True), tick),
    }


def noise_errors(
    copies: Mapping[str, Painting], model: LatentDiffusion, tick: Tick = lambda: None
) -> Iterator[tuple[str, dict[str, float]]]:
    """The name of each treatment, the first of which is none, and the noise error of each copy after it."""
    for name, treat in treatments(model).items():
        row = {}
        for copy, painting in copies.items():
            row[copy] = noise_error(Painting(treat(painting.levels)), model)
            tick()
        yield name, row


def left(errors: Mapping[str, Mapping[str, float]], treatment: str, copy: str) -> float | None:
    """What the treatment leaves of a copy's distance in noise error from the original, in %.

    None where there is none: of the original, of random noise, of a protection that does not work on noise error.
    """
    before, after = errors[UNTOUCHED], errors[treatment]
    shift = before[copy] - before[ORIGINAL]
    if abs(shift) < LEAST_SHIFT * before[ORIGINAL]:
        return None
    return 100 * (after[copy] - after[ORIGINAL]) / shift


def imitations(
    copies: Mapping[str, Painting], model: LatentDiffusion, settings: MimicrySettings, tick: Tick
) -> Iterator[tuple[str, dict[str, float | None]]]:
    """The name of each treatment, and how near an imitator comes to the untouched original by each treated copy.

    0 never saw the painting and 100 learned from the original, untouched; so the original's own row tells what the
    treatment costs an imitator.
    """
    judge = shared_judge()
    wanted = judge.style(reference(model, [copies[ORIGINAL]], settings.seed))
    unseen = style_distance(judge.style(imitate_unseen(model, settings)), wanted)
    known: float | None = None
    for name, treat in treatments(model).items():
        for step in mimicry_steps(model, [[Painting(treat(copy.levels))] for copy in copies.values()], settings):
            tick()
            last = step
        distances = {}
        for copy, word in zip(copies, last.words, strict=True):
            distances[copy] = style_distance(judge.style(imitate(model, word, settings)), wanted)
            tick()
        known = distances[ORIGINAL] if known is None else known
        yield name, {copy: imitation(unseen, known, distance) for copy, distance in distances.items()}


METRICS = {
    "noise_error": ("Noise error", 3),
    "left": ("What is left of the protection, in %", 0),
    "imitation": ("Imitation, 0-100", 0),
}
"""Title and decimals of each number."""

Table = dict[tuple[str, str], dict[str, Summary]]
"""By treatment and copy, and by metric."""


def tabulate(paintings: Sequence[Sequence[Row]]) -> Table:
    """The rows of all paintings as one table."""
    return {
        (rows[0].treatment, rows[0].copy): {name: summarise([getattr(row, name) for row in rows]) for name in METRICS}
        for rows in zip(*paintings, strict=True)
    }


def markdown(table: Table) -> str:
    """A Markdown table for each metric that was measured, copies down and treatments across; and what they mean."""
    names = list(dict.fromkeys(treatment for treatment, _ in table))
    parts = []
    for metric, (title, decimals) in METRICS.items():
        lines = [[copy, *(written(table[name, copy][metric], decimals) for name in names)] for copy in COPIES]
        known = [line for line in lines if any(line[1:])]
        if known:
            parts.append(f"## {title}\n\n{markdown_table(['copy', *names], known)}")
    count = table[UNTOUCHED, ORIGINAL]["noise_error"].count
    remarks = (
        f"Mean ± standard deviation over {number_of(count, 'painting')}.",
        "What is left: how far a copy's noise error still is from that of the original after the same treatment, "
        "where 100 is as far as before. The original and what moves its noise error by less than "
        f"{LEAST_SHIFT:.0%} have nothing that could be left.",
        "Imitation: 0 never saw the painting, 100 learned from the untouched original; lower protects better.",
        f"Cropped to {CROPPED:.0%} of each side; blurred by {BLUR:.0f} pixel; noise up to ±{NOISE} levels; purified by "
        f"the model itself, noised and denoised in the last {CLEANING:.0%} of the sampling steps.",
    )
    return "\n\n".join([*parts, "\n".join(f"- {remark}" for remark in remarks)]) + "\n"


def comma_separated(table: Table) -> str:
    """The table as CSV, a line for each treatment of each copy."""
    return csv_table(("treatment", "copy"), METRICS, table)
