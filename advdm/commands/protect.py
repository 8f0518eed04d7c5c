"""python -m advdm protect: each painting into a PNG of its own size."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from advdm.commands import terminal
from advdm.commands.options import Commands, add_attack, add_command, add_machine, add_strength, attack_settings
from advdm.commands.outputs import Report, check_report, place, plan_outputs, write_report
from advdm.errors import AdvDMError
from advdm.files import check_folder, make_folder, shown
from advdm.settings import FAINT

if TYPE_CHECKING:
    from advdm.paintings import Painting
    from advdm.protection import Step

    Attack = Callable[[Painting], Iterator[Step]]


def add(commands: Commands) -> None:
    text = "Protect paintings, each into a PNG of the same size."
    command = add_command(commands, "protect", text, protect)
    add = command.add_argument
    add("paintings", nargs="+", metavar="PAINTING", type=Path, help="picture files, and folders of them")
    add("-o", "--output", type=Path, metavar="FILE|DIR", help="a .png (of one painting) or a folder; else beside each")
    add("--recursive", action="store_true", help="search folders within folders too")
    add_machine(command)
    add_attack(command)
    add_strength(command)
    add("--target", type=Path, metavar="FILE", help="a picture for the objective to drive to; else a pattern")
    add("--mask", type=Path, metavar="FILE", help="as large as the painting: black stays clean, white is protected")
    add("--report", type=Path, metavar="FILE.json", help="settings and measurements, as JSON")


def protect(options: argparse.Namespace) -> int:
    """Protect every painting that can be; returns 2 if one could not."""
    from accelerate.utils import gather_object

    from advdm.formats import check_painting
    from advdm.models import choose_device, load_model
    from advdm.paintings import mask_levels
    from advdm.protection import protection_steps

    # Whatever can be refused is refused before the model is loaded.
    settings = attack_settings(options)
    settings.check_target(options.target)
    target = terminal.read_aloud(options.target) if options.target else None
    mask = terminal.read_aloud(options.mask) if options.mask else None
    device = choose_device(options.device)
    sources = terminal.found_aloud(options.paintings, options.recursive)
    if mask and len(sources) > 1:
        raise AdvDMError(f"{shown(options.mask)} is the mask of one painting, not of {len(sources)}.")
    outputs = plan_outputs(sources, options.output, [path for path in options.paintings if os.path.isdir(path)])
    if options.output and options.output not in outputs.values():
        check_folder(options.output)
    for given in filter(None, (options.target, options.mask)):
        if place(given) in map(place, outputs.values()):
            raise AdvDMError(f"{shown(given)} would be replaced; choose another name for the protected copy.")
    if options.report:
        check_report(options.report, sources)
    outcomes: dict[Path, Report] = {}
    for source, output in outputs.items():
        with recorded(outcomes, source, terminal.say_once):
            check_painting(source)
            check_folder(output.parent)
    accepted = [source for source in sources if source not in outcomes]
    if not accepted:
        return 2
    state = terminal.processes(device)
    model = load_model(options.model, device)
    mine = accepted[state.process_index :: state.num_processes]
    white, strength = mask_levels(mask) if mask else None, options.strength
    attack = partial(protection_steps, model=model, settings=settings, target=target, mask=white, strength=strength)
    try:
        protect_all({source: outputs[source] for source in mine}, attack, settings.steps, outcomes)
        outcomes = {source: one for share in gather_object([outcomes]) for source, one in share.items()}
    finally:  # after Ctrl-C too: what is finished is reported
        used: Report = {"model": model.title, **asdict(settings), "step_size": settings.stride, **model.machine}
        used |= {name: shown(given) for name in ("strength", "target", "mask") if (given := getattr(options, name))}
        reports = [used | {"painting": shown(source)} | outcomes[source] for source in sources if source in outcomes]
        if options.report and state.is_main_process and any("protected" in report for report in reports):
            write_report(options.report, reports if len(sources) > 1 else reports[0])
    return 2 if any("error" in outcome for outcome in outcomes.values()) else 0


def protect_all(outputs: dict[Path, Path], attack: Attack, steps: int, outcomes: dict[Path, Report]) -> None:
    """Protect each source into its output file, under one bar whose time left is that of the whole job."""
    with terminal.progress(steps * len(outputs)) as bar:
        for done, (source, output) in enumerate(outputs.items()):
            # Counted anew, because a painting that failed leaves steps untaken.
            bar.total = bar.n + steps * (len(outputs) - done)
            counted = f"{done + 1}/{len(outputs)} " if len(outputs) > 1 else ""
            bar.set_description(counted + shown(source))
            with recorded(outcomes, source):
                outcomes[source] = protect_one(source, output, attack, bar)
                tqdm.write(summary(source, output, outcomes[source]), file=sys.stdout)


def protect_one(source: Path, output: Path, attack: Attack, bar: Any) -> Report:
    """Protect one painting, and measure the file that was written."""
    from advdm.metrics import compare
    from advdm.paintings import read_painting

    start = time.perf_counter()
    painting = terminal.read_aloud(source, terminal.say)
    for step in attack(painting):
        bar.update()
        last = step
    make_folder(output.parent)
    last.protected().save(output)
    seconds = time.perf_counter() - start
    measured = asdict(compare(painting, read_painting(output)))
    if measured["max_change"] == 0:
        terminal.say(f"{shown(source)}: The copy came out unchanged; take more steps or a larger epsilon.")
    measured = {name: value if math.isfinite(value) else None for name, value in measured.items()}  # as JSON wants it
    used = {"epsilon": last.settings.epsilon, "step_size": last.settings.stride}
    return {**used, "protected": shown(output), "seconds": round(seconds, 2), **measured}


@contextmanager
def recorded(outcomes: dict[Path, Report], source: Path, aloud: Callable[[str], None] = terminal.say) -> Iterator[None]:
    """Say and record what is refused inside the block, and go on after it."""
    try:
        yield
    except AdvDMError as error:
        outcomes[source] = {"error": str(error)}
        aloud(str(error))


def summary(source: Path, output: Path, report: Report) -> str:
    faint = report["visibility"] > FAINT and report["max_change"]
    hint = "faint, so it may protect little (see --strength), " if faint else ""
    psnr = "infinite" if report["psnr"] is None else f"{report['psnr']:.1f} dB"
    return (
        f"{shown(source)}: largest change {report['max_change']}, {report['visibility']:.1f} JOD (10: no difference), "
        f"PSNR {psnr}, SSIM {report['ssim']:.3f}, {report['seconds']:.1f} s, {hint}{output}"
    )
