"""The figures that a person feels, each as that person gets it: fresh processes, files read and written.

    python -m benchmarks.figures                           # all, about twenty minutes on two cores
    python -m benchmarks.figures --only attack mimicry start
    python -m benchmarks.figures --only folder --steps 25 100 --paintings 20

attack: a painting of 500 px at default settings. mimicry: the pair of an original and its copy, pictures included.
sample: one picture by atelier, in this process. Of these three the medians of several times, also scaled to a machine
whose matrix product runs at 146 GFLOP/s, by what this one did just before each time.
start: from the start of `python app.py` to the first answer of its page. folder: paintings one process each, against
all of them in one folder run. Each table names what the machine reached before all of it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from advdm.tables import markdown_table, number_of

from advdm.mimicry import MimicrySettings
from advdm.models.latent_diffusion import load_model
from benchmarks.load import running_app
from benchmarks.speed import PRODUCT, RESULTS, ceilings

EXAMPLES = Path(__file__).parents[1] / "examples"
PAINTING = EXAMPLES / "harvest.webp"
"""606 x 500 px."""
REFERENCE = 146
"""GFLOP/s of a matrix product on the machine that the project's aims in seconds were set for."""
Lines = list[list[str]]
"""What was measured, its seconds, and what is to be said about them."""


def run_advdm(*arguments: object) -> float:
    """Seconds of one process `python -m advdm ...`, its start included."""
    command = [sys.executable, "-m", "advdm", *map(str, arguments)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def seconds_in(report: Path) -> float:
    """What the process itself counted: without its start and the loading of the model."""
    seconds: float = json.loads(report.read_text())["seconds"]
    return seconds


def scaled(name: str, run: Callable[[], tuple[float, ...]], repeats: int, after: str = "") -> list[str]:
    """A line of the table: medians over `repeats` of the seconds that `run` returns.

    Scaled by the matrix product just before each time, as if all of it went as that does; much does not. Where `run`
    returns a second number, it stands last with the words `after`.
    """
    taken, at_reference = [], []
    for _ in range(repeats):
        rate = ceilings()[PRODUCT]
        taken.append(run())
        at_reference.append(taken[-1][0] * rate / REFERENCE)
    seconds, *walls = (list(column) for column in zip(*taken, strict=True))
    notes = [
        f"median of {repeats}, from {min(seconds):.2f} to {max(seconds):.2f} s",
        f"scaled to {REFERENCE} GFLOP/s: {statistics.median(at_reference):.2f} s",
        *(f"{statistics.median(wall):.1f} s {after}" for wall in walls),
    ]
    return [name, f"{statistics.median(seconds):.2f}", "; ".join(notes)]


def attack(folder: Path, options: argparse.Namespace) -> Lines:
    def run(*choice: object) -> tuple[float, float]:
        report = folder / "attack.json"
        wall = run_advdm("protect", PAINTING, "-o", folder / "protected.png", "--report", report, *choice)
        return seconds_in(report), wall

    return [
        scaled(
            f"attack, 606 x 500 px, {steps} steps, {number_of(samples, 'sample')}",
            partial(run, "--steps", steps, "--samples", samples),
            options.repeats,
            "with the start of the process",
        )
        for steps, samples in ((100, 1), (25, 1), (100, 4))
    ]


def mimicry(folder: Path, options: argparse.Namespace) -> Lines:
    copy = folder / "copy.png"
    run_advdm("protect", PAINTING, "-o", copy)

    def run() -> tuple[float, float]:
        wall = run_advdm("mimic", PAINTING, copy, "-o", folder / "mimicry")
        return seconds_in(folder / "mimicry" / "report.json"), wall

    return [scaled("mimicry pair, default settings", run, options.repeats, "with the start of the process and files")]


def sample(folder: Path, options: argparse.Namespace) -> Lines:
    """In this process, one picture at a time."""
    model = load_model("atelier", "cpu")
    embedding = model.embed("a painting")
    settings = MimicrySettings()

    def run() -> tuple[float]:
        begin = time.perf_counter()
        model.generate(embedding, [0], steps=settings.sampling_steps, guidance=settings.guidance)
        return (time.perf_counter() - begin,)

    run()  # the first one takes longer
    return [scaled(f"a sample, {settings.sampling_steps} steps", run, 9)]


def start(folder: Path, options: argparse.Namespace) -> Lines:
    seconds = []
    for number in range(options.starts):
        begin = time.perf_counter()
        with running_app(folder / f"start{number}"):
            seconds.append(time.perf_counter() - begin)
    note = f"median of {len(seconds)}, from {min(seconds):.1f} to {max(seconds):.1f} s"
    return [["start of the app to its first page", f"{statistics.median(seconds):.1f}", note]]


def folder_run(folder: Path, options: argparse.Namespace) -> Lines:
    """The examples over and over, until there are enough."""
    examples, portfolio = sorted(EXAMPLES.glob("*.webp")), folder / "portfolio"
    portfolio.mkdir()
    for number in range(options.paintings):
        shutil.copy(examples[number % len(examples)], portfolio / f"painting{number:02}.webp")
    paintings, lines = sorted(portfolio.iterdir()), []
    for steps in options.steps:
        alone = [
            run_advdm("protect", path, "-o", folder / f"alone{steps}" / f"{path.stem}_protected.png", "--steps", steps)
            for path in paintings
        ]
        together = run_advdm("protect", portfolio, "-o", folder / f"together{steps}", "--steps", steps)
        same = all(
            path.read_bytes() == (folder / f"together{steps}" / path.name).read_bytes()
            for path in (folder / f"alone{steps}").iterdir()
        )
        note = f"{sum(alone):.0f} s one process each: {sum(alone) / together:.2f} times as fast" + (
            ", the same bytes" if same else ", OTHER BYTES"
        )
        lines.append([f"{len(paintings)} paintings in one folder run, {steps} steps", f"{together:.0f}", note])
    return lines


FIGURES: dict[str, Callable[[Path, argparse.Namespace], Lines]] = {
    "attack": attack,
    "mimicry": mimicry,
    "sample": sample,
    "start": start,
    "folder": folder_run,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for figures_NAME.md of each figure")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--repeats", type=int, default=5, help="of attack and mimicry")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 100], help="of the folder run")
    parser.add_argument("--paintings", type=int, default=20)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        rates = ", ".join(f"{what} {rate:.0f} GFLOP/s" for what, rate in ceilings().items())
        with tempfile.TemporaryDirectory() as folder:
            lines = FIGURES[name](Path(folder), options)
        text = markdown_table(["figure", "seconds", ""], lines) + f"\n\nThis machine just before: {rates}.\n"
        (options.out / f"figures_{name}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
