"""python -m advdm evaluate: the experiment of the AdvDM paper as a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advdm.commands import terminal
from advdm.commands.options import (
    Commands,
    add_attack,
    add_command,
    add_machine,
    add_mimicry,
    attack_settings,
    mimicry_settings,
)
from advdm.commands.outputs import check_apart
from advdm.errors import AdvDMError
from advdm.files import shown
from advdm.settings import AS_PUBLISHED, MEANINGS, EvaluationSettings

if TYPE_CHECKING:
    from advdm.experiments.cells import Experiment, Subject


def add(commands: Commands) -> None:
    text = "The experiment of the AdvDM paper as a table. What was interrupted goes on where it stopped."
    command = add_command(commands, "evaluate", text, evaluate)
    add = command.add_argument
    add("folder", metavar="DIR", type=Path, help="holds pictures, or a folder of pictures for each painter, or both")
    add("-o", "--output", type=Path, metavar="DIR", help="for tables and cells; else DIR_evaluation")
    add_machine(command)
    epsilons, objectives = map(joined, (EvaluationSettings.epsilons, EvaluationSettings.objectives))
    add("--epsilons", type=numbers, default=epsilons, metavar="N,N", help="largest changes, of 255 levels")
    text = f"the attacks: {AS_PUBLISHED}, or any of {', '.join(MEANINGS)}"
    add("--objectives", type=names, default=objectives, metavar="NAME,NAME", help=text)
    add("--seeds", type=int, default=EvaluationSettings.seeds, metavar="N", help="runs on each subject")
    add_attack(command, "epsilon", "objective", "as_published", "seed")
    add_mimicry(command, "imitator-")


def joined(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(map(int, text.split(","))))


def names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def evaluate(options: argparse.Namespace) -> int:
    """Every picture in the folder by itself is a subject, and so is every folder in it."""
    from advdm.experiments.cells import Subject
    from advdm.experiments.evaluate import Evaluation

    attack, mimicry = attack_settings(options), mimicry_settings(options)
    experiment = Evaluation(options.epsilons, options.objectives, options.seeds, attack, mimicry)
    folder, whole = options.folder, Path(os.path.abspath(options.folder))
    if not os.path.isdir(folder):
        raise AdvDMError(f"{shown(folder)} is not a folder.")
    output = options.output or whole.parent / f"{whole.name}_evaluation"
    check_apart(output, [folder])

    def own(path: Path) -> bool:
        """Whether an earlier run wrote it."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(output))

    files: dict[str, list[Path]] = {}
    for path in terminal.found_aloud([folder], True, own):
        files.setdefault(path.relative_to(folder).parts[0], []).append(path)
    subjects = [Subject(name, tuple(paths)) for name, paths in files.items()]
    return run(experiment, subjects, output, options)


def run(experiment: Experiment, subjects: Sequence[Subject], output: Path, options: argparse.Namespace) -> int:
    """Compute the cells that are missing, shared with the other processes of `accelerate launch`; then the tables."""
    from advdm.experiments.cells import make_cell, plan_cells, write_results
    from advdm.mimicry import check_mimicry
    from advdm.models import choose_device, load_model

    device = choose_device(options.device)
    sources = [file for subject in subjects for file in subject.files]
    check_apart(output, [source.parent for source in sources])
    for source in sources:
        terminal.read_aloud(source)  # one that cannot be read is better known now than after hours
    state = terminal.processes(device)
    model = load_model(options.model, device)
    check_mimicry(model, experiment.mimicry)
    cells = plan_cells(subjects, output, experiment, model)
    missing = list({cell.folder: cell for cell in cells if not cell.finished}.values())
    state.wait_for_everyone()  # all must have seen the same cells missing before one is made
    # Not split_between_processes, whose older releases give whom nothing is left the last cell once more.
    mine = missing[state.process_index :: state.num_processes]
    total = sum(experiment.ticks(len(cell.subject.files)) for cell in mine)
    with terminal.progress(total, quiet=not state.is_main_process) as bar:
        for cell in mine:
            bar.set_description(f"{shown(cell.subject.name)} {cell.seed}")
            make_cell(cell, model, experiment, bar.update)
    state.wait_for_everyone()
    if state.is_main_process:
        print(write_results(cells, output, experiment, model), end="")
    return 0
