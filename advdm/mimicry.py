"""The mimicry experiment: an imitator learns from each side and paints; a judge measures how near it came.

    gain      = 1 - d2(original) / d2(prompt only)
    imitation = 100 (d2(prompt only) - d2(side)) / (d2(prompt only) - d2(original))

d2 is the unbiased squared distance of styles to the painting (`advdm.statistics`): 0 on the scale never saw the
painting, 100 learned from the original. Picture i has a prompt and a seed of its own, the same on every side, so that
sides differ only by what was learned; intervals are bootstrapped over the pictures, paired in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advdm.imitators import Learned, LearningStep, learn, without_style
from advdm.imitators.crops import crops
from advdm.imitators.lora import RARE
from advdm.judge import style
from advdm.metrics import likeness, max_change
from advdm.models import LatentDiffusion
from advdm.paintings import Painting, is_grey
from advdm.settings import (
    IMITATORS,
    InversionSettings,
    LoraSettings,
    MimicrySettings,
    RepaintSettings,
    Settings,
)
from advdm.statistics import Estimate, bootstrap_weights, estimate, squared_distances

PROMPT_ONLY, ORIGINAL, PROTECTED, RANDOM = "prompt only", "original", "protected", "random noise"
"""The sides. The first saw nothing; the last is the control."""
REFERENCE_CROPS, REFERENCE_SEED = 16, 2**42
"""Squares of the painting that the judge looks at, cut elsewhere than those that an imitator learned from."""
LEAST_LIKENESS = 0.5
"""Of an original and its copy, see `metrics.likeness`; below, they may have got out of order."""
CONTROL = 95, 105
"""Where random noise must lie, or no other number is to be believed."""
HALF, NEARLY_ALL = 50, 80
"""On the scale of imitation: surely below the first is protected, surely above the second is not."""


@dataclass(frozen=True, eq=False)
class Painted:
    """New pictures (n, 3, size, size) in [0, 1] of one side; `first` is the number of the first, from 0."""

    side: str
    first: int
    pictures: Tensor


@dataclass(frozen=True, eq=False)
class Finding:
    """What the judge found. imitation is by side, empty where nothing can be said; distance is d2 by side.

    wanted is what the pictures were compared with, see `reference`.
    """

    gain: Estimate
    imitation: dict[str, Estimate]
    distance: dict[str, float]
    pictures: int
    verdict: str
    sentence: str
    wanted: Tensor


def mimicry(
    model: LatentDiffusion, sides: Mapping[str, Sequence[Painting]], settings: MimicrySettings
) -> Iterator[LearningStep | Painted | Finding]:
    """Learn from each side, paint, and judge. ORIGINAL must be among the sides; losses are in their order.

    Raises SettingsError before it learns, if a prompt is too long for the model, or if the sampling has more steps than
    the model has timesteps.
    """
    check_mimicry(model, settings)
    for step in learn(model, list(sides.values()), settings.imitator, settings.seed):
        yield step
    learned = dict(zip(sides, step.learned(), strict=True))
    made: dict[str, list[Tensor]] = {}
    for painted in paint(model, learned, settings):
        made.setdefault(painted.side, []).append(painted.pictures)
        yield painted
    pictures = {side: torch.cat(parts) for side, parts in made.items()}
    yield judge(reference(model, sides[ORIGINAL], settings.seed), pictures)


def check_mimicry(model: LatentDiffusion, settings: MimicrySettings) -> None:
    """Refuse, in a sentence, what would fail only after the learning. Raises SettingsError."""
    model.check_sampling(settings.sampling.steps)
    match settings.imitator:
        case InversionSettings(vectors=vectors):
            length = vectors
        case LoraSettings():
            length = len(RARE)  # tokens at most: a letter is a token at least
        case RepaintSettings():
            return  # paints without a word
    with torch.no_grad():
        model.embed_word(settings.prompts, model.word("painting", length))


def paint(
    model: LatentDiffusion, learned: Mapping[str, Learned], settings: MimicrySettings, start: int = 0
) -> Iterator[Painted]:
    """Pictures number start to settings.pictures of every side, and of one that saw nothing, a few at a time."""
    size = min(len(settings.prompts), model.at_once)
    for first in range(start, settings.pictures, size):
        prompts, seeds = settings.prompts_and_seeds(first, min(first + size, settings.pictures))
        plain = model.embed([without_style(prompt) for prompt in prompts])
        yield Painted(PROMPT_ONLY, first, model.generate(plain, seeds, settings.sampling))
        for side, knowledge in learned.items():
            yield Painted(side, first, knowledge.paint(model, prompts, seeds, settings.sampling))


@torch.no_grad()
def reference(model: LatentDiffusion, paintings: Sequence[Painting], seed: int = 0) -> Tensor:
    """The paintings as the model can paint them: crops, encoded and decoded, (n, 3, size, size).

    Not the paintings themselves: the autoencoder loses their finest texture, so noise would bring any picture nearer.
    """
    views = crops(paintings, model.size, REFERENCE_CROPS, REFERENCE_SEED + seed)
    return torch.cat([model.reconstruct(view.to(model.device)).cpu() for view in views.split(1)])


def judge(wanted: Tensor, pictures: Mapping[str, Tensor]) -> Finding:
    """How near each side's pictures (n, 3, S, S) come to the wanted ones (m, 3, S, S); n is the same for all."""
    count = len(pictures[ORIGINAL])
    weights = bootstrap_weights(count)
    aim = style(wanted)
    draws = {side: squared_distances(style(made), aim, weights) for side, made in pictures.items()}
    given = draws[PROMPT_ONLY] - draws[ORIGINAL]
    gain = estimate(given / draws[PROMPT_ONLY])
    scales = {side: 100 * (draws[PROMPT_ONLY] - d) / given for side, d in draws.items()}
    copies = [side for side in scales if side not in (PROMPT_ONLY, ORIGINAL)]
    imitation = {side: estimate(scales[side]) for side in copies if gain.low > 0}
    spared = estimate(scales[RANDOM] - scales[PROTECTED]) if {RANDOM, PROTECTED} <= scales.keys() else None
    word = verdict(gain, imitation.get(PROTECTED), spared, imitation.get(RANDOM))
    distance = {side: float(d[0]) for side, d in draws.items()}
    return Finding(gain, imitation, distance, count, word, sentence(word, gain, imitation), wanted)


