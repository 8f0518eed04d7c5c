"""Visibility against imitation: what people see of each kind of copy, and what a LoRA learns from it.

    python -m benchmarks.frontier examples --work work/frontier [--steps 25] [--plot docs/frontier.png]

Every kind is brought to the same visibility on every painting, by its epsilon; visibility is ColorVideoVDP's (pip
install cvvdp; in JOD, 10 is no difference). Even copies of 8 and 16 levels and random noise of the same sizes stand
beside them. What is finished in the work folder is not done again.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pandas import DataFrame

from advdm.experiments.evaluate import protected_copy
from advdm.experiments.measure import Row, Side, measure
from advdm.experiments.tables import markdown, remarks, summarise
from advdm.folders import find_paintings
from advdm.mimicry import ORIGINAL, RANDOM, with_random_noise
from advdm.models import LatentDiffusion, load_model
from advdm.paintings import Painting, read_painting
from advdm.settings import LoraSettings, MimicrySettings, Settings

LEVELS_OF_VISIBILITY = (9.0, 8.5, 7.3)
"""JOD. The first two are the page's Balanced and Strong."""
NEAR, TRIES = 0.1, 4
"""JOD within which an epsilon is good enough, and attacks until then."""
EPSILONS = (8, 16)
KINDS = {
    "advdm": Settings(),
    "mist": Settings(objective="mist"),
    "advdm, even": Settings(even=True),
    "as published": Settings(as_published=True),
}


def colour_video_vdp() -> Callable[[Painting, Painting], float]:
    """ColorVideoVDP of an original and its copy, on its 4K screen in an office."""
    import pycvvdp

    metric = pycvvdp.cvvdp(display_name="standard_4k", device=torch.device("cpu"))
    return lambda original, copy: float(metric.predict(copy.levels, original.levels, dim_order="HWC")[0])


def brought_to(
    wanted: float, attack: Callable[[int], Painting], jod: Callable[[Painting], float], epsilon: int
) -> tuple[int, Painting]:
    """The epsilon whose copy comes nearest to the wanted visibility, found by secants, and the copy."""
    tried: dict[int, tuple[float, Painting]] = {}
    while epsilon not in tried and len(tried) < TRIES:
        copy = attack(epsilon)
        tried[epsilon] = (jod(copy), copy)
        if abs(tried[epsilon][0] - wanted) < NEAR:
            break
        # What is seen grows about in proportion to epsilon.
        epsilon = int(np.clip(round(epsilon * (10 - wanted) / (10 - tried[epsilon][0])), 1, 64))
    best = min(tried, key=lambda one: abs(tried[one][0] - wanted))
    return best, tried[best][1]


def sides_of(
    painting: Painting, model: LatentDiffusion, steps: int, jod: Callable[[Painting], float], kinds: list[str]
) -> Iterator[tuple[str, int, Painting]]:
    """The kind, epsilon and copy of every side but the original."""
    for epsilon in EPSILONS:
        yield RANDOM, epsilon, with_random_noise(painting, epsilon, 0)
        yield (
            f"advdm, even {epsilon}",
            0,
            protected_copy(painting, model, Settings(even=True, epsilon=epsilon, steps=steps), lambda done: None),
        )
    for kind in kinds:
        epsilon = 8
        for wanted in LEVELS_OF_VISIBILITY:

            def attack(epsilon: int, kind: str = kind) -> Painting:
                return protected_copy(
                    painting, model, replace(KINDS[kind], epsilon=epsilon, steps=steps), lambda done: None
                )

            epsilon, copy = brought_to(wanted, attack, jod, epsilon)
            yield f"{kind}, {wanted} JOD", 0, copy


def rows_of(file: Path, model: LatentDiffusion, steps: int, kinds: list[str]) -> list[Row]:
    """One painting's rows, each with ColorVideoVDP's `jod`."""
    painting, see = read_painting(file), colour_video_vdp()
    copies = {Side(ORIGINAL): painting}
    for kind, epsilon, copy in sides_of(painting, model, steps, lambda copy: see(painting, copy), kinds):
        copies[Side(kind, epsilon)] = copy
    settings = MimicrySettings(LoraSettings())
    rows = measure(model, {side: [copy] for side, copy in copies.items()}, settings).rows
    seen = {side: see(painting, copy) for side, copy in copies.items()}
    return [{"subject": file.stem, "seed": 0, **row, "jod": seen.get(side)} for side, row in rows.items()]


def plot(table: DataFrame, path: Path) -> None:
    """Imitation against visibility, a line a kind, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure((7, 5), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(name.rpartition(",")[0] for name, *_ in table.index if name.endswith("JOD")):
        own = table[[name.startswith(f"{kind}, ") and name.endswith("JOD") for name, *_ in table.index]]
        errors = [own["imitation"] - own["imitation_low"], own["imitation_high"] - own["imitation"]]
        axes.errorbar(own["jod"], own["imitation"], np.abs(errors), marker="o", capsize=3, label=kind)
    axes.axhline(100, color="grey", linestyle="--", label="learned from the original")
    axes.set(xlabel="visibility, ColorVideoVDP, JOD (10: no difference)", ylabel="imitation, 90 % interval")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    model, rows = load_model(), []
    for file in find_paintings(options.paintings).paintings:
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
