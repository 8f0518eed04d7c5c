"""How long a run takes, said before it starts and while it goes on.

    seconds = REST + sum over kinds of work of pace * passes

A pass takes one picture through the denoiser and back. A kind's pace is that of its last run; before there was one,
`gauge` has measured a pass.
"""

import os
import time
from collections.abc import Mapping

import numpy as np

from advdm import Painting, Settings, protection_steps
from advdm.imitators.training import CROPS
from advdm.settings import MimicrySettings, RepaintSettings
from ui.runs import model

ENCODING, LEARNING, FORWARD = 2, 1.4, 1 / 2
"""Passes of the denoiser that take as long as one through the encoder, as one of an imitator that learns, and as one
forward alone: on atelier, and alike on Stable Diffusion."""
REST = 3.0
"""Seconds to read, judge and write."""
ON_ZERO = os.getenv("SPACES_ZERO_GPU", "").lower() in ("1", "true")
ANONYMOUS_SECONDS = 80
"""The longest call that ZeroGPU admits for a visitor without an account."""
ZERO_PASS = 0.08
"""Seconds of a pass of Stable Diffusion there: a generous guess, for the app itself may not compute before a run."""

Work = Mapping[str, float]
"""Passes by kind of work."""
PACES: dict[str, float] = {"pass": ZERO_PASS} if ON_ZERO else {}
"""Seconds of one pass by kind of work; "pass" is for every kind that was not seen yet."""


def attacking(steps: float, samples: float, objective: str) -> Work:
    """In each step once through the encoder, and once a sample through the denoiser."""
    return {f"attack {objective}": steps * (ENCODING + (0 if objective == "textural" else samples))}


def learning(settings: MimicrySettings, sides: int) -> Work:
    """Each crop goes forward through the encoder once; who repaints does not learn."""
    one = settings.imitator
    if isinstance(one, RepaintSettings):
        return {}
    samples = one.steps * one.batch
    return {type(one).__name__: sides * (min(samples, CROPS) * ENCODING * FORWARD + samples * LEARNING)}


def painting(settings: MimicrySettings, sides: int, start: int = 0) -> Work:
    """Pictures from number `start` on, of the sides and of one that saw nothing; guidance takes each step twice."""
    share = settings.imitator.repaint_strength if isinstance(settings.imitator, RepaintSettings) else 1
    return {"picture": (settings.pictures - start) * (1 + sides * share) * settings.sampling.steps * 2 * FORWARD}


def gauge() -> None:
    """Measure a pass by a short attack."""
    levels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    moments = [time.monotonic() for _ in protection_steps(Painting(levels), model(), Settings(steps=4))]
    PACES["pass"] = (moments[-1] - moments[0]) / 3 / (ENCODING + 1)


def seconds_of(work: Work) -> float:
    """How long the work takes, 0 where that is not known."""
    paces = [PACES.get(kind) or PACES.get("pass", 0) for kind in work]
    return REST + sum(pace * work[kind] for pace, kind in zip(paces, work, strict=True)) if all(paces) else 0


def gpu_seconds(work: Work) -> int:
    """What a run asks of ZeroGPU."""
    return round(REST + 1.5 * seconds_of(work))


def time_of(work: Work) -> str:
    """ ", about 40 s", or nothing where it is not known; and whether ZeroGPU admits that without an account."""
    seconds = seconds_of(work)
    account = "; sign in to Hugging Face first" if ON_ZERO and gpu_seconds(work) > ANONYMOUS_SECONDS else ""
    return (f", {in_words(seconds)}" if seconds else "") + account


def in_words(seconds: float) -> str:
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"


class Clock:
    """Times a run of one kind of work or several, done one after the other."""

    def __init__(self, work: Work) -> None:
        self.work, self.begun = work, dict[str, tuple[float, float, float]]()

    def tick(self, kind: str, done: float) -> tuple[str, float]:
        """`done` is the share of this kind: how long it still takes, in words, and the share of the whole run."""
        now, passes = time.monotonic(), self.work[kind]
        since, before, last = self.begun.get(kind, (now, done, done))  # what it took to begin does not count
        self.begun[kind] = since, before, done
        if done > last:  # nor does what comes after the last pass
            PACES[kind] = (now - since) / (done - before) / passes
        kinds = list(self.work)
        later = sum(self.work[other] for other in kinds[kinds.index(kind) + 1 :])
        rest = passes * (1 - done)
        left = seconds_of({kind: rest}) - REST
        return f", {in_words(left)} left" if left > 0 else "", 1 - (rest + later) / sum(self.work.values())