def verdict(
    gain: Estimate, imitation: Estimate | None, spared: Estimate | None, control: Estimate | None = None
) -> str:
    """The word that the whole intervals bear out; none where there is no protected copy.

    imitation is the protected copy's; spared, how far it stays below the control, whose own is not to be doubted.
    """
    if gain.low <= 0:
        return "Nothing can be said"
    if imitation is None:
        return ""
    if control and doubtful(control):
        return "Undecided"
    if imitation.low >= NEARLY_ALL:
        return "Not protected"
    if imitation.high < 100 and (spared is None or spared.low > 0):
        return "Protected" if imitation.high < HALF else "Partly protected"
    return "Undecided"


def doubtful(control: Estimate) -> bool:
    """Whether random noise surely reads what it should not."""
    return control.low > CONTROL[1] or control.high < CONTROL[0]


def sentence(word: str, gain: Estimate, imitation: Mapping[str, Estimate]) -> str:
    """The finding in plain words, with its intervals."""
    if word == "Nothing can be said":
        return (
            f"{word}: the original itself taught this imitator too little to tell from chance. It came "
            f"{percent(gain)} nearer to the painting. More steps or pictures may show more, or another imitator."
        )
    parts = []
    if PROTECTED in imitation:
        parts.append(
            f"{word}: with the protected copy the imitator scores {scored(imitation[PROTECTED])}. 100 is imitation as "
            "good as with the original, 0 as without the painting."
        )
    control = imitation.get(RANDOM)
    if word == "Undecided" and not (control and doubtful(control)):
        parts.append("More pictures would narrow this.")
    if control:
        parts.append(f"Random noise with the same largest change scores {scored(control)}.")
    if control and doubtful(control):
        parts.append("It should be near 100, so do not trust this test: try the LoRA, or another seed.")
    return " ".join(parts)


