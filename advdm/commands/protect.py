"""python -m advdm protect: each painting into a PNG of its own size."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from advdm.commands.shared import (
    Report,
    add_attack,
    add_command,
    add_machine,
    attack_settings,
    check_report,
    key,
    read_aloud,
    write_report,
)
from advdm.errors import AdvDMError
from advdm.files import check_folder, clean, make_folder, shown

if TYPE_CHECKING:
    from advdm.commands.shared import Commands
    from advdm.models.latent_diffusion import LatentDiffusion
    from advdm.paintings import Painting
    from advdm.protection import Settings


def add(commands: Commands) -> None:
    text = "Protect paintings, each into a PNG of the same size."
    command = add_command(commands, "protect", text, protect)
    add = command.add_argument
    add("paintings", nargs="+", metavar="PAINTING", type=Path, help="picture files, and folders of them")
    add("-o", "--output", type=Path, metavar="FILE|DIR", help="a .png (of one painting) or a folder; else beside each")
    add_machine(command)
    add_attack(command)
    add("--target", type=Path, metavar="FILE", help="a picture for textural and mist to drive to; else a pattern")
    add("--robust", action="store_true", help="against what platforms do as well: JPEG, resizing, a slight blur")
    add("--report", type=Path, metavar="FILE.json", help="settings and measurements, as JSON")


def protect(options: argparse.Namespace) -> int:
    """Protect every painting that can be; returns 2 if one could not."""
    from advdm.models.latent_diffusion import choose_device, load_model
    from advdm.paintings import check_painting, find_paintings

    # Whatever can be refused is refused before the model is loaded.
    settings = replace(attack_settings(options), robust=options.robust)
    settings.check_target(options.target)
    aim = read_aloud(options.target) if options.target else None
    device = choose_device(options.device)
    sources = find_paintings(options.paintings)
    if not sources:
        raise AdvDMError(f"There is no picture in {', '.join(map(shown, options.paintings))}.")
    targets = plan_targets(sources, options.output)
    if options.target and key(options.target) in map(key, targets.values()):
        raise AdvDMError(f"{shown(options.target)} is the target; choose another name for the protected copy.")
    if options.output:
        check_folder(targets[sources[0]].parent)
    if options.report:
        check_report(options.report, sources)
    outcomes: dict[Path, Report] = {}
    for source, target in targets.items():
        with recorded(outcomes, source):
            check_painting(source)
            check_folder(target.parent)
    accepted = {source: target for source, target in targets.items() if source not in outcomes}
    if not accepted:
        return 2
    model = load_model(options.model, device)
    try:
        protect_all(accepted, model, settings, aim, outcomes)
    finally:  # after Ctrl-C too: what is finished is reported
        used = settings_as_used(settings, model) | ({"target": str(options.target)} if aim else {})
        reports = [used | {"painting": str(source)} | outcomes[source] for source in sources if source in outcomes]
        if options.report and any("protected" in report for report in reports):
            write_report(options.report, reports if len(sources) > 1 else reports[0])
    return 2 if any("error" in outcome for outcome in outcomes.values()) else 0


def protect_all(
    targets: dict[Path, Path],
    model: LatentDiffusion,
    settings: Settings,
    aim: Painting | None,
    outcomes: dict[Path, Report],
) -> None:
    """Protect each source into its target file, under one bar whose time left is that of the whole job.

    aim is what `protection_steps` calls the target.
    """
    # disable=None: where stderr is no terminal, it holds sentences and no bar.
    with tqdm(total=settings.steps * len(targets), unit=" steps", leave=False, dynamic_ncols=True, disable=None) as bar:
        for done, (source, target) in enumerate(targets.items()):
            # Counted anew, because a painting that failed leaves steps untaken.
            bar.total = bar.n + settings.steps * (len(targets) - done)
            place = f"{done + 1}/{len(targets)} " if len(targets) > 1 else ""
            bar.set_description(place + shown(source))
            with recorded(outcomes, source):
                outcomes[source] = protect_one(source, target, model, settings, aim, bar)
                bar.write(summary(source, outcomes[source]), file=sys.stdout)


def protect_one(
    source: Path,
    target: Path,
    model: LatentDiffusion,
    settings: Settings,
    aim: Painting | None,
    bar: tqdm[NoReturn],
) -> Report:
    """Protect one painting, and measure the file that was written."""
    from advdm.metrics import compare
    from advdm.paintings import read_painting
    from advdm.protection import protection_steps

    start = time.perf_counter()
    painting = read_painting(source)
    for note in painting.notes:
        bar.write(f"{shown(source)}: {note}", file=sys.stderr)
    for step in protection_steps(painting, model, settings, aim):
        bar.update()
        last = step
    make_folder(target.parent)
    last.protected().save(target)
    seconds = time.perf_counter() - start
    seen = compare(painting, read_painting(target))
    psnr = seen.psnr if math.isfinite(seen.psnr) else None  # JSON knows no infinity
    measured = {"max_change": seen.max_change, "psnr": psnr, "ssim": seen.ssim, "perceptual": seen.perceptual}
    return {"protected": str(target), "seconds": round(seconds, 2), **measured}


@contextmanager
def recorded(outcomes: dict[Path, Report], source: Path) -> Iterator[None]:
    """Say and record what is refused inside the block, and go on after it."""
    try:
        yield
    except AdvDMError as error:
        outcomes[source] = {"error": str(error)}
        tqdm.write(str(error), file=sys.stderr)


def plan_targets(sources: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    """Where each painting goes: no two into one file, and none over a painting."""
    from advdm.paintings import SUFFIXES

    if output and output.suffix.lower() in SUFFIXES and not os.path.isdir(output):
        check_output(output, sources)
        return {sources[0]: output}
    taken = set(map(key, sources))
    targets = {}
    for source in sources:
        paths = ((output or source.parent) / name for name in names_for(source))
        targets[source] = next(path for path in paths if key(path) not in taken)
        taken.add(key(targets[source]))
    return targets


def names_for(source: Path) -> Iterator[str]:
    """harvest_protected.png, harvest_jpg_protected.png, harvest_jpg_2_protected.png, ..."""
    # Cut as bytes, of which file systems allow 255; what is no text is dropped.
    stem = os.fsencode(clean(source.stem))[:200].decode(errors="ignore")
    tagged = f"{stem}_{clean(source.suffix[1:])[:10]}"
    stems = chain((stem, tagged), (f"{tagged}_{number}" for number in count(2)))
    return (f"{stem}_protected.png" for stem in stems)


def check_output(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".png":
        raise AdvDMError(f"{shown(path)} must be a .png: lossy formats like JPEG weaken the protection.")
    if len(sources) > 1:
        raise AdvDMError(f"{shown(path)} is one file for {len(sources)} paintings; name a folder instead.")
    if key(path) == key(sources[0]):
        raise AdvDMError(f"{shown(path)} is the painting itself; choose another name.")


def settings_as_used(settings: Settings, model: LatentDiffusion) -> Report:
    return {"model": model.name, **asdict(settings), "step_size": settings.stride, **model.machine}


def summary(source: Path, report: Report) -> str:
    psnr = "infinite" if report["psnr"] is None else f"{report['psnr']:.1f} dB"
    return (
        f"{shown(source)}: largest change {report['max_change']}, PSNR {psnr}, SSIM {report['ssim']:.3f}, "
        f"perceptual distance {report['perceptual']:.3f}, {report['seconds']:.1f} s, {report['protected']}"
    )
