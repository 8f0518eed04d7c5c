"""Time and memory of a step of the attack, beside what the machine can do and what published code does.

    python -m benchmarks.speed                                   # atelier
    python -m benchmarks.speed --model sd15 --size 256           # Stable Diffusion 1.5's architecture, random weights
    python -m benchmarks.speed --model sdxl --device cuda        # SDXL's, at 1024 px on a card
    python -m benchmarks.speed --only "advdm 4" "as published 4"

Each case runs in a process of its own, so that its peak of memory is its own. Seconds hold for one machine on one
day; only ratios within one run are worth quoting.
"""

import argparse
import ctypes
import gc
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from advdm.models import SDXL, LatentDiffusion, StableDiffusion, load_model
from advdm.models.machine import half_precision
from advdm.objectives import OBJECTIVES
from advdm.paintings import Painting
from advdm.protection import Settings, protection_steps
from tests.full_size import sdxl, stable_diffusion_15

BASELINE = "as published"
PAINTING = 500
"""Side of the painting in pixels, in the cases of atelier."""
RESULTS = Path(__file__).parent / "results"
PRODUCT = "matrix product"
SIZES = {"atelier": 128, "sd15": 512, "sdxl": 1024}
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda pull, q, k, v, *_, **__: sdpa_backward_flop_count(pull, q, k, v)
    ),
}
"""The formulas that FlopCounterMode lacks: of fused attention it counts what runs on cards, and nothing on a CPU."""


@dataclass(frozen=True)
class Case:
    """One thing to measure. objective is a name of OBJECTIVES or BASELINE; size the side of what the model sees."""

    model: str
    size: int
    painting: int
    objective: str
    samples: int
    repeats: int
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.objective} {self.samples}"


@dataclass(frozen=True)
class Measured:
    """Of each repeat the milliseconds of a step and the machine's ceiling just before, in billions of operations a
    second; a step's floating-point operations in billions; the peak of memory with the model and above it."""

    case: Case
    machine: dict[str, str]
    times: list[float]
    ceilings: list[float]
    gigaflops: float
    megabytes: float
    above: float

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.times)

    @property
    def share(self) -> float:
        """The median over the repeats of a step's arithmetic rate over the ceiling."""
        rates = (1000 * self.gigaflops / taken for taken in self.times)
        return statistics.median(rate / limit for rate, limit in zip(rates, self.ceilings, strict=True))


def new_model(case: Case) -> LatentDiffusion:
    if case.model == "atelier":
        return load_model("atelier", case.device)
    dtype = half_precision() if case.device == "cuda" else torch.float32
    if case.model == "sd15":
        return StableDiffusion(stable_diffusion_15(case.size, case.device, dtype), case.model, case.device)
    return SDXL(sdxl(case.size, case.device, dtype), case.model, case.device)