def settings_used(settings: MimicrySettings, model: LatentDiffusion) -> dict[str, Any]:
    """For a report: everything that the result depends on, by the names of the command line's options."""
    name = next(name for name, kind in IMITATORS.items() if isinstance(settings.imitator, kind))
    own = asdict(settings.imitator)
    sampling = {"sampling_steps": settings.sampling.steps, "guidance": settings.sampling.guidance}
    painted = {"prompts": settings.prompts, "count": settings.count, **sampling, "seed": settings.seed}
    return {"model": model.title, "imitator": name, **own, **painted, **model.machine}


def findings(found: Finding) -> dict[str, Any]:
    """For a report: what came out. An imitation is null where nothing can be said."""
    unknown = dict.fromkeys(("value", "low", "high"))
    copies = [side for side in found.distance if side not in (PROMPT_ONLY, ORIGINAL)]
    return {
        "gain": found.gain.value,
        "gain_low": found.gain.low,
        "gain_high": found.gain.high,
        "imitation": {side: asdict(one) if (one := found.imitation.get(side)) else unknown for side in copies},
        "distance": found.distance,
        "pictures": found.pictures,
        "verdict": found.verdict,
        "sentence": found.sentence,
    }


def scored(one: Estimate) -> str:
    """70 (55 to 84)."""
    return f"{round(one.value)} ({round(one.low)} to {round(one.high)})"


def percent(one: Estimate) -> str:
    """12 % (-3 to 25)."""
    return f"{round(100 * one.value)} % ({round(100 * one.low)} to {round(100 * one.high)})"


def three_sides(
    originals: Sequence[Painting], copies: Sequence[Painting], seed: int = 0
) -> dict[str, Sequence[Painting]]:
    """Originals, protected copies, and the control: the originals with random noise of their copies' largest change.

    Of a copy that was resized the change is not known: it passes for the default epsilon.
    """
    pairs = list(zip(originals, copies, strict=True))
    changes = [max_change(a.levels, b.levels) if a.size == b.size else Settings.epsilon for a, b in pairs]
    control = [with_random_noise(a, change, seed) for a, change in zip(originals, changes, strict=True)]
    return {ORIGINAL: originals, PROTECTED: copies, RANDOM: control}


def with_random_noise(painting: Painting, epsilon: int, seed: int) -> Painting:
    """The control: uniform random noise of up to epsilon levels, grey where the painting is."""
    shape = (*painting.levels.shape[:2], 1 if painting.grey or is_grey(painting.levels) else 3)
    noise = np.random.default_rng([seed, epsilon]).integers(-epsilon, epsilon, shape, np.int16, endpoint=True)
    return replace(painting, levels=np.clip(painting.levels + noise, 0, 255).astype(np.uint8))


def doubt(originals: Sequence[Painting], copies: Sequence[Painting]) -> str:
    """A sentence about pairs that are one picture, or do not look like one painting; or nothing."""
    if any(np.array_equal(a.levels, b.levels) for a, b in zip(originals, copies, strict=True)):
        return "An original and its copy are the same picture: choose the protected copy."
    pairs = zip(originals, copies, strict=True)
    numbers = [str(n) for n, (a, b) in enumerate(pairs, 1) if likeness(a.levels, b.levels) < LEAST_LIKENESS]
    if not numbers:
        return ""
    which = "The pictures" if len(originals) == 1 else f"The pictures of pair {' and of pair '.join(numbers)}"
    return f"{which} do not look like the same painting: is each copy in the place of its original?"
