"""Prints the figures of atelier's model card that are not about imitation, with their targets, as Markdown.

    python -m training.evaluate --model advdm/atelier --judge judge.pt --work DIR [--only reconstruction latents ...]

Fresh pictures are painted into WORK with a seed that training never uses; `sheets` writes there what the figures are
about. The judge comes from `training.classifier`. Pictures are (N, 3, 128, 128) float32 in [0, 1].
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, product
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageOps
from torch import Tensor

from advdm.judge import embedding, frechet_distance, knn_precision
from training.classifier import load_classifier, right
from training.manners import MANNERS
from training.pictures import painted_pictures
from training.scenes import PALETTES, SIZE, SUBJECTS, Scene
from training.sharp import edge_strengths

FRESH_SEED = 1_000_003
BATCH = 16
EPSILON, STRIDE, STEPS = 8 / 255, 2 / 255, 25
"""The attacks of the sensitivity table: bound, step and number of sign steps."""
ROUGH = ("thick impasto", "dry brush", "layered brushwork", "short strokes", "swirling strokes")
"""Manners with a surface like that of real paintings."""


def show(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """One row of the table; infinite bounds ask for nothing."""
    asked = [f"{word} {bound:g}" for word, bound in (("at least", low), ("at most", high)) if math.isfinite(bound)]
    verdict = "" if not asked else "reached" if low <= value <= high else "**missed**"
    print(f"| {name} | {value:.4g} | {', '.join(asked)} | {verdict} |", flush=True)


@dataclass(frozen=True, eq=False)
class Atelier:
    """The model, and what it is measured on: fresh pictures of the scenes, the Van Goghs, and its own samples."""

    pipeline: StableDiffusionPipeline
    fresh: Tensor
    scenes: list[Scene]
    van_gogh: Tensor
    options: argparse.Namespace

    def mean(self, pictures: Tensor) -> Tensor:
        """Scaled posterior means (N, C, h, w)."""
        return self.pipeline.vae.encode(2 * pictures - 1).latent_dist.mean * self.pipeline.vae.config.scaling_factor

    def decoded(self, pictures: Tensor) -> Tensor:
        latents = self.mean(pictures) / self.pipeline.vae.config.scaling_factor
        return self.pipeline.vae.decode(latents).sample / 2 + 0.5

    @torch.no_grad()
    def over(self, seen: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
        """`seen` of many pictures, in batches on the model's device."""
        return torch.cat([seen(batch.to(self.pipeline.device)).cpu() for batch in pictures.split(BATCH)])

    def reconstructed(self, pictures: Tensor) -> Tensor:
        return self.over(self.decoded, pictures).clamp(0, 1)

    def kinds(self, count: int) -> dict[str, Tensor]:
        return {"fresh": self.fresh[:count], "Van Gogh": self.van_gogh}

    @cached_property
    def prompted(self) -> list[Scene]:
        """Every subject in every manner, as often as asked for; palettes in turn."""
        pairs = list(product(SUBJECTS, MANNERS)) * self.options.per_prompt
        return [Scene(*pair, palette) for pair, palette in zip(pairs, cycle(PALETTES), strict=False)]

    @cached_property
    def samples(self) -> Tensor:
        """What the model paints for `prompted`, picture i from seed i; painted once, for it takes the longest."""
        pictures = []
        for first in range(0, len(self.prompted), BATCH):
            batch = self.prompted[first : first + BATCH]
            painted = self.pipeline(
                [f"a painting of {scene.subject}, in {scene.manner}, in {scene.palette}" for scene in batch],
                num_inference_steps=25,
                guidance_scale=self.options.guidance,
                generator=[torch.Generator().manual_seed(first + i) for i in range(len(batch))],
                output_type="pt",
            )
            pictures.append(painted.images.float().cpu())
        return torch.cat(pictures)


def rms(difference: Tensor) -> float:
    """Root mean square of each picture, averaged over pictures."""
    return float(difference.square().mean((1, 2, 3)).sqrt().mean())


