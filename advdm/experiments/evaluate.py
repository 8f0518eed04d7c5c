"""The paper's experiment: what imitators learn from originals, from random noise, and from protected copies."""

from collections.abc import Sequence

from advdm.experiments.measure import Side, Tick, ticks
from advdm.mimicry import ORIGINAL, RANDOM, with_random_noise
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.protection import Step, protection_steps
from advdm.settings import EvaluationSettings, Settings


class Evaluation(EvaluationSettings):
    """Copies of the paintings by every attack at every epsilon, and by random noise."""

    def sides(
        self, paintings: Sequence[Painting], seed: int, model: LatentDiffusion, tick: Tick
    ) -> dict[Side, list[Painting]]:
        """The paintings as each imitator gets them."""
        sides = {Side(ORIGINAL): list(paintings)}
        for epsilon in self.epsilons:
            sides[Side(RANDOM, epsilon)] = [with_random_noise(one, epsilon, seed) for one in paintings]
        for objective in self.objectives:
            for epsilon in self.epsilons:
                attack = self.attack_with(objective, epsilon, seed)
                sides[Side(objective, epsilon)] = [last_step(one, model, attack, tick).protected() for one in paintings]
        return sides

    def ticks(self, paintings: int) -> int:
        """What one subject of so many paintings counts."""
        attacks = len(self.objectives) * len(self.epsilons)
        return attacks * paintings * self.attack.steps + ticks(self.mimicry, 1 + len(self.epsilons) + attacks)


def last_step(
    painting: Painting, model: LatentDiffusion, attack: Settings, tick: Tick, strength: str | None = None
) -> Step:
    """The end of an attack; ticks at every step."""
    for step in protection_steps(painting, model, attack, strength=strength):
        tick(1)
        last = step
    return last
