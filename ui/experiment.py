"""The half of the Mimicry tab that works with the model; on ZeroGPU it runs in another process."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advdm import Painting, SettingsError, read_painting
from advdm import mimicry as library
from advdm.files import shown
from advdm.imitators import learn
from advdm.mimicry import ORIGINAL, PROMPT_ONLY, RANDOM, Finding, three_sides
from advdm.settings import LEAST_PICTURES, InversionSettings, LoraSettings, MimicrySettings
from advdm.sheets import picture
from ui.runs import Moments, Run, model

MOST_PIXELS = 50_000_000
"""Of the pictures of one side, together."""
FILES = {InversionSettings: "learned_embeds", LoraSettings: "lora"}
"""How the files of what was learned are called."""


@dataclass(frozen=True)
class Moment:
    """Where an experiment stands; a later one goes on from there.

    name: whose paintings it is about. losses: of each side, step by step. pictures: files by side. learned: a file
    with all that more pictures need. downloads: what was learned, as diffusers reads it. doubt: a sentence where an
    original and its copy do not look like one painting.
    """

    name: str
    settings: MimicrySettings
    sides: tuple[str, ...]
    losses: list[tuple[float, ...]]
    pictures: dict[str, list[str]]
    learned: str = ""
    downloads: tuple[str, ...] = ()
    finding: Finding | None = None
    doubt: str = ""

    @property
    def count(self) -> int:
        """Pictures that every side has."""
        return min(len(self.pictures.get(side, ())) for side in (PROMPT_ONLY, *self.sides))


def experiment(
    originals: list[str], copies: list[str], control: bool, settings: MimicrySettings, folder: Path, run: Run
) -> Moments[Moment]:
    """Learn from every side, paint, and judge. Raises AdvDMError.

    Stop ends the learning or the painting; what is there is kept, and judged where it is enough. Only files and small
    values go in and out.
    """
    library.check_mimicry(model(), settings)
    paintings = read_side(originals), read_side(copies)
    doubt = library.doubt(*paintings)
    sides = three_sides(*paintings, settings.seed)
    if not control:
        del sides[RANDOM]
    name = shown(originals[0]) + (f" and {len(originals) - 1} more" if originals[1:] else "")
    now = Moment(name, settings, tuple(sides), [], {}, doubt=doubt)
    due = 0.0
    for step in learn(model(), list(sides.values()), settings.imitator, settings.seed):
        now.losses.append(step.losses)
        if run.stopped:
            break
        if time.monotonic() >= due:
            yield now
            due = time.monotonic() + 1
    yield now
    learned = dict(zip(sides, step.learned(), strict=True))
    kind = FILES.get(type(settings.imitator))
    places = {side: folder / f"{side.replace(' ', '_')}_{kind}.safetensors" for side in sides}
    saved = [one.save(model(), places[side]) for side, one in learned.items()]
    wanted = library.reference(model(), sides[ORIGINAL], settings.seed)
    torch.save((learned, wanted), folder / "learned.pt")
    now = replace(now, learned=str(folder / "learned.pt"), downloads=tuple(str(path) for path in saved if path))
    yield from paint_more(now, folder, run)


def paint_more(before: Moment, folder: Path, run: Run) -> Moments[Moment]:
    """Paint what the settings ask for beyond the pictures of before, and judge all that every side has by then."""
    # It is a file of ours, in a folder where nobody else can write.
    learned, wanted = torch.load(before.learned, model().device, weights_only=False)
    now = replace(
        before, pictures={side: files[: before.count] for side, files in before.pictures.items()}, finding=None
    )
    yield now
    for painted in () if run.stopped else library.paint(model(), learned, before.settings, before.count):
        files = now.pictures.setdefault(painted.side, [])
        for number, one in enumerate(painted.pictures, painted.first):
            files.append(str(folder / f"{painted.side.replace(' ', '_')}_{number}.png"))
            picture(one).save(files[-1])
        yield now
        if run.stopped:
            break
    if now.count >= LEAST_PICTURES:
        compared = {side: read_pictures(files[: now.count]) for side, files in now.pictures.items()}
        now = replace(now, finding=library.judge(wanted.cpu(), compared))
    yield now


def read_side(paths: Sequence[str]) -> list[Painting]:
    """The paintings that one imitator learns from. Raises SettingsError where they are too much for one visitor."""
    paintings: list[Painting] = []
    for path in paths:
        paintings.append(read_painting(path))
        if sum(width * height for width, height in (painting.size for painting in paintings)) > MOST_PIXELS:
            raise SettingsError(f"Together the pictures of one side may have {MOST_PIXELS // 10**6} million pixels.")
    return paintings


def read_pictures(paths: Sequence[str]) -> Tensor:
    """(n, 3, S, S) in [0, 1]: what the visitor sees is what is judged."""
    levels = np.stack([np.asarray(Image.open(path)) for path in paths])
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
