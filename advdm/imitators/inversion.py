"""Textual inversion (Gal et al. 2022): learn one word from pictures, with nothing else changed.

As in the diffusers example nothing but the word learns. Its vectors are a small parameter of their own, appended to
the frozen token table for the length of one call, so that no other embedding can move and the model that was
handed in is never touched. Unlike there it learns in seconds: 150 steps instead of thousands, at a ten times larger
learning rate (settled on atelier) that falls to nothing, so that the last steps do not decide by chance; without weight
decay, from crops that are encoded once. Several words are learned side by side in one batch from the same timesteps,
noise, crops and templates: what differs between them is only what they were shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.func import functional_call

from advdm.errors import ModelError, SettingsError
from advdm.files import atomic_path, clean, shown
from advdm.models.latent_diffusion import LatentDiffusion, Posterior
from advdm.paintings import Painting
from advdm.models.precision import finite, finite_gradient
from advdm.settings import whole, within
from advdm.views import square_view

STYLE_TEMPLATES = (
    "a painting in the style of {}",
    "a rendering in the style of {}",
    "a picture in the style of {}",
    "the painting in the style of {}",
    "a nice painting in the style of {}",
    "a small painting in the style of {}",
    "a large painting in the style of {}",
)
VIEWS = 32
"""Crops of the pictures that are encoded once and drawn from at every step."""


@dataclass(frozen=True)
class InversionSettings:
    """How an imitator trains. batch is pictures a step; initializer one word that the model knows.

    Raises SettingsError when a number is out of range.
    """

    steps: int = 150
    vectors: int = 4
    learning_rate: float = 0.02
    batch: int = 4
    initializer: str = "painting"
    seed: int = 0

    def __post_init__(self) -> None:
        whole("steps", self.steps, 1, 100_000)
        whole("vectors", self.vectors, 1, 16)
        within("learning rate", self.learning_rate, 1e-6, 1)
        whole("batch", self.batch, 1, 64)
        whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True, eq=False)
class Word:
    """A learned word: its placeholder token, and the vectors (n, width) float32 that stand for it."""

    token: str
    vectors: Tensor

    def save(self, path: str | PathLike[str]) -> Path:
        """Write learned_embeds.safetensors in the form that `pipe.load_textual_inversion` reads."""
        path = Path(path)
        with atomic_path(path) as temporary:
            # Not save_file, which reports a full disk by an error of its own.
            temporary.write_bytes(save({self.token: self.vectors.detach().cpu().contiguous()}, {"format": "pt"}))
        return path


def load_word(path: str | PathLike[str]) -> Word:
    """Read a word that `Word.save` or diffusers wrote. Raises ModelError."""
    try:
        ((token, vectors),) = load_file(path).items()
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{shown(path)} is not the file of a learned word.") from error
    return Word(token, vectors.float().reshape(-1, vectors.shape[-1]))


@dataclass(frozen=True, eq=False)
class InversionStep:
    """One finished step: its number from 1, the noise error of each word, and the words as they stand."""

    number: int
    losses: tuple[float, ...]
    words: tuple[Word, ...]


def invert(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: InversionSettings
) -> Iterator[InversionStep]:
    """Learn one word from each side's paintings, of any size, one step at a time.

    Equal sides give equal words. Raises SettingsError when the initializer is not one token of the model.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    with model.enough_memory():
        posteriors = [encode_views(model, paintings, settings.seed) for paintings in sides]
    start = initial_vectors(model, settings)
    vectors = start.repeat(len(sides), 1).requires_grad_()
    optimizer = torch.optim.AdamW([vectors], lr=settings.learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, settings.steps)
    learn = partial(_word_gradients, model, posteriors, vectors, settings, generator)
    for number in range(1, settings.steps + 1):
        with model.enough_memory():
            losses, vectors.grad = finite_gradient(model, generator, learn)
        optimizer.step()
        schedule.step()
        learned = vectors.detach().clone().split(settings.vectors)
        words = tuple(Word(f"<word-{i}>", part) for i, part in enumerate(learned))
        yield InversionStep(number, tuple(losses.tolist()), words)


