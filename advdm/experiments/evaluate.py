"""The paper's experiment: what imitators learn from originals, from random noise, and from protected copies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pandas import DataFrame

from advdm.experiments.measure import Side, Tick, ticks
from advdm.mimicry import ORIGINAL, RANDOM, with_random_noise
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.protection import protection_steps
from advdm.settings import MimicrySettings, Settings, whole

AS_PUBLISHED = "as-published"
"""The attack of the paper and nothing else, among the objectives; the baseline of every claim."""


@dataclass(frozen=True)
class Evaluation:
    """What to compare. attack gives all but epsilon, objective and seed. Raises SettingsError when out of range."""

    epsilons: tuple[int, ...] = (2, 4, 8, 16)
    objectives: tuple[str, ...] = ("advdm", AS_PUBLISHED)
    seeds: int = 1
    attack: Settings = field(default_factory=Settings)
    mimicry: MimicrySettings = field(default_factory=MimicrySettings)

    def __post_init__(self) -> None:
        whole("seeds", self.seeds, 1, 1000)
        list(self.attacks(0))

    def attacks(self, seed: int) -> Iterator[tuple[Side, Settings]]:
        for objective in self.objectives:
            chosen = {"as_published": True} if objective == AS_PUBLISHED else {"objective": objective}
            for epsilon in self.epsilons:
                yield Side(objective, epsilon), replace(self.attack, **chosen, epsilon=epsilon, seed=seed)  # type: ignore[arg-type]

    def sides(
        self, paintings: Sequence[Painting], seed: int, model: LatentDiffusion, tick: Tick
    ) -> dict[Side, list[Painting]]:
        """The paintings as each imitator gets them."""
        sides = {Side(ORIGINAL): list(paintings)}
        for epsilon in self.epsilons:
            sides[Side(RANDOM, epsilon)] = [with_random_noise(one, epsilon, seed) for one in paintings]
        for side, attack in self.attacks(seed):
            sides[side] = [protected_copy(one, model, attack, tick) for one in paintings]
        return sides

    def ticks(self, paintings: int) -> int:
        """What one subject of so many paintings counts."""
        attacks = len(self.objectives) * len(self.epsilons)
        return attacks * paintings * self.attack.steps + ticks(self.mimicry, 1 + len(self.epsilons) + attacks)

    def finish(self, table: DataFrame) -> tuple[DataFrame, list[str]]:
        """The table in its order, and what is to be said first."""
        return table, []


def protected_copy(painting: Painting, model: LatentDiffusion, attack: Settings, tick: Tick) -> Painting:
    """The painting as an attack leaves it; ticks at every step."""
    for step in protection_steps(painting, model, attack):
        tick(1)
    return replace(painting, levels=step.protected().levels)
