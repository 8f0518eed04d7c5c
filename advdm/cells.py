"""The experiment on files: one folder for each subject and seed, and the tables, plot and sheet of all of them.

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
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from advdm.errors import AdvDMError
from advdm.evaluation import EvaluationSettings, Tick, experiment
from advdm.files import atomic_path, clean, make_folder, reason, shown
from advdm.judge import Judge
from advdm.mimicry import middle_square
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import find_paintings, read_painting
from advdm.sheets import columns_of, grid, sheet, strip
from advdm.tables import (
    METRICS,
    RANDOM,
    UNSEEN,
    Row,
    can_plot,
    comma_separated,
    label,
    markdown,
    number_of,
    plot,
    tabulate,
)

EXPERIMENT = 3
"""To be raised with whatever changes the numbers of a cell and is no setting: older cells are then computed again."""
SHEET_SIDE = 16_000
"""Pixels a side up to which sheet.jpg grows; JPEG ends at 65,500."""


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
        return [Row(**row) for row in json.loads((self.folder / "cell.json").read_text())["rows"]]


def find_subjects(folder: Path, besides: Path) -> list[Subject]:
    """Each picture in the folder by itself, and each folder in it as one painter, but for the folder `besides`."""
    if not os.path.isdir(folder):
        raise AdvDMError(f"{shown(folder)} is not a folder.")
    alone = [Subject(file.stem, (file,)) for file in find_paintings([folder])]
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    painters = [Subject(path.name, tuple(find_paintings([path]))) for path in folders if not _same(path, besides)]
    return alone + [painter for painter in painters if painter.files]


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def plan_cells(
    subjects: Sequence[Subject], output: Path, settings: EvaluationSettings, model: LatentDiffusion
) -> list[Cell]:
    """Every cell; its folder's name tells settings, metrics, weights and the pictures' bytes apart from all others."""
    wanted = json.dumps([EXPERIMENT, settings.of_a_cell, list(METRICS), fingerprint(model)]).encode()
    cells = []
    for subject in subjects:
        digest = hashlib.sha256(wanted)
        try:
            for file in subject.files:
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise AdvDMError(f"{shown(file)} cannot be read: {reason(error)}.") from error
        stem = os.fsencode(clean(subject.name))[:100].decode(errors="ignore")
        for seed in range(settings.seeds):
            cells.append(Cell(subject, seed, output / "cells" / f"{stem}-{seed}-{digest.hexdigest()[:16]}"))
    return cells


def fingerprint(model: LatentDiffusion) -> str:
    """Of all weights and of the sampler: what a model painted before either was changed is not reused."""
    scheduler = model.pipeline.scheduler
    made = [type(scheduler).__name__, dict(scheduler.config)]
    digest = hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode())
    for module in (model.vae, model.text_encoder, model.unet):
        for weight in module.state_dict().values():
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def make_cell(cell: Cell, model: LatentDiffusion, judge: Judge, settings: EvaluationSettings, tick: Tick) -> None:
    """Run the experiment on one subject and write its cell, whole or not at all."""
    paintings = [read_painting(file) for file in cell.subject.files]
    outcome = experiment(paintings, cell.seed, model, judge, settings, tick)
    record = {
        "subject": cell.subject.name,
        "seed": cell.seed,
        "model": model.name,
        "settings": settings.of_a_cell,
        "rows": [asdict(row) for row in outcome.rows],
    }
    with _new_folder(cell.folder) as folder:
        for side, pictures in outcome.pictures.items():
            learned_from = torch.ones_like(pictures[:1])  # nothing was shown to the baseline
            if side in outcome.copies:
                square = middle_square(outcome.copies[side][0], model.size)
                learned_from = model.reconstruct(square.to(model.device))
            strip(torch.cat([learned_from, pictures])).save(folder / f"{label(side)}.png")
        (folder / "cell.json").write_text(json.dumps(record, indent=2) + "\n")


def write_results(cells: Sequence[Cell], output: Path, settings: EvaluationSettings, model: str) -> None:
    """evaluation.md and .csv, .png where there is matplotlib, and sheet.jpg, from finished cells."""
    table = tabulate([cell.rows() for cell in cells])
    subjects = number_of(len({cell.subject for cell in cells}), "subject")
    title = f"# Imitation of {subjects} on {model}\n\n"
    given = asdict(settings)
    for name in ("epsilon", "objective", "seed"):  # every attack has its own
        del given["attack"][name]
    used = f"\nSettings: `{json.dumps(given)}`\n"
    with atomic_path(output / "evaluation.md") as path:
        path.write_text(title + markdown(table) + used, encoding="utf-8")
    with atomic_path(output / "evaluation.csv") as path:
        path.write_text(comma_separated(table), encoding="utf-8")
    if can_plot():
        with atomic_path(output / "evaluation.png") as path:
            plot(table, path)
    first = [cell for cell in cells if cell.seed == 0]
    pages = [_page(cell, settings, SHEET_SIDE // columns_of(len(first))) for cell in first]
    with atomic_path(output / "sheet.jpg") as path:
        grid(pages).save(path, quality=90)


def _page(cell: Cell, settings: EvaluationSettings, side: int) -> Image.Image:
    """A cell's pictures: what was learned from, as the model sees it, and what came of each prompt; at most `side`
    pixels a side."""
    columns = ["learned from, as the model sees it"]
    columns += [prompt.replace("{}", "*") for prompt in settings.mimicry.prompts for _ in range(settings.mimicry.count)]
    # Of random noise the largest will do: it changes least.
    most = max(settings.epsilons)
    sides = [(UNSEEN, 0), *(side for side in settings.sides if side[0] != RANDOM or side[1] == most)]
    strips = {label(side): Image.open(cell.folder / f"{label(side)}.png") for side in sides}
    page = sheet(strips, columns, cell.subject.name)
    page.thumbnail((side, side))
    return page


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
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
