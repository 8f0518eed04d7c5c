"""python -m advdm mimic: the same imitator on originals and on protected copies."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from advdm.commands.protect import plan_targets
from advdm.commands.shared import (
    Report,
    add_command,
    add_imitator,
    add_machine,
    check_apart,
    check_report,
    mimicry_settings,
    read_aloud,
    write_report,
)
from advdm.errors import AdvDMError
from advdm.files import make_folder, reason, shown

if TYPE_CHECKING:
    from torch import Tensor

    from advdm.commands.shared import Commands
    from advdm.imitators.inversion import Word
    from advdm.judge import Judge
    from advdm.mimicry import MimicrySettings
    from advdm.models.latent_diffusion import LatentDiffusion
    from advdm.paintings import Painting

Item = TypeVar("Item")
PAINTED = re.compile(r"(unseen|original|protected)(_repainted)?_\d{2,}\.png")
"""Names of the pictures that `mimic` paints."""


def add(commands: Commands) -> None:
    text = "Imitate a painter from originals and from their protected copies, side by side, and say how near each came."
    command = add_command(commands, "mimic", text, mimic)
    add = command.add_argument
    add("original", metavar="ORIGINAL", type=Path, help="a painting, or a folder of paintings by one painter")
    add("protected", metavar="PROTECTED", type=Path, help="its protected copy, or a folder of theirs")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for pictures, words and report.json")
    add_machine(command)
    add("--steps", type=int, default=150, metavar="N", help="steps of textual inversion")
    add_imitator(command)
    add("--seed", type=int, default=0, metavar="N", help="of the learning, and of the first picture of each prompt")
    add(
        "--strength",
        type=float,
        metavar="S",
        help="also paint over the pictures (image to image): 0.04 hardly, 1 anew",
    )
    add("--report", type=Path, metavar="FILE.json", help="another copy of report.json")


def mimic(options: argparse.Namespace) -> int:
    """Learn a word from each side, paint the same prompts with each and without, and judge; then write everything."""
    from advdm.evaluation import noise_error
    from advdm.judge import shared_judge
    from advdm.mimicry import PAINTED_OVER, doubt, judge_imitations, reference
    from advdm.models.latent_diffusion import choose_device, load_model

    settings = mimicry_settings(options, options.steps, options.seed, options.strength)
    device = choose_device(options.device)
    pairs = find_pairs(options.original, options.protected)
    sources = [path for pair in pairs for path in pair]
    check_apart(options.output, [source.parent for source in sources])
    if options.report:
        check_report(options.report, sources)
    originals, copies = ([read_aloud(path) for path in side] for side in zip(*pairs, strict=True))
    if doubtful := doubt(originals, copies):
        print(doubtful, file=sys.stderr)
    model = load_model(options.model, device)
    start = time.perf_counter()
    words = learn_words(model, (originals, copies), settings)
    pictures = paint_sides(model, (originals, copies), words, settings)
    judge, wanted = shared_judge(), reference(model, originals, settings.seed)
    unseen, original, protected, *repainted = pictures.values()
    verdict = judge_imitations(judge, wanted, unseen, original, protected)
    over = judge_imitations(judge, wanted, unseen, *repainted, way=PAINTED_OVER) if repainted else None
    report = {
        "model": model.name,
        **asdict(settings),
        **model.machine,
        "seconds": round(time.perf_counter() - start, 2),
        "original": [str(original) for original, _ in pairs],
        "protected": [str(copy) for _, copy in pairs],
        **visibility(originals, copies),
        "noise_error": {
            "original": mean(noise_error(painting, model) for painting in originals),
            "protected": mean(noise_error(painting, model) for painting in copies),
        },
        **nearness(judge, wanted, pictures),
        "verdict": asdict(verdict),
        "verdict_repainted": over and asdict(over),
    }
    write_mimicry(options.output, pictures, words, report, settings)
    if options.report:
        write_report(options.report, report)
    for one in (verdict, over):
        if one:
            print(one.sentence)
    print(f"See {options.output / 'sheet.png'}.")
    return 0


def find_pairs(original: Path, protected: Path) -> list[tuple[Path, Path]]:
    """Each original with its copy, by the names that `protect` gives or by its own; in order where no name tells."""
    from advdm.paintings import find_paintings

    originals = find_paintings([original])
    # A folder may hold the copies beside the originals, or only copies, which find_paintings passes over.
    copies = sorted(protected.glob("[!.]*_protected.png")) if os.path.isdir(protected) else [protected]
    copies = copies or find_paintings([protected])
    for path, found in ((original, originals), (protected, copies)):
        if not found:
            raise AdvDMError(f"There is no picture in {shown(path)}.")
    if len(originals) != len(copies):
        raise AdvDMError(
            f"Originals: {len(originals)}, protected copies: {len(copies)}. Each original needs its own copy, or the "
            "comparison is not fair."
        )
    planned = plan_targets(originals, protected if os.path.isdir(protected) else None)
    by_name = {copy.stem.removesuffix("_protected"): copy for copy in copies}
    pairs, named = [], []
    for path in originals:
        copy = by_name.get(planned[path].stem.removesuffix("_protected")) or by_name.get(path.stem)
        named += [copy] if copy else []
        pairs.append((path, copy))
    if not named:
        return list(zip(originals, copies, strict=True))
    for path, copy in pairs:
        if copy is None or named.count(copy) > 1:
            raise AdvDMError(
                f"Which is the protected copy of {shown(path)}? Some copies are named after their original, some not."
            )
    return list(zip(originals, named, strict=True))


def learn_words(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: MimicrySettings
) -> tuple[Word, ...]:
    from advdm.mimicry import mimicry_steps

    steps = mimicry_steps(model, sides, settings)
    for step in progress(steps, "learning", "steps", settings.inversion.steps):
        last = step
    return last.words


def paint_sides(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], words: Sequence[Word], settings: MimicrySettings
) -> dict[str, Tensor]:
    """What each side paints, by its name in files: (prompts x count, 3, S, S) each."""
    from advdm.mimicry import imitate, imitate_unseen, repaint_all

    names = ("original", "protected")
    paint: dict[str, Callable[[], Tensor]] = {"unseen": lambda: imitate_unseen(model, settings)}
    paint |= {name: partial(imitate, model, word, settings) for name, word in zip(names, words, strict=True)}
    if settings.strength is not None:
        paint |= {
            f"{name}_repainted": partial(repaint_all, model, side, settings)
            for name, side in zip(names, sides, strict=True)
        }
    return {name: make() for name, make in progress(paint.items(), "painting", "sides", len(paint))}


def progress(work: Iterable[Item], description: str, unit: str, total: int) -> Iterable[Item]:
    bar: Iterable[Item] = tqdm(work, description, total, unit=f" {unit}", leave=False, dynamic_ncols=True, disable=None)
    return bar


def visibility(originals: Sequence[Painting], copies: Sequence[Painting]) -> Report:
    """How visible the change is, the largest of all copies and means; None where a copy has another size, or none."""
    from advdm.metrics import compare

    pairs = list(zip(originals, copies, strict=True))
    if any(original.size != copy.size for original, copy in pairs):
        return dict.fromkeys(("max_change", "psnr", "ssim", "perceptual"))
    seen = [compare(*pair) for pair in pairs]
    psnr = mean(one.psnr for one in seen)
    return {
        "max_change": max(one.max_change for one in seen),
        "psnr": psnr if math.isfinite(psnr) else None,
        "ssim": mean(one.ssim for one in seen),
        "perceptual": mean(one.perceptual for one in seen),
    }


def nearness(judge: Judge, wanted: Tensor, pictures: dict[str, Tensor]) -> Report:
    """How near each side's pictures come to the wanted ones; None where one picture a side is too few."""
    from advdm.judge import frechet_distance, knn_precision
    from advdm.mimicry import style_distances

    known, made = judge.embedding(wanted), {side: judge.embedding(ones) for side, ones in pictures.items()}
    enough = all(len(ones) > 1 for ones in pictures.values())
    return {
        "style_distance": dict(zip(pictures, style_distances(judge, wanted, list(pictures.values())), strict=True)),
        "frechet_distance": {side: frechet_distance(known, ones) for side, ones in made.items()} if enough else None,
        "knn_precision": {side: knn_precision(known, ones) for side, ones in made.items()},
    }


