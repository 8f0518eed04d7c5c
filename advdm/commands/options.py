"""The options of the commands; names and defaults are those of the settings' fields."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, get_args

from advdm import environment
from advdm.errors import AdvDMError, SettingsError
from advdm.files import reason, shown
from advdm.settings import IMITATORS, MEANINGS, STRENGTHS, MimicrySettings, Sampling, Settings

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

ATTACK = {
    "epsilon": "largest change of any channel of any pixel, of 255 levels",
    "steps": "steps of the attack",
    "samples": "Monte-Carlo samples averaged in each step",
    "step_size": "change in one step, of 255 levels; default: an eighth of epsilon, with --as-published 1",
    "objective": f"what the attack maximises: {', '.join(MEANINGS)}",
    "even": "spend epsilon evenly, also where the eye sees it most",
    "as_published": "the algorithm of the AdvDM paper and nothing else",
    "seed": "the same seed gives the same bytes",
}
"""Help for each field of Settings; the next, for fields of the imitators' settings."""
IMITATOR = {
    "steps": "steps of learning",
    "learning_rate": "learning rate, tuned on atelier",
    "vectors": "inversion only: vectors in the learned word",
    "rank": "lora only: rank of the LoRA",
    "repaint_strength": "repaint only: how much is painted anew, 0.1 (little) to 1 (all)",
}


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
    text = "atelier, sd15, sd21, sdxl, a folder, a .safetensors file or a hub id"
    add("--model", default=environment.model_name(), metavar="NAME", help=text)
    add("--device", default=environment.device_name(), metavar="NAME", help="cpu, cuda or auto")


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
    text = "how visible the change may be; chooses epsilon for each painting, whatever --epsilon says"
    command.add_argument("--strength", choices=STRENGTHS, help=text)


def attack_settings(options: argparse.Namespace) -> Settings:
    """What the options say, and the defaults of what they say nothing of."""
    names = [field.name for field in fields(Settings)]
    return Settings(**{name: getattr(options, name) for name in names if hasattr(options, name)})


def add_mimicry(command: Parser, prefix: str = "") -> None:
    """The imitator and what it paints; `prefix` tells its own steps from those of an attack."""
    add = command.add_argument
    who = "inversion learns a word, lora trains an add-on, repaint paints over the picture"
    add("--imitator", choices=IMITATORS, default=next(iter(IMITATORS)), help=who)
    for name, text in IMITATOR.items():
        option = prefix + name if name == "steps" else name.replace("_", "-")
        owners = {who: field for who, kind in IMITATORS.items() for field in fields(kind) if field.name == name}
        defaults = ", ".join(f"{who} {field.default}" for who, field in owners.items())
        kind: Any = next(iter(owners.values())).type
        add(f"--{option}", dest=f"imitator_{name}", type=kind, metavar="N", help=f"{text} (default: {defaults})")
    add("--prompts", type=Path, metavar="FILE", help="a prompt a line, with {} for the style; default: six of our own")
    add("--count", type=int, default=MimicrySettings.count, metavar="N", help="pictures a prompt")
    add("--sampling-steps", type=int, default=Sampling.steps, metavar="N", help="denoising steps of each picture")


def mimicry_settings(options: argparse.Namespace, seed: int = 0) -> MimicrySettings:
    kind = IMITATORS[options.imitator]
    given = {name: getattr(options, f"imitator_{name}") for name in IMITATOR}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - {field.name for field in fields(kind)}:
        raise SettingsError(f"The imitator '{options.imitator}' has no {name.replace('_', ' ')}.")
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
