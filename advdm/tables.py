"""What the experiment found, for people: rows of numbers become a table, and that Markdown, CSV and a plot."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from advdm.mimicry import imitation

UNSEEN, ORIGINAL, RANDOM = "prompt only", "original", "random noise"
METRICS = {
    "imitation": ("imitation, 0-100", 0),
    "style_distance": ("style distance", 3),
    "frechet": ("Fréchet distance, EfficientNet-Lite0", 1),
    "precision": ("k-NN precision, EfficientNet-Lite0", 2),
    "noise_error": ("noise error", 3),
    "psnr": ("PSNR, dB", 1),
    "ssim": ("SSIM", 3),
    "perceptual": ("perceptual distance, EfficientNet-Lite0", 3),
}
"""Heading and decimals of each number."""

Side = tuple[str, int]
"""What was learned from: UNSEEN, ORIGINAL, RANDOM or an objective, and epsilon in 8-bit levels, 0 for none."""


@dataclass(frozen=True)
class Row:
    """The numbers of one side of one cell; None where a number has no meaning."""

    side: str
    epsilon: int
    imitation: float | None
    style_distance: float
    frechet: float
    precision: float
    noise_error: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    perceptual: float | None = None


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation over the cells in which a number has a meaning, and how many these are."""

    mean: float | None
    spread: float | None
    count: int


Table = dict[Side, dict[str, Summary]]
Key = TypeVar("Key", bound=tuple[Any, ...])


def label(side: Side) -> str:
    """original, advdm 8, ..."""
    name, epsilon = side
    return f"{name} {epsilon}" if epsilon else name


def summarise(values: Sequence[float | None]) -> Summary:
    known = [value for value in values if value is not None]
    spread = stdev(known) if len(known) > 1 else None
    return Summary(mean(known) if known else None, spread, len(known))


def tabulate(cells: Sequence[Sequence[Row]]) -> Table:
    """Each side's rows of all cells as one row, in the order of the first cell."""
    numbers = [{(row.side, row.epsilon): asdict(row) for row in cell} for cell in cells]
    return {
        side: {metric: summarise([cell[side][metric] for cell in numbers]) for metric in METRICS} for side in numbers[0]
    }


def markdown(table: Table) -> str:
    """A Markdown table of mean ± standard deviation, with what must be said about it."""
    headings = ["learned from", *(heading for heading, _ in METRICS.values())]
    lines = [
        [label(side), *(written(row[metric], decimals) for metric, (_, decimals) in METRICS.items())]
        for side, row in table.items()
    ]
    return "\n".join([markdown_table(headings, lines), "", *(f"- {remark}" for remark in remarks(table))]) + "\n"


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(headings)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *lines))


def written(summary: Summary, decimals: int) -> str:
    """Mean ± standard deviation; nothing where there is no mean."""
    if summary.mean is None:
        return ""
    # Adding 0 makes a rounded -0 a 0.
    spread = "" if summary.spread is None else f" ± {summary.spread:.{decimals}f}"
    return f"{round(summary.mean, decimals) + 0:.{decimals}f}{spread}"


def number_of(count: int, noun: str) -> str:
    """1 cell, 2 cells."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def remarks(table: Table) -> list[str]:
    """What the numbers are, and where the defence fails its control."""
    cells, counted = table[UNSEEN, 0]["style_distance"].count, table[ORIGINAL, 0]["imitation"].count
    found = [
        f"Mean ± standard deviation over {number_of(cells, 'cell')} (a picture or painter, and a seed).",
        "Imitation: 0 never saw the painting, 100 learned from the original; lower protects better.",
        "Fréchet distance and precision are those of the AdvDM paper, but on EfficientNet-Lite0 instead of Inception "
        "and of few pictures a cell: compare them within this table only.",
    ]
    if counted < cells:
        found.append(
            f"Imitation counts {number_of(counted, 'cell')}: in the others the original itself taught the imitator "
            "nothing."
        )
    for metric, words in (
        ("style_distance", "style distances of all cells, which no single one can rule, imitation is"),
        ("frechet", "Fréchet distances, on the same scale"),
    ):
        if by_means := imitation_by_means(table, metric):
            scores = ", ".join(f"{label(side)} {round(score)}" for side, score in by_means.items())
            found.append(f"By the mean {words}: {scores}.")
    for (name, epsilon), row in table.items():
        ours = row["imitation"].mean
        control = table[RANDOM, epsilon]["imitation"].mean if name not in (UNSEEN, ORIGINAL, RANDOM) else None
        if ours is not None and control is not None and ours >= control:
            # Of sds_down nothing else is hoped for: it is made against edits, see `advdm.objectives.MEANINGS`.
            why = "" if name.startswith("sds_down") else ": that is a bug"
            found.append(f"**{label((name, epsilon))} does no better than random noise{why}.**")
    return found


def imitation_by_means(table: Table, metric: str) -> dict[Side, float]:
    """Imitation of each side with an epsilon, from the means of a distance; empty where the originals taught nothing.

    metric is "style_distance" or "frechet".
    """
    distances = {side: row[metric].mean or 0.0 for side, row in table.items()}
    unseen, original = distances[UNSEEN, 0], distances[ORIGINAL, 0]
    scores = {side: imitation(unseen, original, distance) for side, distance in distances.items() if side[1]}
    return {side: score for side, score in scores.items() if score is not None}


def comma_separated(table: Table) -> str:
    """The table as CSV."""
    return csv_table(("learned_from", "epsilon"), METRICS, table)


def csv_table(keys: Sequence[str], metrics: Collection[str], table: Mapping[Key, Mapping[str, Summary]]) -> str:
    """Each key's columns, then for each metric its mean, spread and number of cells; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, *(f"{metric}{kind}" for metric in metrics for kind in ("", "_spread", "_count"))])
    for key, row in table.items():
        values = (value for metric in metrics for value in (row[metric].mean, row[metric].spread, row[metric].count))
        writer.writerow([*key, *values])
    return text.getvalue()


def can_plot() -> bool:
    """Whether matplotlib, which only the plot needs, is installed."""
    return find_spec("matplotlib") is not None


def plot(table: Table, path: Path) -> None:
    """Imitation and noise error against epsilon, as a PNG: random noise and every objective between the controls."""
    from matplotlib.figure import Figure

    figure = Figure((10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric in ((left, "imitation"), (right, "noise_error")):
        for name in dict.fromkeys(name for name, epsilon in table if epsilon):
            points = {epsilon: row[metric] for (other, epsilon), row in table.items() if other == name}
            known = sorted((e, p.mean, p.spread or 0) for e, p in points.items() if p.mean is not None)
            axes.errorbar(*(zip(*known, strict=True) if known else ((), (), ())), marker="o", capsize=3, label=name)
        for name, style in ((ORIGINAL, "--"), (UNSEEN, ":")):
            control = table[name, 0][metric].mean
            if control is not None:
                axes.axhline(control, color="grey", linestyle=style, label=name)
        axes.set(xlabel="epsilon, 8-bit levels", ylabel=METRICS[metric][0])
    left.legend()
    figure.savefig(path, dpi=150)
