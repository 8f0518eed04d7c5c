"""The options of the commands: one for each field of the settings, whose defaults stand there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, get_args

from advdm.errors import AdvDMError, SettingsError
from advdm.files import reason, shown
from advdm.settings import IMITATORS, MEANINGS, STRENGTHS, MimicrySettings, Sampling, Settings

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

ATTACK = {
    "epsilon": "largest change of any channel of any pixel, of 255 levels",
    "steps": "steps of the attack",
    "samples": "Monte-Carlo samples averaged in each step",
    "step_size": "change in one step, of 255 levels; else an eighth of epsilon, as published 1",
    "objective": f"what the attack pushes on: {', '.join(MEANINGS)}",
    "even": "spend epsilon evenly, also where the eye sees it most",
    "as_published": "the algorithm of the AdvDM paper and nothing else",
    "seed": "the same seed gives the same bytes",
}
"""Help for each field of Settings; the next, for fields of the imitators' settings."""
IMITATOR = {
    "steps": "of its learning",
    "learning_rate": "of its learning; settled on atelier",
    "vectors": "of the word that inversion learns",
    "rank": "of the LoRA",
    "strength": "of repaint, image to image: 0.1 hardly, 1 anew",
}
REPAINT_STRENGTH = "repaint_strength"
"""What options and reports call the strength of RepaintSettings: their `strength` says how visible a change may be."""


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
    add("--device", default=os.environ.get("ADVDM_DEVICE") or "auto", metavar="NAME", help="cpu, cuda or auto")


def add_attack(command: Parser, *but: str) -> None:
    """An option for each field of the attack's Settings, with its default there."""
    for field in fields(Settings):
        if field.name in but:
            continue
        option, text = f"--{field.name.replace('_', '-')}", ATTACK[field.name]
        if field.default is False:
            command.add_argument(option, action="store_true", help=text)
        else:
            kind, *_ = get_args(field.type) or (field.type,)
            metavar = "NAME" if kind is str else "N"
            command.add_argument(option, type=kind, default=field.default, metavar=metavar, help=text)


def add_strength(command: Parser) -> None:
    text = "how visible the change may be; chooses epsilon for each painting"
    command.add_argument("--strength", choices=STRENGTHS, help=text)


def attack_settings(options: argparse.Namespace) -> Settings:
    """What the options say, and the defaults of what they say nothing of."""
    names = [field.name for field in fields(Settings)]
    return Settings(**{name: getattr(options, name) for name in names if hasattr(options, name)})


def add_mimicry(command: Parser, prefix: str = "") -> None:
    """The imitator and what it paints; `prefix` tells its own steps from those of an attack."""
    add = command.add_argument
    add("--imitator", choices=IMITATORS, default=next(iter(IMITATORS)), help="who imitates")
    for name, text in IMITATOR.items():
        option = prefix + name if name == "steps" else outer_name(name).replace("_", "-")
        owners = {who: field for who, kind in IMITATORS.items() for field in fields(kind) if field.name == name}
        defaults = ", ".join(f"{who} {field.default}" for who, field in owners.items())
        kind: Any = next(iter(owners.values())).type
        add(f"--{option}", dest=f"imitator_{name}", type=kind, metavar="N", help=f"{text} (default: {defaults})")
    add("--prompts", type=Path, metavar="FILE", help="a prompt a line, with {} for the style; else six of our own")
    add("--count", type=int, default=MimicrySettings.count, metavar="N", help="pictures a prompt")
    add("--sampling-steps", type=int, default=Sampling.steps, metavar="N", help="denoising steps of each picture")


def outer_name(field: str) -> str:
    """What a field of the imitators' settings is called in options and reports."""
    return REPAINT_STRENGTH if field == "strength" else field


def mimicry_settings(options: argparse.Namespace, seed: int = 0) -> MimicrySettings:
    kind = IMITATORS[options.imitator]
    given = {name: getattr(options, f"imitator_{name}") for name in IMITATOR}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - {field.name for field in fields(kind)}:
        raise SettingsError(f"The imitator '{options.imitator}' has no {outer_name(name).replace('_', ' ')}.")
    prompts = read_prompts(options.prompts) if options.prompts else MimicrySettings.prompts
    return MimicrySettings(kind(**given), prompts, options.count, Sampling(options.sampling_steps), seed)


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
