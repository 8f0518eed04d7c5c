"""Speed and memory of a step of the attack, beside the machine's own limits and beside what published code does.

    python -m benchmarks.speed                             # atelier
    python -m benchmarks.speed --model sd15                # Stable Diffusion 1.5's architecture, random weights, 256 px
    python -m benchmarks.speed --model sd15 --size 512 --repeats 1
    python -m benchmarks.speed --model sd15 --only "advdm 4" "as published 4"

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
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from advdm.models.latent_diffusion import LatentDiffusion, load_model
from advdm.objectives import OBJECTIVES, draw
from advdm.paintings import Painting
from advdm.protection import PROMPT, Settings, protection_steps
from advdm.tables import number_of
from advdm.views import whole_view
from tests.full_size import stable_diffusion_15

Result = TypeVar("Result")
BASELINE, FRUGAL = "as published", "as published, recomputing"
PAINTING = 500
"""Side of the painting in pixels, in the cases of atelier."""
RESULTS = Path(__file__).parent / "results"
PRODUCT = "matrix product, 2048 cubed"
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda pull, q, k, v, *_, **__: sdpa_backward_flop_count(pull, q, k, v)
    ),
}
"""The formulas that FlopCounterMode lacks: of fused attention it counts what runs on cards, and nothing on a CPU."""


@dataclass(frozen=True)
class Case:
    """One thing to measure. objective is a name of OBJECTIVES or a baseline; size the side of what the model sees."""

    model: str
    size: int
    painting: int
    objective: str
    samples: int
    repeats: int

    @property
    def name(self) -> str:
        return f"{self.objective} {self.samples}"


@dataclass(frozen=True)
class Measured:
    """Of each repeat the milliseconds of a step and the machine's ceilings just before, in billions of operations a
    second; a step's floating-point operations in billions; the peak of memory above the loaded model."""

    case: Case
    times: list[float]
    limits: list[dict[str, float]]
    gigaflops: float
    megabytes: float

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.times)

    @property
    def share(self) -> float:
        """The median over the repeats of a step's arithmetic rate over the better of the ceilings."""
        rates = (1000 * self.gigaflops / time for time in self.times)
        return statistics.median(rate / max(limit.values()) for rate, limit in zip(rates, self.limits, strict=True))


def new_model(case: Case) -> LatentDiffusion:
    if case.model == "atelier":
        return load_model("atelier", "cpu")
    return LatentDiffusion(stable_diffusion_15(case.size), case.model)


def new_painting(side: int) -> Painting:
    return Painting(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))


def leave_to_torch(model: LatentDiffusion) -> None:
    """Undo what `quicken` did."""
    for module in (model.vae, model.unet, model.text_encoder):
        for part in module.modules():
            part.__dict__.pop("forward", None)


def ours(model: LatentDiffusion, case: Case) -> Callable[[], object]:
    """The next step of our attack, each time it is called."""
    settings = Settings(steps=10_000, samples=case.samples, objective=case.objective)
    steps = protection_steps(new_painting(case.painting), model, settings)
    return lambda: next(steps)


def as_published(model: LatentDiffusion, case: Case) -> Callable[[], object]:
    """A step in the way of the published code (Mist v1): the denoiser not frozen, everything encoded at every step.

    The denoiser's weights collect gradients (autoencoder and text encoder are frozen there too); the prompt and a
    target picture are encoded anew; each sample encodes the painting by itself and runs the denoiser by itself. It
    sees the painting already at the model's size. Where this differs from Mist it is kinder: one encoding less, the
    prompt once and not three times, fused attention, and no activations computed twice to save memory: FRUGAL does
    that as well.
    """
    leave_to_torch(model)
    model.unet.requires_grad_(True)
    if case.objective == FRUGAL:
        model.unet.enable_gradient_checkpointing()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((1, 3, case.size, case.size), generator=generator)
    target = torch.rand(pixels.shape, generator=generator)
    tokens = torch.zeros((1, model.pipeline.tokenizer.model_max_length), dtype=torch.long)

    @torch.enable_grad()
    def step() -> Tensor:
        leaf = pixels.clone().requires_grad_()
        for _ in range(case.samples):
            embedding = model.text_encoder(tokens).last_hidden_state
            model.encode(target)
            posterior = model.encode(leaf)
            latents = posterior.sample(torch.randn(posterior.mean.shape, generator=generator))
            drawn = draw(model, tuple(latents.shape), generator)
            error = model.noise_error(latents, drawn.timesteps, drawn.noise, embedding).mean() / case.samples
            error.backward()
        assert leaf.grad is not None
        return leaf.grad.sign()

    return step


