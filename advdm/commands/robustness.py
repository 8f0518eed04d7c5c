"""python -m advdm robustness: what is left of the protection after what platforms and cleaners do to a picture."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from advdm.commands.shared import (
    add_attack,
    add_command,
    add_imitator,
    add_machine,
    attack_settings,
    check_apart,
    mimicry_settings,
    read_aloud,
)
from advdm.errors import AdvDMError
from advdm.files import atomic_path, make_folder, shown

if TYPE_CHECKING:
    from advdm.commands.shared import Commands


def add(commands: Commands) -> None:
    text = "What is left of the protection after JPEG, resizing, a crop, blur, noise and cleaning, as a table."
    command = add_command(commands, "robustness", text, robustness)
    add = command.add_argument
    add("originals", nargs="+", metavar="ORIGINAL", type=Path, help="picture files, and folders of them")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="for robustness.md and robustness.csv")
    add_machine(command)
    add_attack(command)
    add("--skip-mimicry", action="store_true", help="noise error only; the imitators take most of the time")
    add("--inversion-steps", type=int, default=150, metavar="N", help="steps of textual inversion")
    add_imitator(command)


def robustness(options: argparse.Namespace) -> int:
    """Protect, treat and measure every painting; after each, write the tables of all so far."""
    from advdm.mimicry import check_prompts
    from advdm.models.latent_diffusion import choose_device, load_model
    from advdm.paintings import find_paintings, read_painting
    from advdm.robustness import comma_separated, markdown, tabulate, ticks
    from advdm.robustness import robustness as measure
    from advdm.tables import number_of

    attack = attack_settings(options)
    mimicry = None if options.skip_mimicry else mimicry_settings(options, options.inversion_steps, options.seed)
    device = choose_device(options.device)
    sources = find_paintings(options.originals)
    if not sources:
        raise AdvDMError(f"There is no picture in {', '.join(map(shown, options.originals))}.")
    check_apart(options.output, [source.parent for source in sources])
    for source in sources:
        read_aloud(source)  # one that cannot be read is better known now than after hours
    model = load_model(options.model, device)
    if mimicry:
        check_prompts(model, mimicry)
    used = {"attack": asdict(attack), "mimicry": mimicry and asdict(mimicry)}
    rows = []
    total = ticks(model, attack, mimicry) * len(sources)
    with tqdm(total=total, unit=" steps", leave=False, dynamic_ncols=True, disable=None) as bar:
        for source in sources:
            bar.set_description(shown(source))
            rows.append(measure(read_painting(source), model, attack, mimicry, bar.update))
            table = tabulate(rows)
            title = f"# What is left of the protection of {number_of(len(rows), 'painting')} on {model.title}"
            text = f"{title}\n\n{markdown(table)}\nSettings: `{json.dumps(used)}`\n"
            make_folder(options.output)
            with atomic_path(options.output / "robustness.md") as path:
                path.write_text(text, encoding="utf-8")
            with atomic_path(options.output / "robustness.csv") as path:
                path.write_text(comma_separated(table), encoding="utf-8")
    print(text, end="")
    return 0
