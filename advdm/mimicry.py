"""The experiment: the same imitator on the original and on its protected copy, and what each can then paint.

Every side learns its own word with the same noise, timesteps, crops and templates, and paints the same prompts
from the same seeds: what differs between the sides is only the picture they were shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advdm.inversion import InversionSettings, Word, embed_words
from advdm.judge import Judge, style_distance
from advdm.model import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import whole, within
from advdm.views import square_view

STYLE_PROMPT = "a painting in the style of {}"
PROMPTS = (
    STYLE_PROMPT,
    "a painting of a house in the style of {}",
    "a painting of a boat on the sea in the style of {}",
    "a painting of trees in the style of {}",
    "a painting of flowers in a vase in the style of {}",
    "a painting of a portrait in the style of {}",
)
"""The style by itself, and in subjects that the painting need not show; {} is the place of the word."""
REFERENCE_VIEWS = 8


@dataclass(frozen=True)
class MimicrySettings:
    """How the imitator learns and paints. count is pictures a prompt. Raises SettingsError when out of range."""

    inversion: InversionSettings = field(default_factory=InversionSettings)
    prompts: tuple[str, ...] = PROMPTS
    count: int = 1
    sampling_steps: int = 25
    guidance: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole("pictures a prompt", self.count, 1, 100)
        whole("sampling steps", self.sampling_steps, 1, 1000)
        within("guidance", self.guidance, 1, 30)
        whole("seed", self.seed, 0, 2**32)


def pixels_of(painting: Painting) -> Tensor:
    """(1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(painting.levels).permute(2, 0, 1)[None].float() / 255


def imitate(model: LatentDiffusion, word: Word, settings: MimicrySettings) -> Tensor:
    """What the imitator paints with its word: (prompts x count, 3, size, size) in [0, 1]."""
    return _paint(model, embed_words(model, settings.prompts, [word.vectors]), settings)


def imitate_unseen(model: LatentDiffusion, settings: MimicrySettings) -> Tensor:
    """The baseline: the same prompts and seeds without the word, from a model that never saw the painting."""
    plain = [prompt.replace(" in the style of {}", "").replace("{}", "").strip() for prompt in settings.prompts]
    return _paint(model, model.embed(plain), settings)


def _paint(model: LatentDiffusion, embedding: Tensor, settings: MimicrySettings) -> Tensor:
    seeds = range(settings.seed, settings.seed + settings.count)
    pictures = [
        model.generate(one[None], [seed], steps=settings.sampling_steps, guidance=settings.guidance)
        for one in embedding.detach()
        for seed in seeds
    ]
    return torch.cat(pictures)


@torch.no_grad()
def reference(model: LatentDiffusion, paintings: Sequence[Tensor], seed: int = 0) -> Tensor:
    """The paintings as the model can paint them: square views, encoded and decoded, (n, 3, size, size).

    Against the raw painting any blurry model's pictures lie far off in fine texture, and added noise would bring
    them nearer.
    """
    generator = torch.Generator().manual_seed(seed)
    views = []
    for i in range(max(REFERENCE_VIEWS, len(paintings))):
        painting = paintings[i % len(paintings)].to(model.device)
        height, width = painting.shape[-2:]
        view = square_view(height, width, model.size, generator)
        views.append(model.reconstruct(view.look(view.crop(painting))))
    return torch.cat(views)


def imitation(baseline: float, original: float, measured: float) -> float | None:
    """Style distances to a scale on which 0 never saw the painting and 100 learned from the original.

    None where the original itself brought the imitator no nearer: then there is nothing to protect from.
    """
    gain = baseline - original
    return 100 * (baseline - measured) / gain if gain > 0 else None


def style_distances(judge: Judge, wanted: Tensor, sides: Sequence[Tensor]) -> list[float]:
    """The style distance of each side's pictures (n, 3, S, S) to the wanted ones."""
    target = judge.style(wanted)
    return [style_distance(judge.style(pictures), target) for pictures in sides]