def measure(case: Case) -> Measured:
    model = new_model(case)
    step = (as_published if case.objective in (BASELINE, FRUGAL) else ours)(model, case)
    before = settle()  # before the first step, after which the gradients of weights are there to stay
    step()  # the first one takes longer
    step()
    megabytes = (peak() - before) / 1e6
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        step()
    limits, times = [], []
    for _ in range(case.repeats):  # in turn, because what a shared machine can do changes by the second
        limits.append(ceilings())
        times.append(median_milliseconds(step, 1))
    return Measured(case, times, limits, counter.get_total_flops() / 1e9, megabytes)


def median_milliseconds(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def status(name: str) -> float:
    """A figure of /proc/self/status in bytes; of getrusage's peak where there is no such file."""
    file = Path("/proc/self/status")
    if not file.exists():
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in file.read_text().splitlines() if line.startswith(name))
    return 1024.0 * int(line.split()[1])


def resident() -> float:
    return status("VmRSS")


def peak() -> float:
    return status("VmHWM")


def settle() -> float:
    """Give freed memory back to the system, let the peak begin anew, and return the bytes that are held."""
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone has it, and else keeps what loading freed
        ctypes.CDLL(None).malloc_trim(0)
    clear_peak()
    return resident()


def clear_peak() -> None:
    """Let the peak begin anew (Linux only; elsewhere it goes on from the start of the process)."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def parts(case: Case) -> dict[str, float]:
    """Median milliseconds of the parts of one step of `advdm`, in their order; the rest is draws, sign and bound."""
    model = new_model(case)
    whole_step = ours(model, case)
    generator = torch.Generator().manual_seed(0)
    painting = torch.rand((1, 3, case.painting, case.painting), generator=generator)
    view = whole_view(case.painting, case.painting, model.size, model.factor)
    embedding = model.embed(PROMPT)
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Tensor]) -> Tensor:
        start = time.perf_counter()
        result = work()
        taken.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result

    def gradient(output: Tensor, leaf: Tensor, pull: Tensor) -> Tensor:
        return torch.autograd.grad(output, leaf, pull)[0]

    for _ in range(case.repeats + 1):
        leaf = painting.clone().requires_grad_()
        seen = timed("view", lambda: view.look(leaf))  # noqa: B023  (called at once)
        mean = timed("encode", lambda: model.encode(seen).mean)  # noqa: B023
        shape = (case.samples, *mean.shape[1:])
        latents = mean.detach().expand(shape).clone().requires_grad_()
        drawn = draw(model, shape, generator)
        losses = timed(
            "denoise",
            lambda: model.noise_error(latents, drawn.timesteps, drawn.noise, embedding),  # noqa: B023
        )
        pull = timed("backward of denoise", lambda: gradient(losses, latents, torch.ones_like(losses)))  # noqa: B023
        pull = timed("backward of encode", lambda: gradient(mean, seen, pull.mean(0, keepdim=True)))  # noqa: B023
        timed("backward of view", lambda: gradient(seen, leaf, pull))  # noqa: B023
        taken.setdefault("whole step", []).append(median_milliseconds(whole_step, 1))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    whole = medians.pop("whole step")
    return medians | {"the rest": whole - sum(medians.values()), "whole step": whole}


@torch.no_grad()
def ceilings() -> dict[str, float]:
    """What this machine reaches at best, in billions of operations a second: a matrix product and a convolution."""
    matrix = torch.randn(2048, 2048)
    maps, kernel = torch.randn(4, 320, 64, 64), torch.randn(320, 320, 3, 3)
    work = {
        PRODUCT: (lambda: matrix @ matrix, 2 * 2048**3),
        "convolution, 4 x 320 x 64 x 64, 3 x 3": (
            lambda: torch.nn.functional.conv2d(maps, kernel, padding=1),
            2 * 4 * 64 * 64 * 320 * 320 * 9,
        ),
    }
    rates = {}
    for name, (run, operations) in work.items():
        run()
        rates[name] = operations / median_milliseconds(run, 9) / 1e6
    return rates


def cases(model: str, size: int, repeats: int) -> list[Case]:
    """Every objective with one sample; `advdm` with more; paintings of other sizes; the baselines."""
    plain = Case(model, size, PAINTING if model == "atelier" else size, "advdm", 1, repeats)
    others = [replace(plain, objective=name) for name in OBJECTIVES if name != "advdm"]
    more = [replace(plain, samples=samples) for samples in ((2, 4, 8, 16) if model == "atelier" else (2, 4))]
    sides = (PAINTING // 2, 2 * PAINTING, 4 * PAINTING) if model == "atelier" else (4 * size,)
    sizes = [replace(plain, painting=side) for side in sides]
    return [plain, *others, *more, *sizes, *(replace(plain, objective=name, samples=4) for name in (BASELINE, FRUGAL))]


def apart(work: Callable[[Case], Result], case: Case) -> Result:
    """What work(case) returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (case,))


