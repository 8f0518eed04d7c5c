"""The objectives at equal epsilon, once with equally many steps and once with equally many seconds.

    python -m benchmarks.objectives                        # the eight Van Goghs, about ten minutes on two cores
    python -m benchmarks.objectives --steps 25 --epsilon 16

Equal time: what `advdm` takes for its steps. The other objectives get as many steps as fit into it, by the median of
steps that all take in turn on the first painting. The table is that of `evaluate`: the folder counts as one painter,
whose imitator learns from all works of one side.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from advdm.evaluation import imitations, measure, with_noise
from advdm.imitators.inversion import InversionSettings
from advdm.judge import shared_judge
from advdm.mimicry import MimicrySettings
from advdm.models.latent_diffusion import LatentDiffusion, load_model
from advdm.objectives import OBJECTIVES
from advdm.paintings import Painting, find_paintings, read_painting
from advdm.protection import Settings, protection_steps
from advdm.tables import ORIGINAL, RANDOM, Side, label, markdown, markdown_table, tabulate
from benchmarks.speed import RESULTS

TIMED = 12
"""Steps of each objective that are timed, after three that are not."""
Copies = dict[Side, list[Painting]]


def milliseconds(painting: Painting, model: LatentDiffusion, attack: Settings) -> dict[str, float]:
    """Median milliseconds of a step of each objective, all in turn, so that a busy machine slows all of them."""
    runs = {name: protection_steps(painting, model, replace(attack, objective=name, steps=1000)) for name in OBJECTIVES}
    taken: dict[str, list[float]] = {name: [] for name in OBJECTIVES}
    for _ in range(TIMED + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            next(run)
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: median(values[3:]) for name, values in taken.items()}


def fitting_steps(costs: dict[str, float], steps: int) -> dict[str, int]:
    """As many steps of each objective as take the time of `steps` of `advdm`."""
    return {name: max(1, round(steps * costs["advdm"] / cost)) for name, cost in costs.items()}


def attacked(painting: Painting, model: LatentDiffusion, attack: Settings, stops: set[int]) -> dict[int, Painting]:
    """The painting after each number of steps in `stops`, of one attack that goes on to the last of them."""
    found = {}
    for step in protection_steps(painting, model, replace(attack, steps=max(stops))):
        if step.number in stops:
            found[step.number] = replace(painting, levels=step.protected().levels)
    return found


def all_copies(paintings: list[Painting], model: LatentDiffusion, attack: Settings, fitting: dict[str, int]) -> Copies:
    """What each side learns from, every objective with attack.steps and with the steps that fit."""
    noisy = [replace(one, levels=with_noise(one, attack.epsilon, attack.seed)) for one in paintings]
    copies: Copies = {(ORIGINAL, 0): paintings, (RANDOM, attack.epsilon): noisy}
    for name in OBJECTIVES:
        stops = {attack.steps, fitting[name]}
        runs = [attacked(one, model, replace(attack, objective=name), stops) for one in paintings]
        for stop in sorted(stops):
            copies[f"{name}, {stop} steps, epsilon", attack.epsilon] = [run[stop] for run in runs]
        print(f"{name}: {sorted(stops)} steps", flush=True)
    return copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[1] / "examples")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for objectives_EPSILON.md")
    parser.add_argument("--model", default="atelier")
    parser.add_argument("--epsilon", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="of advdm, whose time all get")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--inversion-steps", type=int, default=InversionSettings().steps)
    parser.add_argument("--count", type=int, default=4, help="pictures a prompt")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model, judge = load_model(options.model, "cpu"), shared_judge()
    paintings = [read_painting(path) for path in find_paintings([options.folder])]
    attack = Settings(options.epsilon, options.steps, options.samples, seed=options.seed)
    costs = milliseconds(paintings[0], model, attack)
    fitting = fitting_steps(costs, attack.steps)
    copies = all_copies(paintings, model, attack, fitting)
    mimicry = MimicrySettings(count=options.count)
    mimicry = replace(mimicry, inversion=replace(mimicry.inversion, steps=options.inversion_steps))
    pictures = imitations(copies, options.seed, model, mimicry, lambda: None)
    rows = measure(paintings, copies, pictures, options.seed, model, judge)
    pace = [[name, f"{cost:.0f}", str(fitting[name])] for name, cost in costs.items()]
    text = "\n".join(
        (
            markdown_table(["objective", "ms a step", f"steps in the time of {attack.steps} of advdm"], pace),
            "",
            markdown(tabulate([rows])),
        )
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"objectives_{attack.epsilon}.md").write_text(text)
    print(text)
    print(f"Sides: {', '.join(map(label, copies))}.")


if __name__ == "__main__":
    main()
