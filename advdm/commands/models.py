"""python -m advdm models: the supported models, and which of them are on this machine."""

from __future__ import annotations

import argparse

from advdm import environment
from advdm.commands.options import Commands, add_command

ADVICE = """To use another: --model NAME, or ADVDM_MODEL=NAME for always; NAME may be a folder in diffusers' layout, one
.safetensors checkpoint, or a hub id. "here": its files are on this machine and look usable; loading checks all."""


def add(commands: Commands) -> None:
    text = "List the supported models, and which of them are on this machine."
    add_command(commands, "models", text, models)


def models(_: argparse.Namespace) -> int:
    """Print the table; reads no weights but their files' headers, and asks nobody but this machine."""
    from advdm.models import SHORT_NAMES, choose_device, state

    device = choose_device()
    default = environment.model_name()
    sources = SHORT_NAMES if default in SHORT_NAMES else SHORT_NAMES | {default: default}
    names, places = (max(map(len, column)) for column in zip(*sources.items(), strict=True))
    for name, source in sources.items():
        print(f"{name:{names}}  {source:{places}}  {'default, ' * (name == default)}{state(name)}")
    print(f"Device: {device}")
    print(ADVICE)
    return 0
