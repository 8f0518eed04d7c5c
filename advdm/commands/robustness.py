"""python -m advdm robustness: what is left of the protection after an imitator has cleaned the picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from advdm.commands import terminal
from advdm.commands.evaluate import run
from advdm.commands.options import (
    Commands,
    add_attack,
    add_command,
    add_machine,
    add_mimicry,
    add_strength,
    attack_settings,
    mimicry_settings,
)


def add(commands: Commands) -> None:
    text = "How much protection is left after common ways to remove it; the one that removes most comes first."
    command = add_command(commands, "robustness", text, robustness)
    add = command.add_argument
    add("originals", nargs="+", metavar="ORIGINAL", type=Path, help="picture files, and folders of them")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="for tables and cells")
    add("--recursive", action="store_true", help="search folders within folders too")
    add_machine(command)
    add_attack(command)
    add_strength(command)
    add_mimicry(command, "imitator-")


def robustness(options: argparse.Namespace) -> int:
    """Every picture is a subject."""
    from advdm.experiments.cells import Subject
    from advdm.experiments.robustness import Robustness

    mimicry = mimicry_settings(options, options.seed)
    experiment = Robustness(attack_settings(options), mimicry, options.strength)
    files = terminal.found_aloud(options.originals, options.recursive)
    subjects = [Subject(file.name, (file,)) for file in files]
    return run(experiment, subjects, options.output, options)
