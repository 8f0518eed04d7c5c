"""What the commands share: the parser, options, paths that must not collide, reports."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from advdm.errors import AdvDMError
from advdm.files import atomic_path, check_folder, make_folder, reason, shown

if TYPE_CHECKING:
    from advdm.mimicry import MimicrySettings
    from advdm.paintings import Painting
    from advdm.protection import Settings

    Commands = argparse._SubParsersAction["Parser"]

OBJECTIVE_NAMES = "advdm, textural, mist, sds or sds_down"
"""For help, which must not wait for torch."""

Report = dict[str, Any]
"""What becomes one JSON object."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage block."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to each help line, unless it is None, or False because nobody asked for it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        unset = action.default is None or action.default is False
        return action.help if unset else super()._get_help_string(action)


def add_command(commands: Commands, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> Parser:
    """A command whose `text` is both its line in the list and its description."""
    command = commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)
    command.set_defaults(run=run)
    return command


def add_machine(command: Parser) -> None:
    add = command.add_argument
    add("--model", default=os.environ.get("ADVDM_MODEL") or "atelier", metavar="NAME", help="see the command models")
    add("--device", default=os.environ.get("ADVDM_DEVICE") or "auto", metavar="NAME", help="cpu, cuda, mps or auto")


def add_attack(command: Parser) -> None:
    add = command.add_argument
    add("--epsilon", type=int, default=8, metavar="N", help="largest change of any channel of any pixel, of 255 levels")
    add("--steps", type=int, default=100, metavar="N", help="steps of the attack")
    add("--samples", type=int, default=1, metavar="N", help="Monte-Carlo samples averaged in each step")
    add("--step-size", type=float, metavar="S", help="change in one step, of 255 levels; else an eighth of epsilon")
    add("--objective", default="advdm", metavar="NAME", help=f"what the attack pushes on: {OBJECTIVE_NAMES}")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bytes")


def attack_settings(options: argparse.Namespace) -> Settings:
    from advdm.protection import Settings

    return Settings(options.epsilon, options.steps, options.samples, options.step_size, options.objective, options.seed)


def key(path: Path) -> str:
    """Equal for two paths that may lead to the same file: some file systems ignore case."""
    return os.path.realpath(path).casefold()


def check_report(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".json" or key(path) in map(key, sources):
        raise AdvDMError(f"The report {shown(path)} must be a .json.")
    check_folder(path.parent)


def check_apart(output: Path, folders: Iterable[Path]) -> None:
    """What is written must not land among the paintings."""
    if key(output) in map(key, folders):
        raise AdvDMError(f"The folder {shown(output.resolve())} holds the paintings; choose another.")
    check_folder(output)


def write_report(path: Path, report: Report | list[Report]) -> None:
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def read_aloud(path: Path) -> Painting:
    """The painting, and to the terminal what had to be changed in it."""
    from advdm.paintings import read_painting

    painting = read_painting(path)
    for note in painting.notes:
        print(f"{shown(path)}: {note}", file=sys.stderr)
    return painting


def add_imitator(command: Parser) -> None:
    add = command.add_argument
    add("--vectors", type=int, default=4, metavar="N", help="vectors of the learned word")
    add("--learning-rate", type=float, default=0.02, metavar="R", help="of the word; settled on atelier, not elsewhere")
    add("--prompts", type=Path, metavar="FILE", help="a prompt a line, with {} for the word; else six of our own")
    add("--count", type=int, default=1, metavar="N", help="pictures a prompt")
    add("--sampling-steps", type=int, default=25, metavar="N", help="denoising steps of each picture")


def mimicry_settings(
    options: argparse.Namespace, steps: int, seed: int = 0, strength: float | None = None
) -> MimicrySettings:
    from advdm.imitators.inversion import InversionSettings
    from advdm.mimicry import PROMPTS, MimicrySettings

    prompts = read_prompts(options.prompts) if options.prompts else PROMPTS
    inversion = InversionSettings(steps, options.vectors, options.learning_rate, seed=seed)
    return MimicrySettings(inversion, prompts, options.count, options.sampling_steps, seed=seed, strength=strength)


def read_prompts(path: Path) -> tuple[str, ...]:
    """The lines of a text file that hold more than blanks."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise AdvDMError(f"{shown(path)} cannot be read: {reason(error)}.") from error
    except UnicodeError as error:
        raise AdvDMError(f"{shown(path)} is not a text file in UTF-8.") from error
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise AdvDMError(f"There is no prompt in {shown(path)}.")
    if not all("{}" in prompt for prompt in prompts):
        raise AdvDMError(f"Each prompt in {shown(path)} needs {{}} in the place of the learned word.")
    return prompts
