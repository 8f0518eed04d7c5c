"""Visibility against imitation: what people see of each kind of copy, and what a LoRA learns from it.

    python -m benchmarks.frontier examples --work work/frontier [--steps 25] [--plot docs/frontier.png]

The page's Subtle, Balanced and Strong as it makes them; other kinds, each brought to the same visibility on every
painting, by its epsilon; even copies of 8 and 16 levels, and random noise of the same sizes. Visibility is
ColorVideoVDP's (pip install cvvdp; in JOD, 10 is no difference). What is finished in the work folder is not done again.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pandas import DataFrame

from advdm.experiments.measure import Row, Side, measure
from advdm.experiments.tables import markdown, remarks, summarise
from advdm.mimicry import ORIGINAL, RANDOM, with_random_noise
from advdm.models import LatentDiffusion, load_model
from advdm.paintings import Painting, read_painting
from advdm.portfolios import find_paintings
from advdm.protection import protection_steps
from advdm.settings import STRENGTHS, LoraSettings, MimicrySettings, Settings

NEAR, TRIES = 0.1, 4
"""JOD within which an epsilon is good enough, and attacks until then."""
EPSILONS = (8, 16)
KINDS = {
    "mist": Settings(objective="mist"),
    "advdm, even": Settings(even=True),
    "as published": Settings(as_published=True),
}
"""Each is brought to the visibility of the page's copies."""


def colour_video_vdp() -> Callable[[Painting, Painting], float]:
    """ColorVideoVDP of an original and its copy, on its 4K screen in an office."""
    import pycvvdp

    metric = pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"))
    return lambda original, copy: float(metric.predict(copy.levels, original.levels, dim_order="HWC")[0])


def brought_to(
    wanted: float, attack: Callable[[int], Painting], jod: Callable[[Painting], float], epsilon: int
) -> Painting:
    """The copy whose epsilon brings it nearest to the wanted visibility, found by secants."""
    tried: dict[int, tuple[float, Painting]] = {}
    while epsilon not in tried and len(tried) < TRIES:
        copy = attack(epsilon)
        tried[epsilon] = (jod(copy), copy)
        if abs(tried[epsilon][0] - wanted) < NEAR:
            break
        # What is seen grows about in proportion to epsilon.
        epsilon = int(np.clip(round(epsilon * (10 - wanted) / (10 - tried[epsilon][0])), 1, 64))
    best = min(tried, key=lambda one: abs(tried[one][0] - wanted))
    return tried[best][1]


def sides_of(
    painting: Painting, model: LatentDiffusion, steps: int, jod: Callable[[Painting], float], kinds: list[str]
) -> Iterator[tuple[Side, Painting]]:
    """Every side but the original."""

    def attacked(settings: Settings, epsilon: int) -> Painting:
        *_, last = protection_steps(painting, model, replace(settings, epsilon=epsilon, steps=steps))
        return last.protected()

    for epsilon in EPSILONS:
        yield Side(RANDOM, epsilon), with_random_noise(painting, epsilon, 0)
        yield Side("advdm, even", epsilon), attacked(Settings(even=True), epsilon)
    for strength in STRENGTHS:
        *_, last = protection_steps(painting, model, Settings(steps=steps), strength=strength)
        ours, start = last.protected(), last.settings.epsilon
        yield Side(strength), ours
        for kind in kinds:
            yield Side(f"{kind}, as {strength}"), brought_to(jod(ours), partial(attacked, KINDS[kind]), jod, start)


def rows_of(file: Path, model: LatentDiffusion, steps: int, kinds: list[str]) -> list[Row]:
    """One painting's rows, each with ColorVideoVDP's `jod`."""
    painting = read_painting(file)
    see = partial(colour_video_vdp(), painting)
    copies = {Side(ORIGINAL): painting, **dict(sides_of(painting, model, steps, see, kinds))}
    rows = measure(model, {side: [copy] for side, copy in copies.items()}, MimicrySettings(LoraSettings())).rows
    seen = {side: see(copy) for side, copy in copies.items()}
    return [{"subject": file.stem, "seed": 0, **row, "jod": seen.get(side)} for side, row in rows.items()]


def plot(table: DataFrame, path: Path) -> None:
    """Imitation against visibility, a line a kind, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure((7, 5), layout="constrained")
    axes = figure.subplots()
    lines = {"as the page does": list(STRENGTHS)}
    lines |= {kind: [f"{kind}, as {strength}" for strength in STRENGTHS] for kind in KINDS}
    for label, names in lines.items():
        own = table[table.index.get_level_values("copy").isin(names)]
        if own.empty:
            continue
        errors = [own["imitation"] - own["imitation_low"], own["imitation_high"] - own["imitation"]]
        axes.errorbar(own["jod"], own["imitation"], np.abs(errors), marker="o", capsize=3, label=label)
    axes.axhline(100, color="grey", linestyle="--", label="learned from the original")
    axes.set(xlabel="visibility, ColorVideoVDP, JOD (10: no difference)", ylabel="imitation, 90 % interval")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model, rows = load_model(), []
    for file in find_paintings(options.paintings)[0]:
        done = options.work / f"{file.stem}.json"
        if not done.exists():
            done.write_text(json.dumps(rows_of(file, model, options.steps, options.kinds), indent=1))
        rows += json.loads(done.read_text())
        print(file.stem, flush=True)
    table = summarise(rows)
    seen = DataFrame(rows).groupby(["copy", "epsilon", "cleaner"], sort=False)["jod"]
    table["jod"], table["jod_worst"] = seen.mean(), seen.min()
    print(markdown(table))
    print(table[["imitation", "jod", "jod_worst"]].round(2).to_string())
    print(*remarks(table, rows), sep="\n")
    if options.plot:
        plot(table, options.plot)


if __name__ == "__main__":
    main()
