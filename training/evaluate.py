"""Measures atelier: the figures of its model card, with their targets, as Markdown and as JSON beside it.

    python -m training.evaluate --model advdm/atelier --judge judge.pt --work DIR --out report.md
    python -m training.evaluate ... --only reconstruction latents sensitivity

Fresh pictures are painted into WORK with a seed that training never uses. A section that is measured again replaces
its old figures in the report and leaves the others. The first three need no more of MODEL than its vae.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from advdm.evaluation import with_noise
from advdm.imitators.inversion import InversionSettings, invert
from advdm.judge import Judge, frechet_distance, knn_precision
from advdm.mimicry import (
    MimicrySettings,
    imitate_side_by_side,
    imitation,
    middle_square,
    reference,
    style_distances,
)
from advdm.models.latent_diffusion import LatentDiffusion, load_model
from advdm.paintings import Painting, find_paintings, read_painting
from advdm.protection import PROMPT, protect
from advdm.views import LEVELS
from training.autoencoder import edge_strengths
from training.brushes import HELD_OUT_MANNERS, MANNERS
from training.captions import all_words
from training.classifier import load_classifier, right, to_unit
from training.denoiser import new_pipeline, new_text_encoder, new_tokenizer, new_unet
from training.pictures import read_painted
from training.scenes import HELD_OUT_PALETTES, PALETTES, Scene, paint, paint_set
from training.subjects import SUBJECTS

SIZE = 128
FRESH_SEED = 1_000_003
BATCH = 16
EPSILON, STRIDE, STEPS = 8, 2, 25
"""The attacks of the sensitivity table: bound and step in 8-bit levels, number of sign steps."""
GUIDANCE = MimicrySettings().guidance
PAINTING_SIZE = 256
ROUGH = ("thick impasto", "dry brush", "layered brushwork", "short strokes", "swirling strokes")
"""Manners with a surface like that of real paintings."""


@dataclass(frozen=True)
class Figure:
    """One measured number and the range it should lie in; infinite bounds ask for nothing."""

    name: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def target(self) -> str:
        match math.isfinite(self.low), math.isfinite(self.high):
            case True, True:
                return f"{self.low:g} to {self.high:g}"
            case True, False:
                return f"at least {self.low:g}"
            case False, True:
                return f"at most {self.high:g}"
        return "reported"

    @property
    def verdict(self) -> str:
        if self.target == "reported":
            return ""
        return "reached" if self.low <= self.value <= self.high else "**missed**"


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures (N, 3, S, S) in [0, 1], painted by the program or by the model, and what they should show."""

    pictures: Tensor
    scenes: tuple[Scene, ...]

    def __getitem__(self, part: slice) -> "Sample":
        return Sample(self.pictures[part], self.scenes[part])


@dataclass(frozen=True, eq=False)
class Material:
    """All that the sections look at. van_gogh: middle squares (8, 3, S, S) in [0, 1] of van_gogh_paintings."""

    model: LatentDiffusion
    fresh: Sample
    van_gogh: Tensor
    van_gogh_paintings: tuple[Painting, ...]
    options: argparse.Namespace

    @cached_property
    def judge(self) -> Judge:
        return Judge()

    @cached_property
    def samples(self) -> Sample:
        """What the model paints for every prompt; painted once, for it takes the longest."""
        scenes = prompt_scenes(self.options.per_prompt)
        return Sample(painted_by(self.model, scenes, self.options.guidance), scenes)

    def kinds(self, count: int) -> dict[str, Tensor]:
        return {"fresh": self.fresh.pictures[:count], "Van Gogh": self.van_gogh}


# Measures


def reconstructed(model: LatentDiffusion, pictures: Tensor) -> Tensor:
    return torch.cat([model.reconstruct(batch) for batch in pictures.split(BATCH)])


