"""python -m advdm mimic: the same imitator on originals, on their protected copies, and on a control."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from advdm.commands import terminal
from advdm.commands.options import Commands, add_command, add_machine, add_mimicry, mimicry_settings
from advdm.commands.outputs import Report, check_apart, check_report, plan_outputs, write_report
from advdm.errors import AdvDMError
from advdm.files import make_folder, reason, shown
from advdm.settings import MimicrySettings

if TYPE_CHECKING:
    from advdm.experiments.measure import Outcome
    from advdm.models import LatentDiffusion

PAINTED = re.compile(r"(prompt_only|original|protected|random_noise)(_\d{2,}\.png|\.safetensors)")
"""Names of what `mimic` paints and learns."""


def add(commands: Commands) -> None:
    text = "Imitate a painter from originals, protected copies and random noise, and say how near each imitation came."
    command = add_command(commands, "mimic", text, mimic)
    add = command.add_argument
    add("original", metavar="ORIGINAL", type=Path, help="a painting, or a folder of paintings by one painter")
    add("protected", metavar="PROTECTED", type=Path, help="its protected copy, or a folder of theirs")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="for pictures, what was learned, report.json",
    )
    add_machine(command)
    add_mimicry(command)
    add("--seed", type=int, default=MimicrySettings.seed, metavar="N", help="of learning and painting")
    add("--report", type=Path, metavar="FILE.json", help="another copy of report.json")


def mimic(options: argparse.Namespace) -> int:
    """Learn from each side, paint the same prompts with each and without, and judge; then write everything."""
    from advdm.experiments.measure import Side, measure, ticks
    from advdm.mimicry import doubt, findings, settings_used, three_sides
    from advdm.models import choose_device, load_model

    settings = mimicry_settings(options, options.seed)
    device = choose_device(options.device)
    pairs = find_pairs(options.original, options.protected)
    sources = [path for pair in pairs for path in pair]
    check_apart(options.output, [source.parent for source in sources])
    if options.report:
        check_report(options.report, sources)
    originals, copies = ([terminal.read_aloud(path) for path in side] for side in zip(*pairs, strict=True))
    if doubtful := doubt(originals, copies):
        terminal.say(doubtful)
    model = load_model(options.model, device)
    start = time.perf_counter()
    sides = {Side(name): ones for name, ones in three_sides(originals, copies, settings.seed).items()}
    with terminal.progress(ticks(settings, len(sides))) as bar:
        outcome = measure(model, sides, settings, bar.update)
    report = settings_used(settings, model) | {
        "seconds": round(time.perf_counter() - start, 2),
        "paintings": [shown(original) for original, _ in pairs],
        "copies": [shown(copy) for _, copy in pairs],
        **findings(outcome.finding),
        "sides": numbers(outcome),
    }
    write_mimicry(options.output, outcome, report, settings, model)
    if options.report:
        write_report(options.report, report)
    print(outcome.finding.sentence)
    print(f"See {options.output / 'sheet.png'}.")
    return 0


def numbers(outcome: Outcome) -> Report:
    """The numbers of each side, by its name."""
    from advdm.experiments.tables import COLUMNS

    names = [name for name in COLUMNS if name != "imitation"]
    return {str(side): {name: row[name] for name in names if name in row} for side, row in outcome.rows.items()}


def find_pairs(original: Path, protected: Path) -> list[tuple[Path, Path]]:
    """Each original with its copy, by the names that `protect` gives or by its own; in order where no name tells."""
    # A folder may hold the copies beside the originals, or only copies, which are passed over where originals are.
    copies = sorted(protected.glob("[!.]*_protected.png")) if os.path.isdir(protected) else [protected]
    originals = terminal.found_aloud([original], used=lambda path: path in copies and path != original)
    copies = copies or terminal.found_aloud([protected])
    if len(originals) != len(copies):
        raise AdvDMError(
            f"Originals: {len(originals)}, protected copies: {len(copies)}. Each original needs its own copy, or the "
            "comparison is not fair."
        )
    planned = plan_outputs(originals, protected if os.path.isdir(protected) else None)
    by_name = {copy.stem.removesuffix("_protected"): copy for copy in copies}
    named = [by_name.get(planned[one].stem.removesuffix("_protected")) or by_name.get(one.stem) for one in originals]
    if not any(named):
        return list(zip(originals, copies, strict=True))
    pairs = []
    for path, copy in zip(originals, named, strict=True):
        if copy is None or named.count(copy) > 1:
            raise AdvDMError(
                f"Which is the protected copy of {shown(path)}? Some copies are named after their original, some not."
            )
        pairs.append((path, copy))
    return pairs


def write_mimicry(
    output: Path, outcome: Outcome, report: Report, settings: MimicrySettings, model: LatentDiffusion
) -> None:
    """Pictures, sheet, what was learned and at last the report, in place of those of an earlier run."""
    from advdm.sheets import picture, sheet

    prompts, _ = settings.prompts_and_seeds(0, settings.pictures)
    again = (output / "report.json").exists()
    old = [path for path in output.iterdir() if PAINTED.fullmatch(path.name)] if again else []
    with arriving(output, old) as folder:
        for side, made in outcome.pictures.items():
            for number, one in enumerate(made, 1):
                picture(one).save(folder / f"{str(side).replace(' ', '_')}_{number:02}.png")
        rows = {str(side): made for side, made in outcome.pictures.items()}
        sheet(rows, prompts).save(folder / "sheet.png")
        for side, learned in outcome.learned.items():
            learned.save(model, folder / f"{str(side).replace(' ', '_')}.safetensors")
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
