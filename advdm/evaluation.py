"""The paper's experiment: what an imitator learns from originals, from random noise, and from protected copies.

Of one subject (a picture, or the pictures of one painter) and one seed, all sides learn in one batch, and an
independent judge turns what each then paints into a row of numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import repeat
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advdm.errors import SettingsError
from advdm.judge import Judge, frechet_distance, knn_precision
from advdm.metrics import compare
from advdm.mimicry import (
    MimicrySettings,
    imitate_side_by_side,
    imitation,
    mimicry_steps,
    reference,
    style_distances,
)
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.models.precision import finite
from advdm.paintings import Painting
from advdm.protection import PROMPT, Settings, protection_steps
from advdm.settings import whole
from advdm.tables import ORIGINAL, RANDOM, UNSEEN, Row, Side
from advdm.views import LEVELS

Tick = Callable[[], object]
"""What is called after each step."""

DRAWS, DRAW_SEED = 64, 2**40
"""Timesteps and noises of the noise error: the same for every side, and drawn by no attack."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What to compare. `attack` gives all but epsilon, objective and seed. Raises SettingsError when out of range."""

    epsilons: tuple[int, ...] = (2, 4, 8, 16)
    objectives: tuple[str, ...] = ("advdm",)
    seeds: int = 1
    attack: Settings = field(default_factory=Settings)
    mimicry: MimicrySettings = field(default_factory=MimicrySettings)

    def __post_init__(self) -> None:
        whole("seeds", self.seeds, 1, 1000)
        for epsilon in self.epsilons:
            for objective in self.objectives:
                replace(self.attack, epsilon=epsilon, objective=objective)
        if len(self.mimicry.prompts) * self.mimicry.count < 2:
            raise SettingsError("The Fréchet distance needs at least two pictures a side: more prompts, or a count.")

    @property
    def sides(self) -> list[Side]:
        """What the imitators learn from, all in one batch."""
        return [(ORIGINAL, 0), *((name, epsilon) for name in (RANDOM, *self.objectives) for epsilon in self.epsilons)]

    @property
    def of_a_cell(self) -> dict[str, object]:
        """What one cell depends on: all but how many seeds there are."""
        return {name: value for name, value in asdict(self).items() if name != "seeds"}

    def ticks(self, pictures: int) -> int:
        """Steps of a cell: of each attack, of the imitators, and one for all that is painted."""
        attacks = len(self.objectives) * len(self.epsilons) * pictures
        return attacks * self.attack.steps + self.mimicry.inversion.steps + 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one subject and seed: the paintings as each side got them, what it painted, and its numbers.

    The first in `pictures` and `rows` is the baseline, which got none. Pictures are (prompts x count, 3, S, S).
    """

    copies: dict[Side, list[Painting]]
    pictures: dict[Side, Tensor]
    rows: list[Row]


def experiment(
    paintings: Sequence[Painting],
    seed: int,
    model: LatentDiffusion,
    judge: Judge,
    settings: EvaluationSettings,
    tick: Tick = lambda: None,
) -> Outcome:
    """Attack, imitate and judge one subject with one seed."""
    copies = {
        side: [altered(painting, side, seed, model, settings, tick) for painting in paintings]
        for side in settings.sides
    }
    pictures = imitations(copies, seed, model, settings.mimicry, tick)
    return Outcome(copies, pictures, measure(paintings, copies, pictures, seed, model, judge))


def altered(
    painting: Painting,
    side: Side,
    seed: int,
    model: LatentDiffusion,
    settings: EvaluationSettings,
    tick: Tick,
) -> Painting:
    """The painting as an imitator of this side gets it."""
    name, epsilon = side
    if name == ORIGINAL:
        return painting
    if name == RANDOM:
        return replace(painting, levels=with_noise(painting, epsilon, seed))
    return protected_copy(painting, model, replace(settings.attack, epsilon=epsilon, objective=name, seed=seed), tick)


def protected_copy(painting: Painting, model: LatentDiffusion, attack: Settings, tick: Tick) -> Painting:
    """The painting as an attack leaves it; ticks at every step."""
    for step in protection_steps(painting, model, attack):
        tick()
        last = step
    return replace(painting, levels=last.protected().levels)


def with_noise(painting: Painting, epsilon: int, seed: int) -> np.ndarray:
    """The control: levels (H, W, 3) uint8 with uniform random noise up to ±epsilon, grey where the painting is."""
    shape = (*painting.levels.shape[:2], 1 if painting.grey else 3)
    noise = np.random.default_rng([seed, epsilon]).integers(-epsilon, epsilon, shape, np.int16, endpoint=True)
    noisy: np.ndarray = np.clip(painting.levels + noise, 0, LEVELS).astype(np.uint8)
    return noisy


def imitations(
    copies: Mapping[Side, Sequence[Painting]],
    seed: int,
    model: LatentDiffusion,
    mimicry: MimicrySettings,
    tick: Tick,
) -> dict[Side, Tensor]:
    """What the baseline and the imitator of each side paint, (prompts x count, 3, S, S) each; no two seeds overlap."""
    mimicry = replace(mimicry, inversion=replace(mimicry.inversion, seed=seed), seed=seed * mimicry.count)
    for step in mimicry_steps(model, list(copies.values()), mimicry):
        tick()
        last = step
    *imitated, unseen = imitate_side_by_side(model, last.words, mimicry)
    tick()
    return {(UNSEEN, 0): unseen, **dict(zip(copies, imitated, strict=True))}


def measure(
    paintings: Sequence[Painting],
    copies: Mapping[Side, Sequence[Painting]],
    pictures: Mapping[Side, Tensor],
    seed: int,
    model: LatentDiffusion,
    judge: Judge,
) -> list[Row]:
    """One row of numbers a side; the judge compares with the paintings as the model can paint them."""
    wanted = reference(model, paintings, seed)
    known = judge.condition(wanted)
    distances = dict(zip(pictures, style_distances(judge, wanted, list(pictures.values())), strict=True))
    rows = []
    for side, made in pictures.items():
        condition = judge.condition(made)
        scale = imitation(distances[UNSEEN, 0], distances[ORIGINAL, 0], distances[side])
        near = (distances[side], frechet_distance(known, condition), knn_precision(known, condition))
        rows.append(Row(*side, scale, *near, **_copies_measured(paintings, copies.get(side, ()), model)))
    return rows


def _copies_measured(
    paintings: Sequence[Painting], copies: Sequence[Painting], model: LatentDiffusion
) -> dict[str, Any]:
    """The numbers of a row that are about what was learned from, means over the copies of the paintings."""
    if not copies:
        return {}
    seen = [compare(*pair) for pair in zip(paintings, copies, strict=True)]
    changed = all(one.max_change for one in seen)  # else PSNR is infinite, which JSON does not know
    return {
        "noise_error": mean(map(noise_error, copies, repeat(model))),
        "psnr": mean(one.psnr for one in seen) if changed else None,
        "ssim": mean(one.ssim for one in seen),
        "perceptual": mean(one.perceptual for one in seen),
    }


@torch.no_grad()
def noise_error(painting: Painting, model: LatentDiffusion) -> float:
    """The model's own error on the whole painting, at timesteps and noise that are the same for every painting."""

    def errors() -> Tensor:
        generator = torch.Generator().manual_seed(DRAW_SEED)
        mean_latent = model.encode(model.see(painting.levels)).mean
        timesteps = torch.randint(model.timesteps, (DRAWS,), generator=generator)
        noise = torch.randn((DRAWS, *mean_latent.shape[1:]), generator=generator)
        condition = model.embed(PROMPT)
        return torch.cat(
            [
                model.noise_error(mean_latent.expand_as(drawn), at.to(model.device), drawn.to(model.device), condition)
                for at, drawn in zip(timesteps.split(model.at_once), noise.split(model.at_once), strict=True)
            ]
        )

    with model.enough_memory():
        return finite(model, errors).mean().item()
