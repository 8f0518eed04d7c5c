"""The half of the Mimicry tab that works with the model; on ZeroGPU it runs in another process."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import spaces
import torch
from torch import Tensor

from advdm import Painting, SettingsError, read_painting
from advdm.imitators.inversion import Word
from advdm.judge import shared_judge
from advdm.mimicry import (
    MimicrySettings,
    Verdict,
    doubt,
    imitate,
    imitate_side_by_side,
    judge_imitations,
    mimicry_steps,
    reference,
)
from advdm.sheets import picture
from ui.shared import FILES_SECONDS, MODEL, said

SIDES = ("original", "protected")
QUICK_STEPS = 8
"""Sampling steps of the pictures that are painted while the imitators still learn."""
TRAIL = 6
"""How many of those stay on the page, the newest first."""
MOST_PIXELS = 50_000_000
"""Of the pictures of one side, together."""
STEP_SECONDS, PICTURE_SECONDS = 0.2, 1.2
"""Guesses for ZeroGPU: one step of both imitators and one picture on Stable Diffusion."""

Picture = tuple[str, str]
"""A file and its caption."""


def gpu_seconds(originals: list[str], protecteds: list[str], settings: MimicrySettings, folder: str, stop: str) -> int:
    """What one experiment asks of ZeroGPU; takes what `experiment` takes."""
    return zero_seconds(settings.inversion.steps, pictures_of(settings))


def zero_seconds(steps: float, pictures: float) -> int:
    return FILES_SECONDS + round(STEP_SECONDS * steps + PICTURE_SECONDS * pictures)


def pictures_of(settings: MimicrySettings) -> int:
    """Both imitators and the baseline paint each prompt `count` times."""
    return 3 * settings.count * len(settings.prompts)


@dataclass(frozen=True)
class Moment:
    """Where an experiment stands: both losses of every step, and what both imitators and the baseline painted.

    doubt is a sentence where an original and its copy do not look like one painting.
    """

    losses: list[tuple[float, ...]]
    pictures: tuple[list[Picture], ...]
    words: tuple[str, ...] = ()
    verdict: Verdict | None = None
    doubt: str = ""


@spaces.GPU(duration=gpu_seconds)
def experiment(
    originals: list[str], protecteds: list[str], settings: MimicrySettings, folder: str, stop: str
) -> Iterator[Moment]:
    """Both imitators learn and paint, and the judge speaks. Only files and small values go in and out.

    After Stop each of them still paints the first prompt with what it has learned, and the judge is silent.
    """
    with said():
        sides = [read_side(originals), read_side(protecteds)]
        doubtful = doubt(*sides)
        losses, words = yield from learn(sides, settings, folder, stop, doubtful)
        files = tuple(
            str(word.save(f"{folder}/{side}_learned_embeds.safetensors"))
            for side, word in zip(SIDES, words, strict=True)
        )
        made: tuple[list[Tensor], ...] = ([], [], [])
        shown: tuple[list[Picture], ...] = ([], [], [])
        for number, (order, caption) in enumerate(orders(settings)):
            if number and os.path.exists(stop):
                break
            for side, painted in enumerate(imitate_side_by_side(MODEL, words, order)):
                made[side].append(painted)
                shown[side].append((write_tensor(painted, f"{folder}/painted{number}-{side}.png"), caption))
            yield Moment(losses, shown, files, doubt=doubtful)
        if not os.path.exists(stop):
            wanted = reference(MODEL, sides[0], settings.seed)
            original, protected, baseline = map(torch.cat, made)
            verdict = judge_imitations(shared_judge(), wanted, baseline, original, protected)
            yield Moment(losses, shown, files, verdict, doubtful)


def learn(
    sides: Sequence[Sequence[Painting]], settings: MimicrySettings, folder: str, stop: str, doubtful: str
) -> Generator[Moment, None, tuple[list[tuple[float, ...]], tuple[Word, ...]]]:
    """Every second and at the end, also of a stopped run, with quick pictures; returns losses and words."""
    losses: list[tuple[float, ...]] = []
    trail: tuple[list[Picture], ...] = ([], [], [])  # of the baseline there is none
    quick, _ = next(orders(replace(settings, sampling_steps=QUICK_STEPS)))
    due = picture_due = 0.0
    for step in mimicry_steps(MODEL, sides, settings):
        losses.append(step.losses)
        if os.path.exists(stop):
            break
        if (now := time.monotonic()) >= picture_due:
            for side, word in enumerate(step.words):
                path = write_tensor(imitate(MODEL, word, quick), f"{folder}/step{step.number}-{side}.webp")
                trail[side][:] = [(path, f"step {step.number}"), *trail[side][: TRAIL - 1]]
            cost = time.monotonic() - now
            due, picture_due = 0.0, now + max(2, 6 * cost)  # so that watching does not become most of the work
        if now >= due:
            yield Moment(losses, trail, doubt=doubtful)
            due = time.monotonic() + 1
    yield Moment(losses, trail, doubt=doubtful)
    return losses, step.words


def orders(settings: MimicrySettings) -> Iterator[tuple[MimicrySettings, str]]:
    """The settings for every single picture, and its caption, which leaves out what the prompts have in common."""
    for prompt in settings.prompts:
        subject = prompt.removesuffix(" in the style of {}").replace("a painting of ", "").replace("{}", "*")
        for seed in range(settings.seed, settings.seed + settings.count):
            yield replace(settings, prompts=(prompt,), count=1, seed=seed), f"{subject}, seed {seed}"


def read_side(paths: Sequence[str]) -> list[Painting]:
    """The paintings that one imitator learns from. Raises SettingsError where they are too much for one visitor."""
    paintings: list[Painting] = []
    for path in paths:
        paintings.append(read_painting(path))
        if sum(width * height for width, height in (painting.size for painting in paintings)) > MOST_PIXELS:
            raise SettingsError(f"Together the pictures of one side may have {MOST_PIXELS // 10**6} million pixels.")
    return paintings


def write_tensor(pictures: Tensor, path: str) -> str:
    """Write the first of (N, 3, H, W) pictures in [0, 1]."""
    picture(pictures[0]).save(path, quality=90)
    return path