def latent_means(model: LatentDiffusion, pictures: Tensor) -> Tensor:
    """Scaled posterior means (N, C, h, w)."""
    with torch.no_grad():
        return torch.cat([model.encode(batch).mean for batch in pictures.split(BATCH)])


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over pictures of the PSNR in dB."""
    return float(-10 * (a - b).square().mean((1, 2, 3)).log10().mean())


def edge_energy(pictures: Tensor) -> Tensor:
    """Mean gradient magnitude of each picture, (N,)."""
    return edge_strengths(pictures, floor=0).mean((1, 2, 3))


def principal_deviations(latents: Tensor) -> Tensor:
    """Standard deviations along the principal axes of the channels of (N, C, h, w) latents, ascending: (C,)."""
    channels = latents.transpose(0, 1).flatten(1).double()
    return torch.linalg.eigvalsh(torch.cov(channels)).clamp(min=0).sqrt()


def rms(difference: Tensor) -> float:
    """Root mean square of each picture, averaged over pictures."""
    return float(difference.square().mean((1, 2, 3)).sqrt().mean())


def random_noise(pictures: Tensor) -> Tensor:
    """The pictures with uniform noise of up to EPSILON levels, the same each time."""
    noise = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(0))
    return (pictures + (2 * noise - 1) * EPSILON / LEVELS).clamp(0, 1)


@torch.enable_grad()
def attacked(pictures: Tensor, seen: Callable[[Tensor], Tensor]) -> Tensor:
    """The pictures moved by at most EPSILON levels so that `seen` of them changes most, by STEPS sign steps."""
    with torch.no_grad():
        before = seen(pictures)
    moved = random_noise(pictures)
    for _ in range(STEPS):
        leaf = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad((seen(leaf) - before).square().sum(), leaf)
        change = moved + gradient.sign() * STRIDE / LEVELS - pictures
        moved = (pictures + change.clamp(-EPSILON / LEVELS, EPSILON / LEVELS)).clamp(0, 1)
    return moved


def noise_error(model: LatentDiffusion, pictures: Tensor, prompt: str = PROMPT) -> float:
    """Mean noise error of pictures over ten even timesteps, each with one noise that all pictures share."""
    embedding = model.embed(prompt)
    generator = torch.Generator().manual_seed(0)
    errors = []
    with torch.no_grad():
        latents = latent_means(model, pictures)
        for timestep in range(model.timesteps // 20, model.timesteps, model.timesteps // 10):
            noise = torch.randn((1, *latents.shape[1:]), generator=generator).expand_as(latents)
            timesteps = torch.full((len(latents),), timestep)
            errors.append(model.noise_error(latents, timesteps, noise, embedding).mean())
    return float(torch.stack(errors).mean())


def prompt_scenes(each: int) -> tuple[Scene, ...]:
    """Every subject in every manner, `each` times; palettes in turn."""
    palettes = list(PALETTES)
    pairs = [pair for _ in range(each) for pair in product(SUBJECTS, MANNERS)]
    return tuple(Scene(*pair, palettes[i % len(palettes)]) for i, pair in enumerate(pairs))


def prompt(scene: Scene) -> str:
    return f"a painting of {scene.subject}, in {scene.manner}, in {scene.palette}"


def painted_by(model: LatentDiffusion, scenes: Sequence[Scene], guidance: float) -> Tensor:
    """One picture (3, S, S) in [0, 1] for each scene, picture i from seed i: (N, 3, S, S)."""
    seeds = range(len(scenes))
    batches = [(scenes[i : i + BATCH], seeds[i : i + BATCH]) for i in seeds[::BATCH]]
    pictures = [
        model.generate(model.embed([prompt(scene) for scene in batch]), numbers, guidance=guidance)
        for batch, numbers in batches
    ]
    return torch.cat(pictures)


def held_out_scenes(count: int) -> tuple[Scene, ...]:
    """Scenes that training never saw: by turns the manner or the palette is held out."""
    rng = np.random.default_rng(FRESH_SEED)
    subjects, palettes, manners = list(SUBJECTS), list(PALETTES), list(MANNERS)
    new_palettes, new_manners = list(HELD_OUT_PALETTES), list(HELD_OUT_MANNERS)
    choices = (subjects, new_manners, palettes), (subjects, manners, new_palettes)
    return tuple(Scene(*(str(rng.choice(names)) for names in choices[i % 2])) for i in range(count))


def painted_paintings(scenes: Sequence[Scene]) -> list[Painting]:
    """Paintings of the program at the size of a small file, so that an imitator can look at parts of them."""
    return [
        Painting(paint(scene, np.random.default_rng([FRESH_SEED, i]), PAINTING_SIZE)) for i, scene in enumerate(scenes)
    ]


def imitators_distances(material: Material, painting: Painting, copies: Sequence[Painting]) -> np.ndarray:
    """Style distance to a painting of what imitators paint: of one who never saw it, then of one from each copy.

    The mean over `seeds` of them, of which each learns and paints anew.
    """
    model, runs = material.model, []
    wanted = reference(model, [painting])
    for seed in range(material.options.seeds):
        settings = MimicrySettings(InversionSettings(seed=seed), seed=seed, guidance=material.options.guidance)
        *_, learned = invert(model, [[copy] for copy in copies], settings.inversion)
        *imitated, unseen = imitate_side_by_side(model, learned.words, settings)
        runs.append(style_distances(material.judge, wanted, [unseen, *imitated]))
    return np.mean(runs, 0)


# Sections: from material to figures


def reconstruction(material: Material) -> list[Figure]:
    figures = []
    for (kind, pictures), least in zip(material.kinds(256).items(), (23.5, 22.0), strict=True):
        decoded = reconstructed(material.model, pictures)
        figures.append(Figure(f"PSNR, {kind}, dB", psnr(pictures, decoded), low=least))
        ratio = float((edge_energy(decoded) / edge_energy(pictures)).mean())
        figures.append(Figure(f"edge energy over the picture's own, {kind}", ratio, 0.85, 1.1))
    return figures


def latents(material: Material) -> list[Figure]:
    deviations = principal_deviations(latent_means(material.model, material.fresh.pictures[:256])).tolist()
    return [Figure(f"principal standard deviation {i}", value, 0.7, 1.4) for i, value in enumerate(deviations, 1)]


def sensitivity(material: Material) -> list[Figure]:
    model, figures = material.model, []

    def mean(pictures: Tensor) -> Tensor:
        return model.encode(pictures).mean

    def decoded(pictures: Tensor) -> Tensor:
        return model.vae.decode(mean(pictures) / model.vae.config.scaling_factor).sample / 2 + 0.5

    for kind, pictures in material.kinds(BATCH).items():
        moved = {
            "random noise": random_noise(pictures),
            "attack on the latent": attacked(pictures, mean),
            "attack on the decoded picture": attacked(pictures, decoded),
        }
        clean, seen = latent_means(model, pictures), reconstructed(model, pictures)
        for name, copies in moved.items():
            shift = rms(latent_means(model, copies) - clean) / float(clean.std())
            change = rms(reconstructed(model, copies) - seen) * LEVELS
            figures.append(Figure(f"{kind}, {name}: latent shift, in standard deviations", shift))
            figures.append(Figure(f"{kind}, {name}: change of the decoded picture, levels rms", change))
    return figures


def error(material: Material) -> list[Figure]:
    fresh = material.fresh
    rough = torch.stack([p for p, scene in zip(fresh.pictures, fresh.scenes, strict=True) if scene.manner in ROUGH])
    painted, real = noise_error(material.model, rough[:64]), noise_error(material.model, material.van_gogh)
    return [
        Figure("noise error, fresh pictures of rough manners", painted),
        Figure("noise error, Van Gogh", real),
        Figure("Van Gogh over rough", real / painted, high=1.3),
    ]


def prompts(material: Material) -> list[Figure]:
    classifier, fresh, samples = load_classifier(material.options.judge), material.fresh[:256], material.samples
    softened = Sample(reconstructed(material.model, fresh.pictures), fresh.scenes)
    figures = []
    for name, sample, least in (
        ("fresh pictures", fresh, {"subject": 0.95, "manner": 0.95, "palette": 0.95}),
        # Whoever cannot read reconstructions is not fair to samples, which are decoded too.
        ("their reconstructions", softened, {}),
        ("samples", samples, {"subject": 0.85, "manner": 0.9, "palette": 0.85}),
    ):
        for head, share in right(classifier, sample.pictures, sample.scenes).items():
            figures.append(Figure(f"{name}, {head} right", share, low=least.get(head, -math.inf)))
    for manner in MANNERS:
        chosen = [i for i, scene in enumerate(samples.scenes) if scene.manner == manner]
        shown = right(classifier, samples.pictures[chosen], [samples.scenes[i] for i in chosen])
        figures.append(Figure(f"samples in {manner}, manner right", shown["manner"]))
    return figures


def frechet(material: Material) -> list[Figure]:
    """Equal numbers of pictures on all sides, for the distance falls with the number."""
    judge, count = material.judge, len(material.samples.pictures)
    first, second = (part.pictures for part in (material.fresh[:count], material.fresh[count : 2 * count]))
    real = judge.embedding(first)
    others = {
        "fresh pictures (the floor)": second,
        "reconstructions": reconstructed(material.model, second),
        "samples": material.samples.pictures,
    }
    figures = []
    for name, pictures in others.items():
        embedding = judge.embedding(pictures)
        figures.append(Figure(f"Fréchet distance, {name}", frechet_distance(real, embedding)))
        figures.append(Figure(f"k-NN precision, {name}", knn_precision(real, embedding)))
    return figures


def nearer(kind: str, distances: np.ndarray, least: float = -math.inf) -> list[Figure]:
    """What imitators learned from originals; distances (paintings, 2 or more) start with never saw it and original."""
    unseen, original = distances[:, :2].T
    return [
        Figure(f"nearer on, of {len(distances)}, {kind}", float((original < unseen).sum()), low=least),
        Figure(f"style distance, prompt only, {kind}", float(unseen.mean())),
        Figure(f"style distance, learned from the original, {kind}", float(original.mean())),
    ]


def inversion(material: Material) -> list[Figure]:
    """On how many held-out pictures an imitator who learned from them comes nearer than one who never saw them."""
    paintings = painted_paintings(held_out_scenes(20))
    distances = np.array([imitators_distances(material, painting, [painting]) for painting in paintings])
    return nearer("held-out", distances, least=18)


def imitation_fresh(material: Material) -> list[Figure]:
    return imitations(material, "fresh", painted_paintings(material.fresh.scenes[:8]), most=20)


def imitation_van_gogh(material: Material) -> list[Figure]:
    return imitations(material, "Van Gogh", material.van_gogh_paintings, most=60, least=7)


def imitations(
    material: Material, kind: str, paintings: Sequence[Painting], most: float, least: float = -math.inf
) -> list[Figure]:
    """The quick table: 0 never saw the painting, 100 learned from the original; ratios of mean style distances."""
    rows = []
    for painting in paintings:
        protected = replace(painting, levels=protect(painting, material.model, epsilon=EPSILON).levels)
        noisy = replace(painting, levels=with_noise(painting, EPSILON, seed=0))
        rows.append(imitators_distances(material, painting, (painting, noisy, protected)))
    distances = np.array(rows)
    unseen, original, random, advdm = distances.mean(0).tolist()
    figures = []
    for name, distance, low, high in (
        ("random noise", random, 90, math.inf),
        (f"AdvDM {EPSILON}", advdm, -math.inf, most),
    ):
        share = imitation(unseen, original, distance)
        figures.append(Figure(f"imitation, {kind}, {name}", math.nan if share is None else share, low, high))
    return figures + nearer(kind, distances, least)


def sheets(material: Material) -> list[Figure]:
    """No figures: the pictures that the figures are about."""
    folder = material.options.out.parent
    for kind, pictures in material.kinds(8).items():
        rows = torch.stack([pictures, reconstructed(material.model, pictures)])
        save_grid(rows, folder / f"reconstructions_{kind.lower().replace(' ', '_')}.png")
    columns = len(MANNERS)
    grid = material.samples.pictures[: len(SUBJECTS) * columns]
    save_grid(grid.unflatten(0, (-1, columns)), folder / "samples.png")
    return []


SECTIONS: dict[str, Callable[[Material], list[Figure]]] = {
    "reconstruction": reconstruction,
    "latents": latents,
    "sensitivity": sensitivity,
    "error": error,
    "prompts": prompts,
    "frechet": frechet,
    "inversion": inversion,
    "imitation_fresh": imitation_fresh,
    "imitation_van_gogh": imitation_van_gogh,
    "sheets": sheets,
}


# Files


def save_grid(rows: Tensor, file: Path) -> None:
    """Write pictures (rows, columns, 3, H, W) in [0, 1] as one PNG."""
    levels = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).mul(LEVELS).round().byte()
    Image.fromarray(levels.numpy()).save(file)


def fresh_pictures(folder: Path, count: int) -> Sample:
    """At least `count` pictures of the painter program from a seed of their own, painted unless they are there."""
    if not (folder / "scenes.json").exists() or len(read_painted(folder)[1]) < count:
        paint_set(folder, count, FRESH_SEED, SIZE, workers=2)
    levels, scenes = read_painted(folder)
    return Sample(to_unit(levels), scenes)


def load(folder: Path) -> LatentDiffusion:
    """The model in `folder`; around a lone vae, an untrained denoiser, for the sections that do not ask it."""
    if (folder / "model_index.json").exists():
        return load_model(str(folder), "cpu")
    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32)
    tokenizer = new_tokenizer(all_words())
    pipeline = new_pipeline(vae, tokenizer, new_text_encoder(tokenizer), new_unet(vae.config.latent_channels))
    return LatentDiffusion(pipeline, str(folder))


Report = dict[str, list[Figure]]


def read_report(file: Path) -> Report:
    """The report in a JSON file; empty where there is none."""
    stored = json.loads(file.read_text()) if file.exists() else {}
    return {name: [Figure(**figure) for figure in figures] for name, figures in stored.items()}


def table(figures: Sequence[Figure]) -> str:
    rows = [f"| {f.name} | {f.value:.4g} | {f.target} | {f.verdict} |" for f in figures]
    return "\n".join(("| figure | value | target | |", "|---|---|---|---|", *rows))


def write_report(report: Report, markdown: Path) -> None:
    """Write the Markdown and, beside it, the JSON that `read_report` reads; sections in their usual order."""
    ordered = {name: report[name] for name in SECTIONS if report.get(name)}
    stored = {name: [asdict(figure) for figure in figures] for name, figures in ordered.items()}
    markdown.with_suffix(".json").write_text(json.dumps(stored, indent=1))
    markdown.write_text("\n\n".join(f"## {name}\n\n{table(figures)}" for name, figures in ordered.items()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="pipeline folder, or one with a vae only")
    parser.add_argument("--van-gogh", type=Path, default=Path("examples"))
    parser.add_argument("--judge", type=Path, help="file made by training.classifier")
    parser.add_argument("--work", type=Path, required=True, help="folder for fresh pictures")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file; JSON and sheets go beside it")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--per-prompt", type=int, default=3, help="samples for each subject and manner")
    parser.add_argument("--seeds", type=int, default=1, help="imitators of each picture, whose mean counts")
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    options = parser.parse_args()
    if "prompts" in options.only and not options.judge:
        parser.error("the section prompts needs --judge")

    options.out.parent.mkdir(parents=True, exist_ok=True)
    count = max(256, 2 * len(prompt_scenes(options.per_prompt)))
    van_goghs = tuple(read_painting(file) for file in find_paintings([options.van_gogh]))
    material = Material(
        model=load(options.model),
        fresh=fresh_pictures(options.work / "fresh", count),
        van_gogh=torch.cat([middle_square(painting, SIZE) for painting in van_goghs]),
        van_gogh_paintings=van_goghs,
        options=options,
    )
    for name in options.only:
        figures = SECTIONS[name](material)
        # Read again each time: another run may measure other sections meanwhile.
        write_report(read_report(options.out.with_suffix(".json")) | {name: figures}, options.out)
        print(f"{name}\n{table(figures) if figures else 'written'}\n", flush=True)


if __name__ == "__main__":
    main()