@torch.enable_grad()
def _word_gradients(
    model: LatentDiffusion,
    posteriors: Sequence[Posterior],
    vectors: Tensor,
    settings: InversionSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Noise error of each word, (words,), over a batch that they share but for the pictures, and its gradient.

    A word sees only its own error, so the gradient of the sum holds that of each word, as `vectors` holds the words.
    """
    count, batch = len(posteriors), settings.batch
    shape = (batch, *posteriors[0].mean.shape[1:])
    chosen = torch.randint(len(posteriors[0].mean), (batch,), generator=generator).to(model.device)
    templates = torch.randint(len(STYLE_TEMPLATES), (batch,), generator=generator).tolist()
    timesteps = torch.randint(model.timesteps, (batch,), generator=generator).to(model.device)
    noise, spread = (torch.randn(shape, generator=generator).to(model.device) for _ in range(2))
    latents = torch.cat([Posterior(p.mean[chosen], p.std[chosen]).sample(spread) for p in posteriors])
    prompts = [STYLE_TEMPLATES[i] for i in templates]
    embedding = embed_words(model, prompts, vectors.split(settings.vectors))
    drawn = (latents, timesteps.repeat(count), noise.repeat(count, 1, 1, 1), embedding)
    size = chunk_size(count, batch, model.at_once)
    chunks = zip(*(part.split(size) for part in drawn), strict=True)
    errors, pulls = zip(*(_embedding_gradient(model, *chunk) for chunk in chunks), strict=True)
    (gradient,) = torch.autograd.grad(embedding, vectors, torch.cat(pulls))
    return torch.cat(errors).reshape(count, batch).mean(1), gradient / (batch * latents[0].numel())


def chunk_size(count: int, batch: int, most: int) -> int:
    """How many of `count` words' batches go through the denoiser together: all, or equal parts of each one's batch.

    All words are cut alike, for what lies beside a picture in a chunk changes how its sums are rounded.
    """
    if count * batch <= most:
        return count * batch
    return next(size for size in range(min(batch, most), 0, -1) if batch % size == 0)


def _embedding_gradient(
    model: LatentDiffusion, latents: Tensor, timesteps: Tensor, noise: Tensor, embedding: Tensor
) -> tuple[Tensor, Tensor]:
    """The noise errors (n,), and the gradient of their sum over all numbers with respect to the embedding.

    As in `objectives.advdm`: that of a mean over so many numbers is too small for half precision.
    """
    leaf = embedding.detach().requires_grad_()
    errors = model.noise_error(latents, timesteps, noise, leaf)
    (gradient,) = torch.autograd.grad(latents[0].numel() * errors.sum(), leaf)
    return errors.detach(), gradient


@torch.no_grad()
def encode_views(model: LatentDiffusion, paintings: Sequence[Painting], seed: int) -> Posterior:
    """Posteriors of random square crops, half of them mirrored, taken in turn from the paintings: at least VIEWS, and
    one of each painting."""
    generator = torch.Generator().manual_seed(seed)
    moments = []
    for i in range(max(VIEWS, len(paintings))):
        painting = paintings[i % len(paintings)]
        width, height = painting.size
        pixels = square_view(height, width, model.size, generator).see(painting.levels, model.device)
        moments.append(finite(model, partial(_moments, model, pixels)))
    return Posterior(*torch.cat(moments, 1))


def _moments(model: LatentDiffusion, pixels: Tensor) -> Tensor:
    """Mean and standard deviation of the posterior of (N, 3, H, W) pixels, (2, N, C, h, w)."""
    posterior = model.encode(pixels)
    return torch.stack((posterior.mean, posterior.std))


def initial_vectors(model: LatentDiffusion, settings: InversionSettings) -> Tensor:
    """The initializer's embedding, once for every vector: (vectors, width) float32."""
    tokens = model.pipeline.tokenizer(settings.initializer, add_special_tokens=False).input_ids
    if len(tokens) != 1:
        raise SettingsError(f"The initializer must be one word that the model knows; '{settings.initializer}' is not.")
    table: Tensor = model.text_encoder.get_input_embeddings().weight
    return table[tokens].detach().float().repeat(settings.vectors, 1)


def embed_words(model: LatentDiffusion, prompts: Sequence[str], words: Sequence[Tensor]) -> Tensor:
    """Embeddings of every prompt with every word in the place of its {}: (words x prompts, tokens, width).

    words are vectors (n, width) each; differentiable with respect to them. The order is all prompts of the first
    word, then all of the second. A prompt without {} has no word in it.
    """
    table = model.text_encoder.get_input_embeddings().weight
    first, tokens = len(table), []
    for vectors in words:
        tokens += [prompt_tokens(model, prompt, range(first, first + len(vectors))) for prompt in prompts]
        first += len(vectors)
    longer = torch.cat([table, *(vectors.to(table) for vectors in words)])
    ids = torch.tensor(tokens, device=model.device)
    # Called with a longer table, the encoder itself stays as it was, also if something fails halfway.
    name = next(name for name, weight in model.text_encoder.named_parameters() if weight is table)
    embedding: Tensor = functional_call(model.text_encoder, {name: longer}, (ids,)).last_hidden_state
    return embedding


def prompt_tokens(model: LatentDiffusion, prompt: str, word: Sequence[int]) -> list[int]:
    """Token ids of a prompt with the ids `word` for its {}, between start and end, padded to the model's length.

    What is longer is cut. Raises SettingsError where that would cut the word.
    """
    tokenizer = model.pipeline.tokenizer
    before, *after = (tokenizer(part, add_special_tokens=False).input_ids for part in prompt.split("{}"))
    inner = [*before, *(token for part in after for token in (*word, *part))]
    length = tokenizer.model_max_length
    if after and len(before) + len(word) > length - 2:
        raise SettingsError(
            f"The prompt '{clean(prompt)}' is too long: its word must come within the first {length - 2} tokens that "
            f"'{model.title}' reads, and {len(before)} come before it."
        )
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    return [start, *inner[: length - 2], end, *[tokenizer.pad_token_id] * (length - 2 - len(inner))]
