"""python -m advdm models: what can be attacked, and what is on this machine."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from advdm.commands.shared import add_command

if TYPE_CHECKING:
    from advdm.commands.shared import Commands


def add(commands: Commands) -> None:
    text = "List the models that can be attacked, and which of them are on this machine."
    add_command(commands, "models", text, models)


def models(_: argparse.Namespace) -> int:
    """Print the table; asks nobody but this machine."""
    from advdm.models.latent_diffusion import SHORT_NAMES, choose_device, is_here

    device = choose_device()
    default = os.environ.get("ADVDM_MODEL") or "atelier"
    sources = SHORT_NAMES if default in SHORT_NAMES else SHORT_NAMES | {default: default}
    names, places = (max(map(len, column)) for column in zip(*sources.items(), strict=True))
    for name, source in sources.items():
        state = ("here" if is_here(source) else "not here") + ", default" * (name == default)
        print(f"{name:{names}}  {source:{places}}  {state}")
    print(f"Device: {device}")
    print("To use another: --model NAME, or ADVDM_MODEL=NAME for always; NAME may be a diffusers folder or a hub id.")
    return 0
