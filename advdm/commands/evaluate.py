"""python -m advdm evaluate: the experiment of the AdvDM paper as a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from advdm.commands.shared import (
    OBJECTIVE_NAMES,
    add_command,
    add_imitator,
    add_machine,
    check_apart,
    mimicry_settings,
)
from advdm.errors import AdvDMError
from advdm.files import shown

if TYPE_CHECKING:
    from advdm.cells import Cell
    from advdm.commands.shared import Commands
    from advdm.evaluation import EvaluationSettings
    from advdm.models.latent_diffusion import LatentDiffusion


def add(commands: Commands) -> None:
    text = "The experiment of the AdvDM paper as a table. What was interrupted goes on where it stopped."
    command = add_command(commands, "evaluate", text, evaluate)
    add = command.add_argument
    add("folder", metavar="DIR", type=Path, help="holds pictures, or a folder of pictures for each painter, or both")
    add("-o", "--output", type=Path, metavar="DIR", help="for tables, plot, sheet and cells; else DIR_evaluation")
    add_machine(command)
    add("--epsilons", type=numbers, default="2,4,8,16", metavar="N,N", help="largest changes, of 255 levels")
    add(
        "--objectives",
        type=names,
        default="advdm",
        metavar="NAME,NAME",
        help=f"what the attacks push on: any of {OBJECTIVE_NAMES}",
    )
    add("--seeds", type=int, default=1, metavar="N", help="runs with seeds 0 to N - 1 on each subject")
    add("--steps", type=int, default=100, metavar="N", help="steps of each attack")
    add("--samples", type=int, default=1, metavar="N", help="Monte-Carlo samples averaged in each of them")
    add("--step-size", type=float, metavar="S", help="change in one step, of 255 levels; else an eighth of epsilon")
    add("--inversion-steps", type=int, default=150, metavar="N", help="steps of textual inversion")
    add_imitator(command)


def numbers(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(map(int, text.split(","))))


def names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def evaluate(options: argparse.Namespace) -> int:
    """Compute the cells that are missing, shared with the other processes of `accelerate launch`; then the tables."""
    from accelerate import PartialState

    from advdm.cells import find_subjects, plan_cells, write_results
    from advdm.evaluation import EvaluationSettings
    from advdm.mimicry import check_prompts
    from advdm.models.latent_diffusion import choose_device, load_model
    from advdm.paintings import read_painting
    from advdm.protection import Settings

    settings = EvaluationSettings(
        options.epsilons,
        options.objectives,
        options.seeds,
        Settings(steps=options.steps, samples=options.samples, step_size=options.step_size),
        mimicry_settings(options, options.inversion_steps),
    )
    device = choose_device(options.device)
    whole = Path(os.path.abspath(options.folder))
    output = options.output or whole.parent / f"{whole.name}_evaluation"
    subjects = find_subjects(options.folder, output)
    sources = [file for subject in subjects for file in subject.files]
    if not sources:
        raise AdvDMError(f"There is no picture in {shown(whole)}.")
    check_apart(output, [options.folder, *(source.parent for source in sources)])
    for source in sources:
        read_painting(source)  # one that cannot be read is better known now than after hours
    # Chooses this process's card before the model goes there. A process may wait for another one's cells for days.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=30))
    model = load_model(options.model, device)
    check_prompts(model, settings.mimicry)
    cells = plan_cells(subjects, output, settings, model)
    missing = list({cell.folder: cell for cell in cells if not cell.finished}.values())
    state.wait_for_everyone()  # all must have seen the same cells missing before one is made
    # Not split_between_processes, whose older releases give whom nothing is left the last cell once more.
    mine = missing[state.process_index :: state.num_processes]
    make_cells(mine, model, settings, quiet=not state.is_main_process)
    state.wait_for_everyone()
    if state.is_main_process:
        write_results(cells, output, settings, model.title)
        print((output / "evaluation.md").read_text(encoding="utf-8"), end="")
    return 0


def make_cells(
    cells: Sequence[Cell], model: LatentDiffusion, settings: EvaluationSettings, quiet: bool = False
) -> None:
    """Make each cell, under one bar whose time left is that of this process's share."""
    from advdm.cells import make_cell
    from advdm.judge import shared_judge

    total = sum(settings.ticks(len(cell.subject.files)) for cell in cells)
    with tqdm(total=total, unit=" steps", leave=False, dynamic_ncols=True, disable=quiet or None) as bar:
        for cell in cells:
            bar.set_description(f"{shown(cell.subject.name)} {cell.seed}")
            make_cell(cell, model, shared_judge(), settings, bar.update)
