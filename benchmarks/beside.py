"""How long an attack takes alone and beside two busy processes, by how long torch's threads spin for each other.

    python -m benchmarks.beside [--spins 1000 20000 default] [--steps 50] [--repeats 3]

A thread that is done spins so many turns before it sleeps (GOMP_SPINCOUNT). Spinning is quickest where each thread has
a core; beside other work it takes that work's time and its own. "ours" is what `advdm.environment` sets.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BUSY = 2
THREADS = "2"
STEPS = """
import time
from advdm import environment
if {ours}:
    environment.prepare()
import numpy as np
from advdm.models import load_model
from advdm.paintings import Painting
from advdm.protection import Settings, protection_steps
painting = Painting(np.random.default_rng(0).integers(0, 256, (500, 606, 3), np.uint8))
steps = protection_steps(painting, load_model(), Settings(steps={steps} + 5))
for _ in range(5):
    next(steps)
start = time.perf_counter()
for _ in steps:
    pass
print(time.perf_counter() - start)
"""


@contextmanager
def busy_processes() -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(spin: str, steps: int) -> float:
    """Of so many steps in a process of its own, after five to warm up."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"OMP_NUM_THREADS": THREADS}
    if spin.isdecimal():
        environment["GOMP_SPINCOUNT"] = spin
    program = STEPS.format(ours=spin == "ours", steps=steps)
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spins", nargs="+", default=["default", "ours"])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    alone: dict[str, list[float]] = {spin: [] for spin in options.spins}
    beside: dict[str, list[float]] = {spin: [] for spin in options.spins}
    for _ in range(options.repeats):
        for spin in options.spins:
            alone[spin].append(seconds(spin, options.steps))
        with busy_processes():
            for spin in options.spins:
                beside[spin].append(seconds(spin, options.steps))
    print(f"| spin | alone, s | to {options.spins[0]} | beside {BUSY} busy processes, s | to alone |")
    print("|---|---|---|---|---|")
    first = statistics.median(alone[options.spins[0]])
    for spin in options.spins:
        own, shared = statistics.median(alone[spin]), statistics.median(beside[spin])
        print(f"| {spin} | {own:.2f} | {own / first:.2f} | {shared:.2f} | {shared / own:.2f} |")


if __name__ == "__main__":
    main()
