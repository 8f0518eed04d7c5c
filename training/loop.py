"""What both trainings share: seeded steps, a moving average of the weights, checkpoints that resume exactly."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from advdm.files import atomic_path


class Average:
    """Exponential moving average of a module's parameters; it starts fast and settles at `decay`."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        averaged = list(self.module.parameters())
        current = [parameter.detach() for parameter in module.parameters()]
        torch._foreach_lerp_(averaged, current, 1 - decay)


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The randomness of one step, a function of (seed, step) only: a resumed run repeats an unbroken one."""
    numpy_generator = np.random.default_rng([seed, step])
    return numpy_generator, torch.Generator().manual_seed(int(numpy_generator.integers(2**62)))


def cosine(step: int, total: int, start: float, end: float, warmup: int = 200) -> float:
    """Learning rate: linear warm-up, then half a cosine from `start` to `end`."""
    if step < warmup:
        return start * (step + 1) / warmup
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


Stateful = nn.Module | torch.optim.Optimizer


def save_checkpoint(path: Path, step: int, parts: dict[str, Stateful]) -> None:
    """Write the state of every part and the number of finished steps; an interrupted write leaves the old file."""
    state = {name: part.state_dict() for name, part in parts.items()}
    with atomic_path(path) as temporary:
        torch.save({"step": step, **state}, temporary)


def load_checkpoint(path: Path, parts: dict[str, Stateful]) -> int:
    """Restore the parts in place and return the number of finished steps; 0 when there is no checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def training_steps(
    checkpoint: Path, parts: dict[str, Stateful], total: int, report: Callable[[int], str], every: int = 500
) -> Iterator[int]:
    """Yield the numbers of the steps still to do; print `report(step)` and save every `every` steps."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    first = load_checkpoint(checkpoint, parts)
    began = time.monotonic()
    for step in range(first, total):
        yield step
        done = step + 1
        if done % every == 0 or done == total:
            save_checkpoint(checkpoint, done, parts)
            pace = (time.monotonic() - began) / (done - first)
            print(f"step {done}/{total}  {pace * 1000:.0f} ms a step  {report(done)}", flush=True)
