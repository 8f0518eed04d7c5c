"""The command line: python -m advdm protect | mimic | evaluate | models.

Exit 0 and every file written, 2 and one line on stderr for each thing refused, or 130 after Ctrl-C.
"""

# --help and a mistyped option must not wait seconds for torch: whatever brings it is imported inside the functions.
from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from itertools import chain, count
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tqdm import tqdm

from advdm.errors import AdvDMError
from advdm.files import atomic_path, check_folder, clean, make_folder, reason, shown

if TYPE_CHECKING:
    from torch import Tensor

    from advdm.cells import Cell
    from advdm.evaluation import EvaluationSettings
    from advdm.inversion import Word
    from advdm.mimicry import MimicrySettings
    from advdm.model import LatentDiffusion
    from advdm.paintings import Painting
    from advdm.protection import Settings

    Commands = argparse._SubParsersAction["Parser"]

Item = TypeVar("Item")
Report = dict[str, Any]
"""What becomes one JSON object."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage block."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see --help)\n")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to each help line, unless it is None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may hold what a terminal cannot show; a log must get each line when its painting is finished.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except AdvDMError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # one line, whatever names it quotes
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def parser() -> Parser:
    top = Parser(prog="python -m advdm", description="Protect paintings from imitation by diffusion models.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_protect, add_mimic, add_evaluate, add_models):
        add(commands)
    return top


def add_protect(commands: Commands) -> None:
    text = "Protect paintings, each into a PNG of the same size."
    command = commands.add_parser("protect", help=text, description=text, formatter_class=HelpFormatter)
    command.set_defaults(run=protect)
    add = command.add_argument
    add("paintings", nargs="+", metavar="PAINTING", type=Path, help="picture files, and folders of them")
    add("-o", "--output", type=Path, metavar="FILE|DIR", help="a .png (of one painting) or a folder; else beside each")
    add_machine(command)
    add("--epsilon", type=int, default=8, metavar="N", help="largest change of any channel of any pixel, of 255 levels")
    add("--steps", type=int, default=100, metavar="N", help="steps of the attack")
    add("--samples", type=int, default=1, metavar="N", help="Monte-Carlo samples averaged in each step")
    add("--step-size", type=float, metavar="S", help="change in one step, of 255 levels; else an eighth of epsilon")
    add("--objective", default="advdm", metavar="NAME", help="what the attack pushes on")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same bytes")
    add("--report", type=Path, metavar="FILE.json", help="settings and measurements, as JSON")


def add_machine(command: Parser) -> None:
    add = command.add_argument
    add("--model", default=os.environ.get("ADVDM_MODEL") or "atelier", metavar="NAME", help="see the command models")
    add("--device", default=os.environ.get("ADVDM_DEVICE") or "auto", metavar="NAME", help="cpu, cuda, mps or auto")


def protect(options: argparse.Namespace) -> int:
    """Protect every painting that can be; returns 2 if one could not."""
    from advdm.model import choose_device, load_model
    from advdm.paintings import check_painting, find_paintings
    from advdm.protection import Settings

    # Whatever can be refused is refused before the model is loaded.
    settings = Settings(
        options.epsilon, options.steps, options.samples, options.step_size, options.objective, options.seed
    )
    device = choose_device(options.device)
    sources = find_paintings(options.paintings)
    if not sources:
        raise AdvDMError(f"There is no picture in {', '.join(map(shown, options.paintings))}.")
    targets = plan_targets(sources, options.output)
    if options.output:
        check_folder(targets[sources[0]].parent)
    if options.report:
        check_report(options.report, sources)
    outcomes: dict[Path, Report] = {}
    for source, target in targets.items():
        with recorded(outcomes, source):
            check_painting(source)
            check_folder(target.parent)
    accepted = {source: target for source, target in targets.items() if source not in outcomes}
    if not accepted:
        return 2
    model = load_model(options.model, device)
    try:
        protect_all(accepted, model, settings, outcomes)
    finally:  # after Ctrl-C too: what is finished is reported
        used = settings_as_used(settings, model)
        reports = [used | {"painting": str(source)} | outcomes[source] for source in sources if source in outcomes]
        if options.report and any("protected" in report for report in reports):
            write_report(options.report, reports if len(sources) > 1 else reports[0])
    return 2 if any("error" in outcome for outcome in outcomes.values()) else 0


def protect_all(
    targets: dict[Path, Path], model: LatentDiffusion, settings: Settings, outcomes: dict[Path, Report]
) -> None:
    """Protect each source into its target, under one bar whose time left is that of the whole job."""
    # disable=None: where stderr is no terminal, it holds sentences and no bar.
    with tqdm(total=settings.steps * len(targets), unit=" steps", leave=False, dynamic_ncols=True, disable=None) as bar:
        for done, (source, target) in enumerate(targets.items()):
            # Counted anew, because a painting that failed leaves steps untaken.
            bar.total = bar.n + settings.steps * (len(targets) - done)
            place = f"{done + 1}/{len(targets)} " if len(targets) > 1 else ""
            bar.set_description(place + shown(source))
            with recorded(outcomes, source):
                outcomes[source] = protect_one(source, target, model, settings, bar)
                bar.write(summary(source, outcomes[source]), file=sys.stdout)


def protect_one(source: Path, target: Path, model: LatentDiffusion, settings: Settings, bar: tqdm[NoReturn]) -> Report:
    """Protect one painting, and measure the file that was written."""
    from advdm.metrics import compare
    from advdm.paintings import read_painting
    from advdm.protection import protection_steps

    start = time.perf_counter()
    painting = read_painting(source)
    for note in painting.notes:
        bar.write(f"{shown(source)}: {note}", file=sys.stderr)
    for step in protection_steps(painting, model, settings):
        bar.update()
        last = step
    make_folder(target.parent)
    last.protected().save(target)
    seconds = time.perf_counter() - start
    seen = compare(painting, read_painting(target))
    psnr = seen.psnr if math.isfinite(seen.psnr) else None  # JSON knows no infinity
    measured = {"max_change": seen.max_change, "psnr": psnr, "ssim": seen.ssim}
    return {"protected": str(target), "seconds": round(seconds, 2), **measured}


@contextmanager
def recorded(outcomes: dict[Path, Report], source: Path) -> Iterator[None]:
    """Say and record what is refused inside the block, and go on after it."""
    try:
        yield
    except AdvDMError as error:
        outcomes[source] = {"error": str(error)}
        tqdm.write(str(error), file=sys.stderr)


def plan_targets(sources: Sequence[Path], output: Path | None) -> dict[Path, Path]:
    """Where each painting goes: no two into one file, and none over a painting."""
    from advdm.paintings import SUFFIXES

    if output and output.suffix.lower() in SUFFIXES and not os.path.isdir(output):
        check_output(output, sources)
        return {sources[0]: output}
    taken = set(map(key, sources))
    targets = {}
    for source in sources:
        paths = ((output or source.parent) / name for name in names_for(source))
        targets[source] = next(path for path in paths if key(path) not in taken)
        taken.add(key(targets[source]))
    return targets


def names_for(source: Path) -> Iterator[str]:
    """harvest_protected.png, harvest_jpg_protected.png, harvest_jpg_2_protected.png, ..."""
    # Cut as bytes, of which file systems allow 255; what is no text is dropped.
    stem = os.fsencode(clean(source.stem))[:200].decode(errors="ignore")
    tagged = f"{stem}_{clean(source.suffix[1:])[:10]}"
    stems = chain((stem, tagged), (f"{tagged}_{number}" for number in count(2)))
    return (f"{stem}_protected.png" for stem in stems)


def key(path: Path) -> str:
    """Equal for two paths that may lead to the same file: some file systems ignore case."""
    return os.path.realpath(path).casefold()


def check_output(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".png":
        raise AdvDMError(f"{shown(path)} must be a .png: lossy formats like JPEG weaken the protection.")
    if len(sources) > 1:
        raise AdvDMError(f"{shown(path)} is one file for {len(sources)} paintings; name a folder instead.")
    if key(path) == key(sources[0]):
        raise AdvDMError(f"{shown(path)} is the painting itself; choose another name.")


def check_report(path: Path, sources: Sequence[Path]) -> None:
    if path.suffix.lower() != ".json" or key(path) in map(key, sources):
        raise AdvDMError(f"The report {shown(path)} must be a .json.")
    check_folder(path.parent)


def settings_as_used(settings: Settings, model: LatentDiffusion) -> Report:
    return {"model": model.name, **asdict(settings), "step_size": settings.stride, **machine(model)}


def machine(model: LatentDiffusion) -> Report:
    return {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}


def summary(source: Path, report: Report) -> str:
    psnr = "infinite" if report["psnr"] is None else f"{report['psnr']:.1f} dB"
    return (
        f"{shown(source)}: largest change {report['max_change']}, PSNR {psnr}, SSIM {report['ssim']:.3f}, "
        f"{report['seconds']:.1f} s, {report['protected']}"
    )


def write_report(path: Path, report: Report | list[Report]) -> None:
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def add_mimic(commands: Commands) -> None:
    text = "Imitate a painter from originals and from their protected copies, side by side, and say how near each came."
    command = commands.add_parser("mimic", help=text, description=text, formatter_class=HelpFormatter)
    command.set_defaults(run=mimic)
    add = command.add_argument
    add("original", metavar="ORIGINAL", type=Path, help="a painting, or a folder of paintings by one painter")
    add("protected", metavar="PROTECTED", type=Path, help="its protected copy, or a folder of theirs")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for pictures, words and report.json")
    add_machine(command)
    add("--steps", type=int, default=200, metavar="N", help="steps of textual inversion")
    add_imitator(command)
    add("--seed", type=int, default=0, metavar="N", help="of the learning, and of the first picture of each prompt")
    add("--strength", type=float, metavar="S", help="also paint over the originals and copies, this much (0 to 1)")
    add("--report", type=Path, metavar="FILE.json", help="another copy of report.json")


def add_imitator(command: Parser) -> None:
    add = command.add_argument
    add("--vectors", type=int, default=4, metavar="N", help="vectors of the learned word")
    add("--prompts", type=Path, metavar="FILE", help="a prompt a line, with {} for the word; else six of our own")
    add("--count", type=int, default=1, metavar="N", help="pictures a prompt")
    add("--sampling-steps", type=int, default=25, metavar="N", help="denoising steps of each picture")


def mimic(options: argparse.Namespace) -> int:
    """Learn a word from each side, paint the same prompts with each and without, and judge; then write everything."""
    from advdm.evaluation import noise_error
    from advdm.judge import Judge
    from advdm.mimicry import judge_imitations, pixels_of, reference, style_distances
    from advdm.model import choose_device, load_model

    settings = mimicry_settings(options, options.steps, options.seed, options.strength)
    device = choose_device(options.device)
    pairs = find_pairs(options.original, options.protected)
    sources = [path for pair in pairs for path in pair]
    check_apart(options.output, [source.parent for source in sources])
    if options.report:
        check_report(options.report, sources)
    originals, copies = ([read_aloud(path) for path in side] for side in zip(*pairs, strict=True))
    model = load_model(options.model, device)
    start = time.perf_counter()
    words = learn_words(model, (originals, copies), settings)
    pictures = paint_sides(model, (originals, copies), words, settings)
    judge, wanted = Judge(), reference(model, [pixels_of(painting) for painting in originals], settings.seed)
    verdict = judge_imitations(judge, wanted, pictures["unseen"], pictures["original"], pictures["protected"])
    report = {
        "model": model.name,
        **asdict(settings),
        **machine(model),
        "seconds": round(time.perf_counter() - start, 2),
        "original": [str(original) for original, _ in pairs],
        "protected": [str(copy) for _, copy in pairs],
        **visibility(originals, copies),
        "noise_error": {
            "original": mean(noise_error(painting, model) for painting in originals),
            "protected": mean(noise_error(painting, model) for painting in copies),
        },
        "style_distance": dict(zip(pictures, style_distances(judge, wanted, list(pictures.values())), strict=True)),
        "verdict": asdict(verdict),
    }
    write_mimicry(options.output, pictures, words, report, settings)
    if options.report:
        write_report(options.report, report)
    print(f"{verdict.sentence} See {options.output / 'sheet.png'}.")
    return 0


def mimicry_settings(
    options: argparse.Namespace, steps: int, seed: int = 0, strength: float | None = None
) -> MimicrySettings:
    from advdm.inversion import InversionSettings
    from advdm.mimicry import PROMPTS, MimicrySettings

    prompts = read_prompts(options.prompts) if options.prompts else PROMPTS
    inversion = InversionSettings(steps=steps, vectors=options.vectors, seed=seed)
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
    if not any("{}" in prompt for prompt in prompts):
        raise AdvDMError(f"No prompt in {shown(path)} has {{}} in it, the place of the learned word.")
    return prompts


def find_pairs(original: Path, protected: Path) -> list[tuple[Path, Path]]:
    """Each original with its copy, by name, or in their order where the names do not tell."""
    from advdm.paintings import find_paintings

    originals = find_paintings([original])
    # A folder may hold the copies beside the originals, or only copies, which find_paintings passes over.
    copies = sorted(protected.glob("[!.]*_protected.png")) if os.path.isdir(protected) else [protected]
    copies = copies or find_paintings([protected])
    for path, found in ((original, originals), (protected, copies)):
        if not found:
            raise AdvDMError(f"There is no picture in {shown(path)}.")
    if len(originals) != len(copies):
        raise AdvDMError(
            f"There are {len(originals)} originals and {len(copies)} protected copies; each needs its own, or the "
            "comparison is not fair."
        )
    by_name = {copy.stem.removesuffix("_protected"): copy for copy in copies}
    named = [by_name[path.stem] for path in originals if path.stem in by_name]
    return list(zip(originals, named if len(set(named)) == len(originals) else copies, strict=True))


def check_apart(output: Path, folders: Iterable[Path]) -> None:
    """What is written must not land among the paintings."""
    if key(output) in map(key, folders):
        raise AdvDMError(f"The folder {shown(output.resolve())} holds the paintings; choose another.")
    check_folder(output)


def read_aloud(path: Path) -> Painting:
    """The painting, and to the terminal what had to be changed in it."""
    from advdm.paintings import read_painting

    painting = read_painting(path)
    for note in painting.notes:
        print(f"{shown(path)}: {note}", file=sys.stderr)
    return painting


def learn_words(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: MimicrySettings
) -> tuple[Word, ...]:
    from advdm.mimicry import mimicry_steps

    steps = mimicry_steps(model, sides, settings)
    for step in progress(steps, "learning", "steps", settings.inversion.steps):
        last = step
    return last.words


def paint_sides(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], words: Sequence[Word], settings: MimicrySettings
) -> dict[str, Tensor]:
    """What each side paints, by its name in files: (prompts x count, 3, S, S) each."""
    from advdm.mimicry import imitate, imitate_unseen, repaint_all

    names = ("original", "protected")
    paint: dict[str, Callable[[], Tensor]] = {"unseen": lambda: imitate_unseen(model, settings)}
    paint |= {name: partial(imitate, model, word, settings) for name, word in zip(names, words, strict=True)}
    if settings.strength is not None:
        paint |= {
            f"{name}_repainted": partial(repaint_all, model, side, settings)
            for name, side in zip(names, sides, strict=True)
        }
    return {name: make() for name, make in progress(paint.items(), "painting", "sides", len(paint))}


def progress(work: Iterable[Item], description: str, unit: str, total: int) -> Iterable[Item]:
    bar: Iterable[Item] = tqdm(work, description, total, unit=f" {unit}", leave=False, dynamic_ncols=True, disable=None)
    return bar


def visibility(originals: Sequence[Painting], copies: Sequence[Painting]) -> Report:
    """max_change, psnr and ssim of the copies, means over all; None where a copy has another size or no change."""
    from advdm.metrics import compare

    pairs = list(zip(originals, copies, strict=True))
    if any(original.size != copy.size for original, copy in pairs):
        return {"max_change": None, "psnr": None, "ssim": None}
    seen = [compare(*pair) for pair in pairs]
    psnr = mean(one.psnr for one in seen)
    return {
        "max_change": max(one.max_change for one in seen),
        "psnr": psnr if math.isfinite(psnr) else None,
        "ssim": mean(one.ssim for one in seen),
    }


def write_mimicry(
    output: Path, pictures: dict[str, Tensor], words: Sequence[Word], report: Report, settings: MimicrySettings
) -> None:
    """Pictures, sheet, words and report, which appear in the folder together."""
    from advdm.sheets import picture, sheet, strip

    columns = [prompt.replace("{}", "*") for prompt in settings.prompts for _ in settings.seeds]
    with arriving(output) as folder:
        for side, made in pictures.items():
            for number, one in enumerate(made, 1):
                picture(one).save(folder / f"{side}_{number:02}.png")
        strips = {side.replace("_", " "): strip(made) for side, made in pictures.items()}
        sheet(strips, columns).save(folder / "sheet.png")
        for side, word in zip(("original", "protected"), words, strict=True):
            word.save(folder / f"{side}.safetensors")
        write_report(folder / "report.json", report)


@contextmanager
def arriving(output: Path) -> Iterator[Path]:
    """A temporary folder whose files move into `output` if the block ends well, and go with it if it does not."""
    make_folder(output)
    try:
        with TemporaryDirectory(prefix=".", dir=output) as folder:
            yield Path(folder)
            for path in sorted(Path(folder).iterdir()):
                os.replace(path, output / path.name)
    except OSError as error:
        raise AdvDMError(f"The folder {shown(output)} cannot be written to: {reason(error)}.") from error


def add_evaluate(commands: Commands) -> None:
    text = "The experiment of the AdvDM paper as a table. What was interrupted goes on where it stopped."
    command = commands.add_parser("evaluate", help=text, description=text, formatter_class=HelpFormatter)
    command.set_defaults(run=evaluate)
    add = command.add_argument
    add("folder", metavar="DIR", type=Path, help="holds pictures, or a folder of pictures for each painter, or both")
    add("-o", "--output", type=Path, metavar="DIR", help="for tables, plot, sheet and cells; else DIR_evaluation")
    add_machine(command)
    add("--epsilons", type=numbers, default="2,4,8,16", metavar="N,N", help="largest changes, of 255 levels")
    add("--objectives", type=names, default="advdm", metavar="NAME,NAME", help="what the attacks push on")
    add("--seeds", type=int, default=1, metavar="N", help="runs with seeds 0 to N - 1 on each subject")
    add("--steps", type=int, default=100, metavar="N", help="steps of each attack")
    add("--samples", type=int, default=1, metavar="N", help="Monte-Carlo samples averaged in each of them")
    add("--step-size", type=float, metavar="S", help="change in one step, of 255 levels; else an eighth of epsilon")
    add("--inversion-steps", type=int, default=200, metavar="N", help="steps of textual inversion")
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
    from advdm.model import choose_device, load_model
    from advdm.paintings import check_painting
    from advdm.protection import Settings
    from advdm.tables import check_plotting

    settings = EvaluationSettings(
        options.epsilons,
        options.objectives,
        options.seeds,
        Settings(steps=options.steps, samples=options.samples, step_size=options.step_size),
        mimicry_settings(options, options.inversion_steps),
    )
    device = choose_device(options.device)
    check_plotting()
    whole = options.folder.resolve()
    output = options.output or options.folder.parent / f"{whole.name}_evaluation"
    subjects = find_subjects(options.folder, output)
    sources = [file for subject in subjects for file in subject.files]
    if not sources:
        raise AdvDMError(f"There is no picture in {shown(whole)}.")
    check_apart(output, [options.folder, *(source.parent for source in sources)])
    for source in sources:
        check_painting(source)
    # Chooses this process's card before the model goes there. A process may wait for another one's cells for days.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=30))
    model = load_model(options.model, device)
    cells = plan_cells(subjects, output, settings, model)
    missing = list({cell.folder: cell for cell in cells if not cell.finished}.values())
    state.wait_for_everyone()  # all must have seen the same cells missing before one is made
    with state.split_between_processes(missing) as mine:
        make_cells(mine, model, settings, quiet=not state.is_main_process)
    state.wait_for_everyone()
    if state.is_main_process:
        write_results(cells, output, settings, model.name)
        print((output / "evaluation.md").read_text(encoding="utf-8"), end="")
    return 0


def make_cells(
    cells: Sequence[Cell], model: LatentDiffusion, settings: EvaluationSettings, quiet: bool = False
) -> None:
    """Make each cell, under one bar whose time left is that of this process's share."""
    from advdm.cells import make_cell
    from advdm.judge import Judge

    judge = Judge()
    total = sum(settings.ticks(len(cell.subject.files)) for cell in cells)
    with tqdm(total=total, unit=" steps", leave=False, dynamic_ncols=True, disable=quiet or None) as bar:
        for cell in cells:
            bar.set_description(f"{shown(cell.subject.name)} {cell.seed}")
            make_cell(cell, model, judge, settings, bar.update)


def add_models(commands: Commands) -> None:
    text = "List the models that can be attacked, and which of them are on this machine."
    commands.add_parser("models", help=text, description=text).set_defaults(run=models)


def models(_: argparse.Namespace) -> int:
    """Print the table; asks nobody but this machine."""
    from advdm.model import SHORT_NAMES, choose_device, is_here

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
