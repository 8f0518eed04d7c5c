"""Experiments on files: one folder for each subject and seed, with a sheet of its pictures, and the tables of all.

A cell is written once, whole or not at all, and never computed again for the same settings, weights, pictures and
`EXPERIMENT`: so an experiment that was interrupted goes on where it stopped, and several processes can share it.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pandas import DataFrame

from advdm.errors import AdvDMError
from advdm.experiments.evaluate import Evaluation
from advdm.experiments.measure import Row, Tick, measure
from advdm.experiments.robustness import Robustness
from advdm.experiments.tables import best_way_first, markdown, remarks, summarise
from advdm.files import atomic_path, clean, make_folder, reason, shown
from advdm.imitators.crops import crops
from advdm.models import LatentDiffusion
from advdm.models.schedule import TRAINING
from advdm.paintings import read_painting
from advdm.sheets import sheet

EXPERIMENT = 7
"""To be raised with whatever changes the numbers of a cell and is no setting: older cells are then computed again."""


Experiment = Evaluation | Robustness
"""A dataclass whose fields are its settings, with `sides`, what each imitator learns from, and `ticks`."""


@dataclass(frozen=True)
class Subject:
    """Whom the imitators imitate: one picture, or the pictures of one painter."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Cell:
    """One subject and one seed, and the folder in which what came out lies or will lie."""

    subject: Subject
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        return self.folder.is_dir()

    def rows(self) -> list[Row]:
        rows: list[Row] = json.loads((self.folder / "cell.json").read_text())
        return rows


def plan_cells(subjects: Sequence[Subject], output: Path, experiment: Experiment, model: LatentDiffusion) -> list[Cell]:
    """Every cell; its folder's name tells settings, weights and the pictures' bytes apart from all others."""
    settings = {name: value for name, value in asdict(experiment).items() if name != "seeds"}
    wanted = json.dumps([EXPERIMENT, type(experiment).__name__, settings, fingerprint(model)]).encode()
    cells = []
    for subject in subjects:
        digest = hashlib.sha256(wanted)
        try:
            for file in subject.files:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise AdvDMError(f"{shown(file)} cannot be read: {reason(error)}.") from error
        stem = os.fsencode(clean(subject.name))[:100].decode(errors="ignore")
        for seed in range(experiment.seeds):
            cells.append(Cell(subject, seed, output / "cells" / f"{stem}-{seed}-{digest.hexdigest()[:16]}"))
    return cells


def fingerprint(model: LatentDiffusion) -> str:
    """Of all weights and of the schedule of noise: what a model painted before either was changed is not reused."""
    schedule = {name: model.pipeline.scheduler.config[name] for name in TRAINING}
    digest = hashlib.sha256(json.dumps(schedule, default=str).encode())
    for part in model.pipeline.components.values():
        for weight in part.state_dict().values() if isinstance(part, torch.nn.Module) else ():
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def make_cell(cell: Cell, model: LatentDiffusion, experiment: Experiment, tick: Tick) -> None:
    """Run the experiment on one subject and write its cell, whole or not at all."""
    paintings = [read_painting(file) for file in cell.subject.files]
    sides = experiment.sides(paintings, cell.seed, model, tick)
    outcome = measure(model, sides, replace(experiment.mimicry, seed=experiment.mimicry.seed + cell.seed), tick)
    rows = [{"subject": cell.subject.name, "seed": cell.seed, **row} for row in outcome.rows.values()]
    with new_folder(cell.folder) as folder:
        prompts, _ = experiment.mimicry.prompts_and_seeds(0, experiment.mimicry.pictures)
        shown_to = {side: crops(ones[:1], model.size, 1, 0) for side, ones in sides.items()}
        nothing = torch.ones(1, 3, model.size, model.size)
        made = {str(s): torch.cat([shown_to.get(s, nothing), some]) for s, some in outcome.pictures.items()}
        sheet(made, ["learned from", *prompts]).save(folder / "sheet.jpg", quality=90)
        (folder / "cell.json").write_text(json.dumps(rows, indent=2) + "\n")


def write_results(cells: Sequence[Cell], output: Path, experiment: Experiment, model: LatentDiffusion) -> str:
    """NAME.md, NAME.csv and, of every subject, NAME_subjects.csv of finished cells; returns the first one's text."""
    name = type(experiment).__name__
    names = names_of([cell.subject for cell in cells])
    rows = [row | {"subject": names[cell.subject]} for cell in cells for row in cell.rows()]
    table, first = best_way_first(summarise(rows))
    counted = f"{len(names)} subject{'s' * (len(names) != 1)}, {experiment.seeds} seed{'s' * (experiment.seeds != 1)}"
    said = "\n".join(f"- {remark}" for remark in [*first, *remarks(table, rows)])
    used = json.dumps(asdict(experiment))
    text = f"# {name}: {counted}, {model.title}\n\n{markdown(table)}\n{said}\n\nSettings: `{used}`\n"
    stem = name.lower()
    with atomic_path(output / f"{stem}.md") as path:
        path.write_text(text, encoding="utf-8")
    with atomic_path(output / f"{stem}.csv") as path:
        table.to_csv(path)
    with atomic_path(output / f"{stem}_subjects.csv") as path:
        DataFrame(rows).to_csv(path, index=False)
    return text


def names_of(subjects: Sequence[Subject]) -> dict[Subject, str]:
    """The name of each, with a number where two pictures of different folders have the same."""
    each = list(dict.fromkeys(subjects))
    names = [subject.name for subject in each]
    tagged = [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, 1)]
    return dict(zip(each, tagged, strict=True))


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` if the block ends well, and is removed if it does not."""
    make_folder(target.parent)
    temporary = target.parent / f".{secrets.token_hex(8)}"
    try:
        temporary.mkdir()
        yield temporary
        try:
            os.replace(temporary, target)
        except OSError:
            if not target.is_dir():  # else another run was quicker, with the same cell
                raise
    except OSError as error:
        raise AdvDMError(f"{shown(target)} cannot be written: {reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
