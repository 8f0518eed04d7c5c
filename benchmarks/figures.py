"""What a person waits for, in seconds, each as that person gets it: fresh processes, files read and written.

    python -m benchmarks.figures [--repeats 5] [--only attack word lora sample start]

attack: protect a painting of 606 x 500 px, as the page's Balanced and Quick do, and at the command's defaults. word,
lora: the Mimicry tab with its three sides, pictures included. sample: one picture by atelier, in this process. start:
from `python app.py` to the first page. All on two threads, or on OMP_NUM_THREADS. Each is also scaled to a machine
whose product of two 2048 x 2048 matrices runs at 146 GFLOP/s, by what this one did just before, as if all of it went as
that does; much does not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from gradio_client import Client, handle_file

from advdm.models import load_model
from advdm.settings import Sampling, Settings
from benchmarks.load import running_app
from benchmarks.speed import PRODUCT, ceilings

PAINTING = Path(__file__).parents[1] / "examples" / "harvest.webp"
REFERENCE = 146
"""GFLOP/s of the machine that the project's aims in seconds were set for."""
QUICK = ("--strength", "balanced", "--steps", "25")
"""What the page does unasked."""


def command(folder: Path, *arguments: object) -> float:
    """Seconds that `python -m advdm ...` itself counted: without its start and the loading of the model."""
    report = folder / "report.json"
    words = [sys.executable, "-m", "advdm", *arguments, "--report", report, "--device", "cpu"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    seconds: float = json.loads(report.read_text())["seconds"]
    return seconds


def attack(folder: Path, *options: str) -> float:
    return command(folder, "protect", PAINTING, "-o", folder / "copy.png", *options)


def mimicry(folder: Path, imitator: str) -> float:
    attack(folder, *QUICK)
    pair = [[handle_file(file)] for file in (PAINTING, folder / "copy.png")]
    with running_app(folder) as (address, _):
        _, report = Client(address, verbose=False).predict(*pair, imitator=imitator, api_name="/mimic")
    seconds: float = report["seconds"]
    return seconds


def sample(folder: Path) -> float:
    model = load_model("atelier", "cpu")
    condition = model.embed("a painting")
    paint = partial(model.generate, condition, [0], Sampling())
    paint()  # the first one takes longer
    begin = time.perf_counter()
    paint()
    return time.perf_counter() - begin


def start(folder: Path) -> float:
    begin = time.perf_counter()
    with running_app(folder):
        return time.perf_counter() - begin


FIGURES: dict[str, list[tuple[str, Callable[[Path], float]]]] = {
    "attack": [
        ("attack, 606 x 500 px, Balanced, 25 steps", lambda folder: attack(folder, *QUICK)),
        (f"attack, 606 x 500 px, epsilon {Settings.epsilon}, {Settings.steps} steps", attack),
    ],
    "word": [("mimicry with a word, three sides", partial(mimicry, imitator="inversion"))],
    "lora": [("mimicry with a LoRA, three sides", partial(mimicry, imitator="lora"))],
    "sample": [(f"a sample by atelier, {Sampling.steps} steps", sample)],
    "start": [("start of the app to its first page", start)],
}


def measured(run: Callable[[Path], float], folder: Path, repeats: int) -> str:
    """Cells of a row: the median, from least to most, and the median scaled by the rate just before each time."""
    seconds, scaled = [], []
    for _ in range(repeats):
        rate = ceilings()[PRODUCT]
        seconds.append(run(folder))
        scaled.append(seconds[-1] * rate / REFERENCE)
    middle, aim = statistics.median(seconds), statistics.median(scaled)
    return f"{middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {aim:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.setdefault("OMP_NUM_THREADS", "2")))  # also of what it starts
    print(f"Matrix product: {ceilings()[PRODUCT]:.0f} GFLOP/s.\n")
    print(f"| figure | seconds | from, to | scaled to {REFERENCE} GFLOP/s |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            for title, run in FIGURES[name]:
                print(f"| {title} | {measured(run, Path(folder), options.repeats)} |", flush=True)


if __name__ == "__main__":
    main()