def new_painting(side: int) -> Painting:
    return Painting(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def leave_to_torch(model: LatentDiffusion) -> None:
    """Undo what `quicken` did."""
    for module in model.modules:
        for part in module.modules():
            part.__dict__.pop("forward", None)


def ours(model: LatentDiffusion, case: Case) -> Callable[[], object]:
    """The next step of our attack, each time it is called."""
    settings = Settings(steps=10_000, samples=case.samples, objective=case.objective)
    steps = protection_steps(new_painting(case.painting), model, settings)
    return lambda: next(steps)


def as_published(model: LatentDiffusion, case: Case) -> Callable[[], object]:
    """A step in the way of the published code (Mist v1): the denoiser not frozen, everything encoded at every step.

    As there, activations are computed twice (use_checkpoint), tensors lie in torch's own order (NCHW), the weights of
    the denoiser collect gradients, a target picture and the prompt are encoded anew, and each sample encodes the
    painting and runs the denoiser by itself. The painting has the model's size. Kinder than Mist, which also encodes
    once more, and the prompt three times; Mist itself averages one sample.
    """
    leave_to_torch(model)
    model.vae.to(memory_format=torch.contiguous_format)
    model.unet.requires_grad_(True)
    model.unet.enable_gradient_checkpointing()
    generator = torch.Generator().manual_seed(0)
    pixels, target = (torch.rand((1, 3, case.size, case.size), generator=generator).to(model.device) for _ in range(2))

    @torch.enable_grad()
    def step() -> Tensor:
        leaf = pixels.clone().requires_grad_()
        for _ in range(case.samples):
            model.encode(target)
            posterior = model.encode(leaf)
            spread, noise = (torch.randn(posterior.mean.shape, generator=generator).to(model.device) for _ in range(2))
            timesteps = torch.randint(model.timesteps, (1,), generator=generator).to(model.device)
            error = model.noise_error(posterior.sample(spread), timesteps, noise, model.embed("a painting"))
            (error.mean() / case.samples).backward()
        assert leaf.grad is not None
        return leaf.grad.sign()

    return step


def measure(case: Case) -> Measured:
    model = new_model(case)
    step = (as_published if case.objective == BASELINE else ours)(model, case)
    before = settle(case.device)  # before the first step, after which the gradients of weights are there to stay
    step()  # the first one takes longer
    step()
    highest = peak(case.device)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        step()
    limits, times = [], []
    for _ in range(case.repeats):  # in turn, because what a shared machine can do changes by the second
        limits.append(ceilings(case.device, model.dtype)[PRODUCT])
        times.append(median_milliseconds(step, 1, case.device))
    flops = counter.get_total_flops() / 1e9
    return Measured(case, model.machine, times, limits, flops, highest / 1e6, (highest - before) / 1e6)


def median_milliseconds(work: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    seconds = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


@torch.no_grad()
def ceilings(device: str = "cpu", dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """What this machine reaches at best, in billions of operations a second."""
    side = 8192 if device == "cuda" else 2048
    matrix = torch.randn(side, side, device=device).to(dtype)
    matrix @ matrix
    return {PRODUCT: 2 * side**3 / median_milliseconds(lambda: matrix @ matrix, 9, device) / 1e6}


def status(name: str) -> float:
    """A figure of /proc/self/status in bytes; of getrusage's peak where there is no such file."""
    file = Path("/proc/self/status")
    if not file.exists():
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in file.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])


def peak(device: str = "cpu") -> float:
    """The most bytes that were held since `settle`."""
    return float(torch.cuda.max_memory_allocated()) if device == "cuda" else status("VmHWM")


def settle(device: str = "cpu") -> float:
    """Give freed memory back to the system, let the peak begin anew, and return the bytes that are held."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    with suppress(OSError, AttributeError):  # glibc alone has it, and else keeps what loading freed
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # Linux only; elsewhere the peak goes on from the start of the process
        Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def cases(model: str, size: int, repeats: int, device: str = "cpu") -> list[Case]:
    """Every objective with one sample, `advdm` with four, and the baseline with as many."""
    plain = Case(model, size, PAINTING if model == "atelier" else size, "advdm", 1, repeats, device)
    return [
        *(replace(plain, objective=name) for name in OBJECTIVES),
        *(replace(plain, objective=name, samples=4) for name in ("advdm", BASELINE)),
    ]


def table(measured: list[Measured]) -> str:
    head = "| model | sees, px | objective | samples | ms a step | peak, MB | above the model | of the matrix product |"
    rows = [
        f"| {m.case.model} | {m.case.size} | {m.case.objective} | {m.case.samples} | {m.milliseconds:.0f} "
        f"| {m.megabytes:.0f} | {m.above:.0f} | {m.share:.0%} |"
        for m in measured
    ]
    return "\n".join((head, "|---|---|---|---|---|---|---|---|", *rows))


def summary(measured: list[Measured]) -> str:
    limits = [limit for m in measured for limit in m.ceilings]
    lines = [
        f"On {measured[0].machine['device']} in {measured[0].machine['dtype']}; {PRODUCT} {min(limits):.0f} to "
        f"{max(limits):.0f} GFLOP/s over the run.",
        "",
        table(measured),
    ]
    by_case = {m.case: m for m in measured}
    for theirs in measured:
        mine = by_case.get(replace(theirs.case, objective="advdm"))
        if theirs.case.objective == BASELINE and mine:
            lines += [
                "",
                f"`advdm` with {mine.case.samples} samples is {theirs.milliseconds / mine.milliseconds:.2f} times as "
                f"fast as a step as published, with {mine.megabytes / theirs.megabytes:.0%} of its peak of memory.",
            ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for speed_MODEL_SIZE_DEVICE.json and .md")
    parser.add_argument("--model", choices=SIZES, default="atelier")
    parser.add_argument("--size", type=int, help="side in pixels of what sd15 or sdxl sees, else its own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="objective and samples, as 'advdm 4'; else all")
    options = parser.parse_args()
    size = options.size if options.size and options.model != "atelier" else SIZES[options.model]
    every = cases(options.model, size, options.repeats, options.device)
    chosen = [case for case in every if not options.only or case.name in options.only]
    if not chosen:
        parser.error(f"no such case; there are {', '.join(case.name for case in every)}")
    measured: list[Measured] = []
    for case in chosen:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured.append(pool.apply(measure, (case,)))
        print(table(measured[-1:]).splitlines()[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    device = "" if options.device == "cpu" else f"_{options.device}"
    stem = options.out / f"speed_{options.model}_{size}{device}"
    stem.with_suffix(".md").write_text(summary(measured) + "\n")
    stem.with_suffix(".json").write_text(json.dumps({"cases": [asdict(m) for m in measured]}, indent=1))
    print(summary(measured))


if __name__ == "__main__":
    main()
