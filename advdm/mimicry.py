"""The experiment: the same imitator on the original and on its protected copy, and what each can then paint.

Every side learns its own word with the same noise, timesteps, crops and templates, and paints the same prompts
from the same seeds: what differs between the sides is only the picture they were shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from advdm.imitators.inversion import InversionSettings, InversionStep, Word, embed_words, invert, prompt_tokens
from advdm.judge import Judge, style_distance
from advdm.metrics import likeness
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import whole, within
from advdm.views import View, square_view

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
REFERENCE_VIEWS, REFERENCE_SEED = 8, 2**42
"""The seed begins where those of imitators end, or the judge would look at the very crops that one learned from."""
LEAST_GAIN = 0.05
"""Share of the baseline's distance: whoever came less near to the painting than this has learned nothing from it that
could be told from chance. Random noise on the eight Van Goghs moved the distance by 0.03 of it, up or down."""
LEAST_LIKENESS = 0.5
"""Of an original and its copy, see `advdm.metrics.likeness`; below, they may have got out of order."""
PROTECTED, UNPROTECTED = 40, 80
"""On the scale of `imitation`: up to the first a copy is protected, from the second on it is not."""
LEARNED, PAINTED_OVER = "learned from", "painted over"
"""What an imitator does with a picture, by textual inversion and by `repaint_all`."""


@dataclass(frozen=True)
class MimicrySettings:
    """How the imitator learns and paints. count is pictures a prompt; strength that of `repaint_all`, None for not.

    Raises SettingsError when a number is out of range.
    """

    inversion: InversionSettings = field(default_factory=InversionSettings)
    prompts: tuple[str, ...] = PROMPTS
    count: int = 1
    sampling_steps: int = 25
    guidance: float = 3.0
    seed: int = 0
    strength: float | None = None

    def __post_init__(self) -> None:
        whole("pictures a prompt", self.count, 1, 100)
        whole("sampling steps", self.sampling_steps, 1, 1000)
        within("guidance", self.guidance, 1, 30)
        whole("seed", self.seed, 0, 2**32)
        if self.strength is not None:
            # Below, not one of the sampling steps would be left.
            within("strength", self.strength, 1 / self.sampling_steps, 1)

    @property
    def seeds(self) -> range:
        """One for each picture of a prompt."""
        return range(self.seed, self.seed + self.count)

    @property
    def plain_prompts(self) -> list[str]:
        """The prompts without the word and without "in the style of"."""
        return [prompt.replace(" in the style of {}", "").replace("{}", "").strip() for prompt in self.prompts]


@dataclass(frozen=True)
class Verdict:
    """Style distances to the painting, and the protected copy on the scale of `imitation`, in a sentence."""

    baseline: float
    original: float
    protected: float
    imitation: float | None
    sentence: str


def check_prompts(model: LatentDiffusion, settings: MimicrySettings) -> None:
    """Raise SettingsError where a prompt leaves no room for the word."""
    for prompt in settings.prompts:
        prompt_tokens(model, prompt, range(settings.inversion.vectors))


def doubt(originals: Sequence[Painting], copies: Sequence[Painting]) -> str:
    """A sentence about the pairs that do not look like one painting, or nothing: their order may be wrong."""
    pairs = zip(originals, copies, strict=True)
    numbers = [str(n) for n, (a, b) in enumerate(pairs, 1) if likeness(a.levels, b.levels) < LEAST_LIKENESS]
    if not numbers:
        return ""
    which = "The pictures" if len(originals) == 1 else f"The pictures of pair {' and of pair '.join(numbers)}"
    return f"{which} do not look like the same painting: is each copy in the place of its original?"


def mimicry_steps(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: MimicrySettings
) -> Iterator[InversionStep]:
    """Learn one word a side, side by side in one batch, from one or several paintings each.

    Raises SettingsError, before it learns, for what `check_prompts` does.
    """
    check_prompts(model, settings)
    yield from invert(model, sides, settings.inversion)


def imitate(model: LatentDiffusion, word: Word, settings: MimicrySettings) -> Tensor:
    """What the imitator paints with its word: (prompts x count, 3, size, size) in [0, 1]."""
    return _paint(model, embed_words(model, settings.prompts, [word.vectors]), settings)


def imitate_unseen(model: LatentDiffusion, settings: MimicrySettings) -> Tensor:
    """The baseline: the same prompts and seeds without the word, from a model that never saw the painting."""
    return _paint(model, model.embed(settings.plain_prompts), settings)


def imitate_side_by_side(model: LatentDiffusion, words: Sequence[Word], settings: MimicrySettings) -> list[Tensor]:
    """What `imitate` paints with each word, and last what `imitate_unseen` does, in batches that they share."""
    embeddings = [embed_words(model, settings.prompts, [word.vectors]) for word in words]
    embeddings.append(model.embed(settings.plain_prompts))
    return list(_paint(model, torch.cat(embeddings), settings).chunk(len(embeddings)))


def _paint(model: LatentDiffusion, embedding: Tensor, settings: MimicrySettings) -> Tensor:
    """One picture for each embedding (N, tokens, width) and seed, as many at a time as the model takes at once."""
    orders = [(one, seed) for one in embedding.detach() for seed in settings.seeds]
    pictures = []
    for i in range(0, len(orders), model.at_once):
        embeddings, seeds = zip(*orders[i : i + model.at_once], strict=True)
        steps, guidance = settings.sampling_steps, settings.guidance
        pictures.append(model.generate(torch.stack(embeddings), seeds, steps=steps, guidance=guidance))
    return torch.cat(pictures)


def repaint_all(model: LatentDiffusion, paintings: Sequence[Painting], settings: MimicrySettings) -> Tensor:
    """The other way to imitate, without learning: each prompt painted over a painting, the paper's style transfer.

    Image to image from the paintings' middle squares, taken in turn, at settings.strength (None is an error), with
    the plain prompts: (prompts x count, 3, size, size) in [0, 1].
    """
    assert settings.strength is not None
    pictures = [
        model.repaint(
            middle_square(paintings[i % len(paintings)], model.size).to(model.device),
            one[None],
            [seed],
            strength=settings.strength,
            steps=settings.sampling_steps,
            guidance=settings.guidance,
        )
        for i, one in enumerate(model.embed(settings.plain_prompts))
        for seed in settings.seeds
    ]
    return torch.cat(pictures)


def middle_square(painting: Painting, size: int) -> Tensor:
    """The largest square in the middle of a painting, at the size of a model: (1, 3, size, size) in [0, 1]."""
    width, height = painting.size
    side = min(width, height)
    view = View((height - side) // 2, (width - side) // 2, side, side, (size, size))
    return view.see(painting.levels)


@torch.no_grad()
def reference(model: LatentDiffusion, paintings: Sequence[Painting], seed: int = 0) -> Tensor:
    """The paintings as the model can paint them: square views, encoded and decoded, (n, 3, size, size).

    Against the raw painting any blurry model's pictures lie far off in fine texture, and added noise would bring
    them nearer.
    """
    generator = torch.Generator().manual_seed(REFERENCE_SEED + seed)
    views = []
    for i in range(max(REFERENCE_VIEWS, len(paintings))):
        painting = paintings[i % len(paintings)]
        width, height = painting.size
        view = square_view(height, width, model.size, generator)
        with model.enough_memory():
            views.append(model.reconstruct(view.see(painting.levels, model.device)))
    return torch.cat(views)


def imitation(baseline: float, original: float, measured: float) -> float | None:
    """Style distances to a scale on which 0 never saw the painting and 100 learned from the original.

    None where the original itself brought the imitator hardly nearer: then there is nothing to protect from.
    """
    gain = baseline - original
    return 100 * (baseline - measured) / gain if gain > LEAST_GAIN * baseline else None


def style_distances(judge: Judge, wanted: Tensor, sides: Sequence[Tensor]) -> list[float]:
    """The style distance of each side's pictures (n, 3, S, S) to the wanted ones."""
    target = judge.style(wanted)
    return [style_distance(judge.style(pictures), target) for pictures in sides]


def judge_imitations(
    judge: Judge, wanted: Tensor, baseline: Tensor, original: Tensor, protected: Tensor, *, way: str = LEARNED
) -> Verdict:
    """Whether the protected copy kept the imitator from the style of the wanted pictures; (n, 3, S, S) each.

    way is how original and protected came about, LEARNED or PAINTED_OVER.
    """
    unseen, learned, hindered = style_distances(judge, wanted, (baseline, original, protected))
    scale = imitation(unseen, learned, hindered)
    return Verdict(unseen, learned, hindered, scale, sentence(scale, way))


def sentence(scale: float | None, way: str = LEARNED) -> str:
    """What an imitation of the protected copy means, in plain words."""
    if scale is None:
        return (
            f"Nothing can be said: even the imitator that {way} the original came hardly nearer to the painting than "
            "one that never saw it, or no nearer at all. More steps may teach it more, or another painting."
        )
    score = round(scale)  # before it is judged, so that words and number agree
    finding = "Protected" if score <= PROTECTED else "Partly protected" if score < UNPROTECTED else "Not protected"
    return (
        f"{finding}: the imitator that {way} the protected copy scores {score}, where 0 never saw the painting "
        f"and 100 {way} the original."
    )
