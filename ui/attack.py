"""The half of the Protect tab that works with the model; on ZeroGPU it runs in another process."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from advdm import Comparison, Settings, SettingsError, compare, protection_steps, read_painting
from advdm.files import shown
from advdm.settings import STRENGTHS
from ui.runs import Moments, Run, as_whole, model
from ui.uploads import clean_parts

PREVIEW_SIDE = 640


class Order(NamedTuple):
    """What a visitor asks for; the page's components stand in the same form, and so do the API's parameters."""

    painting: Any = None
    mask: Any = None
    strength: Any = None
    epsilon: Any = None
    steps: Any = None
    samples: Any = None
    step_size: Any = None
    objective: Any = None
    target: Any = None
    even: Any = None
    as_published: Any = None
    seed: Any = None

    @property
    def settings(self) -> Settings:
        """Without a number for epsilon, it is for the strength to choose. Raises SettingsError."""
        if not self.epsilon and self.strength not in STRENGTHS:
            raise SettingsError("Choose a strength, or an epsilon.")
        return Settings(
            epsilon=as_whole(self.epsilon) or Settings.epsilon,
            steps=as_whole(self.steps),
            samples=as_whole(self.samples),
            step_size=self.step_size or None,
            objective=str(self.objective),
            even=bool(self.even),
            as_published=bool(self.as_published),
            seed=as_whole(self.seed),
        )


@dataclass(frozen=True)
class Result:
    """A protected file, the settings as used, and how far it is from the original."""

    protected: str
    settings: Settings
    comparison: Comparison

    def report(self, order: Order, brush: Any, seconds: float) -> dict[str, Any]:
        """As the command line's --report; and whether the brush was used."""
        files = {name: shown(file) for name in ("target", "mask") if (file := getattr(order, name))}
        chosen = {} if order.epsilon else {"strength": order.strength}
        used = {**asdict(self.settings), "step_size": self.settings.stride, **chosen, **files}
        used |= {"brush": brush is not None, "seconds": round(seconds, 2)}
        return {"model": model().title, **model().machine, **used, **asdict(self.comparison)}


@dataclass(frozen=True)
class Moment:
    """Where an attack stands: steps done, perhaps a preview, and in the end the result."""

    done: int
    preview: str | None = None
    result: Result | None = None


def attack(order: Order, brush: Any, folder: Path, run: Run) -> Moments[Moment]:
    """Previews about every second, and the result, also of a run that was stopped. Raises AdvDMError.

    Only files and small values go in and out.
    """
    painting = read_painting(order.painting)
    mask = clean_parts(painting.size, order.mask, brush)
    target = read_painting(order.target) if order.target else None
    strength = None if order.epsilon else order.strength
    due = 0.0
    for step in protection_steps(painting, model(), order.settings, target, mask, strength):
        if run.stopped:
            break
        if (now := time.monotonic()) >= due:
            preview = folder / f"preview{step.number}.png"
            yield Moment(step.number, str(step.protected().save(preview, PREVIEW_SIDE)))
            due = now + max(1, 6 * (time.monotonic() - now))  # watching must not become most of the work
    yield Moment(step.number)
    path = step.protected().save(folder / f"{painting.name}_protected.png")
    result = Result(str(path), replace(step.settings, steps=step.number), compare(painting, read_painting(path)))
    yield Moment(step.number, result=result)