def table(measured: list[Measured]) -> str:
    head = "| model | sees, px | painting, px | objective | samples | ms a step | peak, MB | GFLOP | of the ceiling |"
    rows = [
        f"| {m.case.model} | {m.case.size} | {m.case.painting} | {m.case.objective} | {m.case.samples} "
        f"| {m.milliseconds:.0f} | {m.megabytes:.0f} | {m.gigaflops:.1f} | {m.share:.0%} |"
        for m in measured
    ]
    return "\n".join((head, "|---|---|---|---|---|---|---|---|---|", *rows))


def ranges(limits: list[dict[str, float]]) -> list[str]:
    """The lowest and the highest that each ceiling was measured at."""
    rates = {name: [limit[name] for limit in limits] for name in limits[0]}
    return [f"{name} {min(found):.0f} to {max(found):.0f} GFLOP/s" for name, found in rates.items()]


def comparisons(measured: list[Measured]) -> list[str]:
    """Ours over each baseline that was measured with equally many samples, in a sentence."""
    by_case = {m.case: m for m in measured}
    sentences = []
    for theirs in measured:
        mine = by_case.get(replace(theirs.case, objective="advdm"))
        if theirs.case.objective in (BASELINE, FRUGAL) and mine:
            sentences.append(
                f"`advdm` with {number_of(theirs.case.samples, 'sample')} against the baseline "
                f"{theirs.case.objective}: {theirs.milliseconds / mine.milliseconds:.2f} times as fast, "
                f"{mine.megabytes / theirs.megabytes:.0%} of the peak memory."
            )
    return sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for speed_MODEL_SIZE.json and .md")
    parser.add_argument("--model", choices=("atelier", "sd15"), default="atelier")
    parser.add_argument("--size", type=int, default=256, help="side in pixels of what sd15 sees")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="CASE", help="objective and samples; else all, and a step's parts")
    options = parser.parse_args()
    size = 128 if options.model == "atelier" else options.size

    every = cases(options.model, size, options.repeats)
    chosen = [case for case in every if not options.only or case.name in options.only]
    if not chosen:
        parser.error(f"no such case; there are {', '.join(case.name for case in every)}")
    measured: list[Measured] = []
    for case in chosen:
        measured.append(apart(measure, case))
        print(table(measured[-1:]).splitlines()[-1], flush=True)
    shares = {} if options.only else {n: apart(parts, replace(every[0], samples=n)) for n in (1, 4)}

    text = [f"Ceilings, over the whole run: {'; '.join(ranges([limit for m in measured for limit in m.limits]))}."]
    text += ["", table(measured), ""]
    text += comparisons(measured)
    if shares:
        text += ["", f"| part of a step, ms | {' | '.join(number_of(n, 'sample') for n in shares)} |", "|---|---|---|"]
        for name in shares[1]:
            text.append(f"| {name} | {' | '.join(f'{part[name]:.1f}' for part in shares.values())} |")
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"speed_{options.model}_{size}"
    stem.with_suffix(".md").write_text("\n".join(text) + "\n")
    record = {"cases": [asdict(m) for m in measured], "parts": shares}
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1))
    print("\n".join(text))


if __name__ == "__main__":
    main()
