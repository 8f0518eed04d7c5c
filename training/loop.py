"""What all trainings share: a budget of minutes, seeded steps, a moving average of the weights, checkpoints."""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from advdm.files import atomic_path

SHARES = {
    "pictures": 0.12,
    "reconstruction": 0.18,
    "perceptual": 0.03,
    "sharp": 0.15,
    "latents": 0.04,
    "denoiser": 0.48,
}
"""Of the minutes, for each stage in its turn. What one leaves, or takes too much, is shared by the next ones alike."""
SAVE_SECONDS = 60
WARMUP_STEPS = 200


@dataclass(frozen=True)
class Run:
    """A training from nothing to weights: where, for how long, on what. batch is pictures a step of the denoiser."""

    work: Path
    device: torch.device
    seed: int = 0
    batch: int = 32
    minutes: float = math.inf
    bf16: bool = False
    now: Callable[[], float] = time.monotonic

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


def put(data: Tensor | np.ndarray, device: torch.device) -> Tensor:
    """The same on the device, without waiting for what a card still computes."""
    tensor = torch.as_tensor(data)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass(frozen=True)
class Step:
    """A step and its randomness, a function of seed, stage and number: a resumed run repeats an unbroken one.

    Both generators are the CPU's, so that a seed means the same on every device.
    """

    number: int
    progress: float
    rng: np.random.Generator
    generator: torch.Generator

    def rate(self, start: float, end: float) -> float:
        """Learning rate: a linear warm-up, and half a cosine of the stage's progress from `start` to `end`."""
        warm = min(1.0, (self.number + 1) / WARMUP_STEPS)
        return warm * (end + (start - end) * 0.5 * (1 + math.cos(math.pi * self.progress)))

    def noise(self, like: Tensor) -> Tensor:
        """Gaussian noise of the same shape, on the same device."""
        return put(torch.randn(like.shape, generator=self.generator), like.device)


class Stage:
    """One part of a run with its share of the minutes; the seconds that each has used are in WORK/seconds.json."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name = run, name
        self.losses: dict[str, Tensor] = {}
        self.file = run.work / "seconds.json"
        self.used: dict[str, float] = json.loads(self.file.read_text()) if self.file.exists() else {}
        rest = list(dropwhile(lambda stage: stage != name, SHARES)) or [name]
        left = 60 * run.minutes - sum(seconds for stage, seconds in self.used.items() if stage not in rest)
        self.seconds = max(1e-9, left) * SHARES.get(name, 1) / sum(SHARES.get(stage, 1) for stage in rest)
        self.began = run.now() - self.used.get(name, 0)

    def progress(self) -> float:
        """The part of the stage's time that is used, 1 or more at its end."""
        return (self.run.now() - self.began) / self.seconds

    def save(self) -> float:
        """Remember the time that is used; returns `progress`."""
        self.used[self.name] = self.run.now() - self.began
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps(self.used))
        return self.used[self.name] / self.seconds

    def note(self, **losses: Tensor) -> None:
        """Losses to print, as means over some fifty steps; they stay on the device until then."""
        for name, loss in losses.items():
            self.losses[name] = self.losses.get(name, loss.detach()).lerp(loss.detach(), 0.02)

    def steps(self, most: int, parts: Mapping[str, nn.Module | torch.optim.Optimizer]) -> Iterator[Step]:
        """The steps still to do, until there were `most` or the stage's time is used. Parts are saved each minute."""
        file, number = self.run.work / f"{self.name}.pt", 0
        if file.exists():
            state = torch.load(file, map_location=self.run.device, weights_only=True)
            number = state["step"]
            for name, part in parts.items():
                part.load_state_dict(state[name])
        saved_number, saved = number, self.run.now()
        while True:
            progress = max(number / most, self.progress()) if number < most else 1.0
            if number > saved_number and (progress >= 1 or self.run.now() - saved >= SAVE_SECONDS):
                with atomic_path(file) as temporary:
                    torch.save({"step": number} | {name: part.state_dict() for name, part in parts.items()}, temporary)
                losses = "".join(f", {name} {float(loss):.4f}" for name, loss in self.losses.items())
                print(f"{self.name}: {self.save():.0%} of its time, {number} steps{losses}", flush=True)
                saved_number, saved = number, self.run.now()
            if progress >= 1:
                return
            rng = np.random.default_rng([self.run.seed, int.from_bytes(self.name.encode()), number])
            yield Step(number, progress, rng, torch.Generator().manual_seed(int(rng.integers(2**62))))
            number += 1


class Average:
    """Exponential moving average of a module's parameters; it starts fast and settles at `decay`."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, rate: float, clip: float = math.inf) -> None:
    """One step of the optimizer at a learning rate, the norm of the gradient at most `clip`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], clip)
    optimizer.step()
