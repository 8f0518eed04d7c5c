"""What might make a step faster, tried: each choice against the code as it is, in turn in one process.

    python -m benchmarks.choices                           # atelier
    python -m benchmarks.choices --compile                 # the same and torch.compile, which takes minutes to start
    python -m benchmarks.choices --model sd15 --repeats 3 --work "attack, 4 samples" "learning two words"

A figure is the time with the choice over the time without: the median over rounds, in each of which every choice
takes one step after the other, so that a machine that slows down slows all of them. Below 1 the choice pays.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from advdm.models.cpu import quicken
from advdm.imitators.inversion import InversionSettings, invert
from advdm.mimicry import PROMPTS
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.tables import markdown_table
from benchmarks.speed import PAINTING, RESULTS, Case, leave_to_torch, new_model, new_painting, ours, peak, settle

Choice = Callable[[LatentDiffusion], AbstractContextManager[object]]
AS_IS = "as it is"

clock = time.perf_counter if torch.get_num_threads() > 1 else time.process_time
"""On one thread, processor time is what the other processes of a busy machine leave alone."""


@contextmanager
def classic_attention(model: LatentDiffusion) -> Iterator[None]:
    """Scores, softmax and values one after the other, in place of torch's fused kernel."""
    model.unet.set_attn_processor(AttnProcessor())
    yield
    model.unet.set_attn_processor(AttnProcessor2_0())


@contextmanager
def memory_format(part: str, other: torch.memory_format, model: LatentDiffusion) -> Iterator[None]:
    """The other of the two: the denoiser is contiguous as it is, the autoencoder channels_last."""
    as_is = {"unet": torch.contiguous_format, "vae": torch.channels_last}
    getattr(model, part).to(memory_format=other)
    yield
    getattr(model, part).to(memory_format=as_is[part])


@contextmanager
def bfloat16(model: LatentDiffusion) -> Iterator[None]:
    """The denoiser computes in bfloat16; its weights, the latents and the pixels stay float32."""
    forward = model.unet.forward

    def half(*given: Any, **named: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(*given, **named)

    model.unet.forward = half
    yield
    del model.unet.forward


@contextmanager
def torchs_libraries(model: LatentDiffusion) -> Iterator[None]:
    """Every convolution by oneDNN and every linear layer by MKL, as torch has it."""
    leave_to_torch(model)
    yield
    for module in (model.vae, model.unet, model.text_encoder):
        quicken(module)


@contextmanager
def checkpointed(model: LatentDiffusion) -> Iterator[None]:
    """Activations of the denoiser are computed twice instead of kept."""
    model.unet.enable_gradient_checkpointing()
    yield
    model.unet.disable_gradient_checkpointing()


@contextmanager
def at_once(count: int, model: LatentDiffusion) -> Iterator[None]:
    before, model.at_once = model.at_once, count
    yield
    model.at_once = before


@contextmanager
def compiled(model: LatentDiffusion) -> Iterator[None]:
    """What is compiled stays compiled, and is looked up again the next time."""
    model.unet.compile()
    yield
    model.unet._compiled_call_impl = None


CHOICES: dict[str, Choice] = {
    AS_IS: lambda model: nullcontext(),
    "classic attention": classic_attention,
    "denoiser channels_last": partial(memory_format, "unet", torch.channels_last),
    "autoencoder contiguous": partial(memory_format, "vae", torch.contiguous_format),
    "denoiser in bfloat16": bfloat16,
    "libraries as torch has them": torchs_libraries,
    "denoiser checkpointed": checkpointed,
    "1 sample at a time": partial(at_once, 1),
    "2 samples at a time": partial(at_once, 2),
    "4 samples at a time": partial(at_once, 4),
}


def attack(samples: int, model: LatentDiffusion) -> Callable[[], object]:
    painting = PAINTING if model.name == "atelier" else model.size
    return ours(model, Case(model.name, model.size, painting, "advdm", samples, 1))


def learning(model: LatentDiffusion) -> Callable[[], object]:
    side = [new_painting(PAINTING)]
    steps = invert(model, [side, side], InversionSettings(steps=10_000))
    return lambda: next(steps)


def painting(model: LatentDiffusion) -> Callable[[], object]:
    embedding = model.embed(["a painting"] * len(PROMPTS))
    return lambda: model.generate(embedding, range(len(PROMPTS)), steps=10)


WORK: dict[str, Callable[[LatentDiffusion], Callable[[], object]]] = {
    "attack, 1 sample": partial(attack, 1),
    "attack, 4 samples": partial(attack, 4),
    "learning two words": learning,
    "painting six pictures": painting,
}


def compare(
    model: LatentDiffusion, choices: dict[str, Choice], step: Callable[[], object], repeats: int
) -> dict[str, tuple[float, float]]:
    """Time over the time as it is, and peak of memory above what is held before the round, in MB, of each choice."""
    seconds: dict[str, list[float]] = {name: [] for name in choices}
    megabytes: dict[str, list[float]] = {name: [] for name in choices}
    for number in range(repeats + 1):
        for name, choice in choices.items():
            with choice(model):
                before = settle()
                start = clock()
                step()
                if number:  # the first round allocates, and compiles
                    seconds[name].append(clock() - start)
                    megabytes[name].append((peak() - before) / 1e6)
    plain = seconds[AS_IS]
    return {
        name: (
            statistics.median(mine / theirs for mine, theirs in zip(taken, plain, strict=True)),
            statistics.median(megabytes[name]),
        )
        for name, taken in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for choices_MODEL.json and .md")
    parser.add_argument("--model", choices=("atelier", "sd15"), default="atelier")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=list(CHOICES), help="only these")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    choices = {name: choice for name, choice in CHOICES.items() if name in (AS_IS, *options.choices)}
    if options.compile:
        choices["denoiser compiled"] = compiled
    model = new_model(Case(options.model, 128 if options.model == "atelier" else 256, 0, "advdm", 1, 1))
    found = {}
    for work in options.work:
        found[work] = compare(model, choices, WORK[work](model), options.repeats)
        print(work, {name: round(ratio, 3) for name, (ratio, _) in found[work].items()}, flush=True)
    text = markdown_table(
        ["choice", *(f"{work}: time, peak" for work in found)],
        [[name, *(f"{found[w][name][0]:.2f}, {found[w][name][1]:.0f} MB" for w in found)] for name in choices],
    )
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"choices_{options.model}"
    stem.with_suffix(".md").write_text(text + "\n")
    stem.with_suffix(".json").write_text(json.dumps({"threads": torch.get_num_threads(), "found": found}, indent=1))
    print(text)


if __name__ == "__main__":
    main()