def random_noise(pictures: Tensor) -> Tensor:
    """The pictures with uniform noise of up to EPSILON, the same each time."""
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(0)).to(pictures.device)
    return (pictures + (2 * noise - 1) * EPSILON).clamp(0, 1)


@torch.enable_grad()
def attacked(pictures: Tensor, seen: Callable[[Tensor], Tensor]) -> Tensor:
    """The pictures moved by at most EPSILON so that `seen` of them changes most, by STEPS sign steps."""
    before, moved = seen(pictures).detach(), random_noise(pictures)
    for _ in range(STEPS):
        leaf = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((seen(leaf) - before).square().sum(), leaf)
        change = (moved + gradient.sign() * STRIDE - pictures).clamp(-EPSILON, EPSILON)
        moved = (pictures + change).clamp(0, 1)
    return moved


@torch.no_grad()
def noise_error(atelier: Atelier, pictures: Tensor) -> float:
    """Mean noise error of "a painting" over ten even timesteps, each with one noise that all pictures share."""
    pipeline, generator = atelier.pipeline, torch.Generator().manual_seed(0)
    embedding, _ = pipeline.encode_prompt("a painting", pipeline.device, 1, False)
    latents, errors = atelier.over(atelier.mean, pictures).to(pipeline.device), []
    for timestep in torch.arange(50, 1000, 100, device=pipeline.device):
        noise = torch.randn((1, *latents.shape[1:]), generator=generator).to(latents).expand_as(latents)
        noisy = pipeline.scheduler.add_noise(latents, noise, timestep[None])
        predicted = pipeline.unet(noisy, timestep, embedding.expand(len(latents), -1, -1)).sample
        errors.append((predicted - noise).square().mean())
    return float(torch.stack(errors).mean())


def reconstruction(atelier: Atelier) -> None:
    for (kind, pictures), least in zip(atelier.kinds(256).items(), (23.5, 22.0), strict=True):
        decoded = atelier.reconstructed(pictures)
        psnr = -10 * (pictures - decoded).square().mean((1, 2, 3)).log10()
        show(f"PSNR, {kind}, dB", float(psnr.mean()), low=least)
        own, theirs = (edge_strengths(side, floor=0).mean((1, 2, 3)) for side in (pictures, decoded))
        show(f"edge energy over the picture's own, {kind}", float((theirs / own).mean()), 0.85, 1.1)


def latents(atelier: Atelier) -> None:
    channels = atelier.over(atelier.mean, atelier.fresh[:256]).transpose(0, 1).flatten(1).double()
    for i, value in enumerate(torch.linalg.eigvalsh(torch.cov(channels)).clamp(min=0).sqrt().tolist(), 1):
        show(f"principal standard deviation {i}", value, 0.7, 1.4)


def sensitivity(atelier: Atelier) -> None:
    for kind, pictures in atelier.kinds(BATCH).items():
        clean, seen = atelier.over(atelier.mean, pictures), atelier.reconstructed(pictures)
        for name, move in {
            "random noise": random_noise,
            "attack on the latent": lambda batch: attacked(batch, atelier.mean),
            "attack on the decoded picture": lambda batch: attacked(batch, atelier.decoded),
        }.items():
            copies = atelier.over(move, pictures)
            shift = rms(atelier.over(atelier.mean, copies) - clean) / float(clean.std())
            show(f"{kind}, {name}: latent shift, in standard deviations", shift)
            change = rms(atelier.reconstructed(copies) - seen) * 255
            show(f"{kind}, {name}: change of the decoded picture, levels rms", change)


def error(atelier: Atelier) -> None:
    rough = [picture for picture, scene in zip(atelier.fresh, atelier.scenes, strict=True) if scene.manner in ROUGH]
    painted, real = noise_error(atelier, torch.stack(rough[:64])), noise_error(atelier, atelier.van_gogh)
    show("noise error, fresh pictures of rough manners", painted)
    show("noise error, Van Gogh", real)
    show("Van Gogh over rough", real / painted, high=1.3)


