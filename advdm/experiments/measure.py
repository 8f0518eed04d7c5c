"""One subject's mimicry experiment as rows of numbers, one a side; the columns are named in `tables`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from advdm.imitators import Learned, LearningStep
from advdm.judge import embedding, frechet_distance, knn_precision
from advdm.metrics import compare, noise_error
from advdm.mimicry import ORIGINAL, PROMPT_ONLY, Finding, Painted, mimicry
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import MimicrySettings

Tick = Callable[[int], object]
"""What is called with the number of steps or pictures that are done."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """What an imitator learned from: whose copies, at which epsilon in 8-bit levels (0: none), cleaned in which way."""

    copy: str
    epsilon: int = 0
    cleaner: str = "none"

    def __str__(self) -> str:
        name = f"{self.copy} {self.epsilon}" if self.epsilon else self.copy
        return name if self.cleaner == "none" else f"{name}, {self.cleaner}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one subject: rows and pictures (n, 3, S, S) also of the prompt alone, and what the sides learned."""

    finding: Finding
    rows: dict[Side, Row]
    pictures: dict[Side, Tensor]
    learned: dict[Side, Learned]


def ticks(settings: MimicrySettings, sides: int) -> int:
    """What `measure` counts: the steps of the learning, and all that is painted."""
    return getattr(settings.imitator, "steps", 1) + settings.pictures * (sides + 1)


def measure(
    model: LatentDiffusion,
    sides: Mapping[Side, Sequence[Painting]],
    settings: MimicrySettings,
    tick: Tick = lambda done: None,
) -> Outcome:
    """Let an imitator learn from each side, among them Side(ORIGINAL), and put what came of it into numbers."""
    learning: LearningStep | None = None
    made: dict[str, list[Tensor]] = {}
    for event in mimicry(model, {str(side): paintings for side, paintings in sides.items()}, settings):
        if isinstance(event, LearningStep):
            learning = event
            tick(1)
        elif isinstance(event, Painted):
            made.setdefault(event.side, []).append(event.pictures)
            tick(len(event.pictures))
        else:
            finding = event
    assert learning
    pictures = {side: torch.cat(made[str(side)]) for side in (Side(PROMPT_ONLY), *sides)}
    near = nearness(finding, pictures)
    originals = sides[Side(ORIGINAL)]
    rows = {side: {**asdict(side), **near[side], **seen(originals, sides.get(side, ()), model)} for side in pictures}
    return Outcome(finding, rows, pictures, dict(zip(sides, learning.learned(), strict=True)))


def nearness(finding: Finding, pictures: Mapping[Side, Tensor]) -> dict[Side, Row]:
    """How near each side's pictures come to the painting, by the judge's style and by the paper's own metrics."""
    wanted = embedding(finding.wanted)
    rows = {}
    for side, made in pictures.items():
        painted, scale = embedding(made), finding.imitation.get(str(side))
        rows[side] = {
            "distance": finding.distance[str(side)],
            "imitation": scale and scale.value,
            "imitation_low": scale and scale.low,
            "imitation_high": scale and scale.high,
            "frechet_distance": frechet_distance(wanted, painted),
            "knn_precision": knn_precision(wanted, painted),
        }
    gain = finding.gain
    rows[Side(ORIGINAL)] |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
    return rows


def seen(originals: Sequence[Painting], copies: Sequence[Painting], model: LatentDiffusion) -> Row:
    """How visible the change is, and how wrong the model is: the largest max_change, and means over the paintings.

    A copy of another size has only its noise error.
    """
    if not copies:
        return {}
    row: Row = {"noise_error": mean(noise_error(copy, model) for copy in copies)}
    pairs = list(zip(originals, copies, strict=True))
    if all(original.size == copy.size for original, copy in pairs):
        found = [asdict(compare(*pair)) for pair in pairs]
        row |= {name: mean(one[name] for one in found) for name in found[0]}
        row["max_change"] = max(one["max_change"] for one in found)
    return {name: value if math.isfinite(value) else None for name, value in row.items()}  # JSON knows no infinity
