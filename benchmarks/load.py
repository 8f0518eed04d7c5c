"""Twenty visitors at once: each gets its own right result or a clear "busy", and the memory afterwards is as before.

    python -m benchmarks.load                  # they protect, on the app with atelier
    python -m benchmarks.load --tab mimicry --visitors 40 --rounds 3

It starts the app by itself, on a port of its own, and stops it. Memory is that of the app's process, read after each
round; the first round warms up.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

BUSY = "Queue is full"


@dataclass(frozen=True)
class Visitor:
    """One visitor: a painting like nobody else's, and what it asks for."""

    painting: Path
    epsilon: int
    steps: int
    seed: int


def new_visitor(number: int, folder: Path) -> Visitor:
    """A painting of its own size and colours. Two visitors' paintings differ by far more than any epsilon."""
    rng = np.random.default_rng(number)
    width, height = (int(side) for side in rng.integers(150, 600, 2))
    coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
    painting = folder / f"visitor{number}.png"
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(painting)
    return Visitor(painting, epsilon=int(rng.integers(2, 17)), steps=int(rng.integers(1, 6)), seed=number)


def visit(tab: str, visitor: Visitor, address: str) -> str:
    """What came of it: "right", "busy", or what was wrong."""
    try:
        client = Client(address, verbose=False)
        return TABS[tab](client, visitor)
    except Exception as error:  # whatever a visitor may see is a finding, not a failure of the benchmark
        return "busy" if BUSY in str(error) else f"{type(error).__name__}: {error}"


def protect(client: Client, visitor: Visitor) -> str:
    settings = {"epsilon": visitor.epsilon, "steps": visitor.steps, "seed": visitor.seed}
    file, report = client.predict(handle_file(visitor.painting), **settings, api_name="/protect")
    if any(report[name] != value for name, value in settings.items()):
        return "somebody else's settings"
    before, after = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (visitor.painting, file))
    if before.shape != after.shape or np.abs(after - before).max() > visitor.epsilon:
        return "not this painting, or out of bound"
    return "right" if (after != before).any() else "not protected"


def mimic(client: Client, visitor: Visitor) -> str:
    """A word of few steps, from a pair of equal pictures: whoever learned from both alike paints both alike."""
    pair = [[handle_file(visitor.painting)]] * 2
    prompts = {"prompts": "a painting in the style of *", "count": 4, "control": False}
    pictures, report = client.predict(*pair, steps=visitor.steps, seed=visitor.seed, **prompts, api_name="/mimic")
    if (report["steps"], report["seed"]) != (visitor.steps, visitor.seed):
        return "somebody else's settings"
    painted = [np.asarray(Image.open(one["image"])) for one in pictures]
    alike = all(np.array_equal(*painted[row + 1 : row + 3]) for row in range(0, len(painted), 3))
    return "right" if len(painted) == 12 and alike else "other pictures"


TABS = {"protect": protect, "mimicry": mimic}


@contextmanager
def running_app(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process number of the app, started for the length of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "HF_HUB_OFFLINE": "1",
    }
    app = subprocess.Popen([sys.executable, "app.py"], env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        while not answers(address):
            if app.poll() is not None:
                raise SystemExit("The app did not start.")
            time.sleep(0.2)
        yield address, app.pid
    finally:
        app.terminate()
        app.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=60).is_success
    except httpx.TransportError:
        return False


def megabytes(process: int) -> float:
    """Memory that a process holds (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tab", choices=TABS, default="protect")
    options = parser.parse_args()

    print("| round | seconds | what visitors got | memory of the app, MB |\n|---|---|---|---|")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        visitors = [new_visitor(number, Path(folder)) for number in range(options.visitors)]
        with running_app(Path(folder)) as (address, process), ThreadPoolExecutor(options.visitors) as crowd:
            for number in range(1, options.rounds + 1):
                start = time.monotonic()
                found = Counter(crowd.map(lambda visitor: visit(options.tab, visitor, address), visitors))
                seconds = time.monotonic() - start
                got = ", ".join(f"{count} {what}" for what, count in found.most_common())
                print(f"| {number} | {seconds:.0f} | {got} | {megabytes(process):.0f} |", flush=True)
                wrong += sum(count for what, count in found.items() if what not in ("right", "busy"))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