def prompts(atelier: Atelier) -> None:
    classifier, fresh, scenes = load_classifier(atelier.options.judge), atelier.fresh[:256], atelier.scenes[:256]
    for name, pictures, shown, least in (
        ("fresh pictures", fresh, scenes, {"subject": 0.95, "manner": 0.95, "palette": 0.95}),
        # Whoever cannot read reconstructions is not fair to samples, which are decoded too.
        ("their reconstructions", atelier.reconstructed(fresh), scenes, {}),
        ("samples", atelier.samples, atelier.prompted, {"subject": 0.85, "manner": 0.9, "palette": 0.85}),
    ):
        for head, share in right(classifier, pictures, shown).items():
            show(f"{name}, {head} right", share, low=least.get(head, -math.inf))
    for manner in MANNERS:
        chosen = [i for i, scene in enumerate(atelier.prompted) if scene.manner == manner]
        share = right(classifier, atelier.samples[chosen], [atelier.prompted[i] for i in chosen])["manner"]
        show(f"samples in {manner}, manner right", share)


def frechet(atelier: Atelier) -> None:
    """Equal numbers of pictures on all sides, for the distance falls with the number."""
    count = len(atelier.samples)
    real, second = embedding(atelier.fresh[:count]), atelier.fresh[count : 2 * count]
    sides = {"fresh pictures (the floor)": second, "reconstructions": atelier.reconstructed(second)}
    for name, pictures in (sides | {"samples": atelier.samples}).items():
        painted = embedding(pictures)
        show(f"Fréchet distance, {name}", frechet_distance(real, painted))
        show(f"k-NN precision, {name}", knn_precision(real, painted))


def sheets(atelier: Atelier) -> None:
    """No figures: the pictures that the figures are about."""
    for kind, pictures in atelier.kinds(8).items():
        rows = torch.stack([pictures, atelier.reconstructed(pictures)])
        save_grid(rows, atelier.options.work / f"reconstructions_{kind.lower().replace(' ', '_')}.png")
    first = atelier.samples[: len(SUBJECTS) * len(MANNERS)]
    save_grid(first.unflatten(0, (-1, len(MANNERS))), atelier.options.work / "samples.png")


SECTIONS = {
    section.__name__: section for section in (reconstruction, latents, sensitivity, error, prompts, frechet, sheets)
}


def save_grid(rows: Tensor, file: Path) -> None:
    """Write pictures (rows, columns, 3, H, W) in [0, 1] as one PNG."""
    levels = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).mul(255).round().byte()
    Image.fromarray(levels.numpy()).save(file)


def to_unit(levels: Sequence[Image.Image] | np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 levels to pictures."""
    return torch.from_numpy(np.stack(levels)).permute(0, 3, 1, 2) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="pipeline folder")
    parser.add_argument("--van-gogh", type=Path, default=Path("examples"), help="folder of paintings never trained on")
    parser.add_argument("--judge", type=Path, help="file made by training.classifier")
    parser.add_argument("--work", type=Path, required=True, help="folder for fresh pictures and sheets")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--per-prompt", type=int, default=3, help="samples for each subject and manner")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    if "prompts" in options.only and not options.judge:
        parser.error("the section prompts needs --judge")

    options.work.mkdir(parents=True, exist_ok=True)
    count = max(256, 2 * options.per_prompt * len(SUBJECTS) * len(MANNERS))
    fresh, scenes = painted_pictures(options.work, count, FRESH_SEED)
    files = sorted(options.van_gogh.glob("*.webp"))
    squares = [ImageOps.fit(Image.open(file).convert("RGB"), (SIZE, SIZE), Image.Resampling.BICUBIC) for file in files]
    pipeline = StableDiffusionPipeline.from_pretrained(options.model).to(options.device)
    pipeline.set_progress_bar_config(disable=True)
    atelier = Atelier(pipeline, to_unit(fresh), scenes, to_unit(squares), options)
    print("| figure | value | target | |\n|---|---|---|---|", flush=True)
    for name in options.only:
        SECTIONS[name](atelier)


if __name__ == "__main__":
    main()