def write_mimicry(
    output: Path, pictures: dict[str, Tensor], words: Sequence[Word], report: Report, settings: MimicrySettings
) -> None:
    """Pictures, sheet, words and at last the report, in place of those of an earlier run."""
    from advdm.sheets import picture, sheet, strip

    columns = [prompt.replace("{}", "*") for prompt in settings.prompts for _ in settings.seeds]
    again = (output / "report.json").exists()
    old = [path for path in output.iterdir() if PAINTED.fullmatch(path.name)] if again else []
    with arriving(output, old) as folder:
        for side, made in pictures.items():
            for number, one in enumerate(made, 1):
                picture(one).save(folder / f"{side}_{number:02}.png")
        strips = {side.replace("_", " "): strip(made) for side, made in pictures.items()}
        sheet(strips, columns).save(folder / "sheet.png")
        for side, word in zip(("original", "protected"), words, strict=True):
            word.save(folder / f"{side}.safetensors")
        write_report(folder / "report.json", report)


@contextmanager
def arriving(output: Path, old: Sequence[Path]) -> Iterator[Path]:
    """A temporary folder whose files move into `output` if the block ends well, and go with it if it does not.

    What is `old` there and not replaced by one of them is deleted then.
    """
    make_folder(output)
    try:
        with TemporaryDirectory(prefix=".", dir=output) as folder:
            yield Path(folder)
            files = sorted(Path(folder).iterdir(), key=lambda path: path.name == "report.json")
            for path in files:
                os.replace(path, output / path.name)
        for path in {*old} - {output / path.name for path in files}:
            path.unlink()
    except OSError as error:
        raise AdvDMError(f"The folder {shown(output)} cannot be written to: {reason(error)}.") from error
