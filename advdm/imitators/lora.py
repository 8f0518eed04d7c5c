"""LoRA (Hu et al. 2022): a low-rank change of the denoiser's attention, as hobbyists train it on a painter.

    W x + B A x,   A: (rank, in), B: (out, rank), for W in to_q, to_k, to_v, to_out of every attention

The prompts hold one fixed rare word. The layers are peft's. Each side's own weights are float32, whatever the model's
precision, and are copied into the layers for as long as that side learns or paints.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

import torch
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from safetensors.torch import save
from torch import Tensor

from advdm.files import atomic_path
from advdm.imitators.training import LearningStep, batches, encode_sides, gradients
from advdm.models import Condition, LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import LoraSettings, Sampling

RARE = "sks"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
LEARNING, PAINTING = "learning", "painting"
"""Names of the layers: those of a preview lie beside those that learn."""


@dataclass(frozen=True, eq=False)
class Lora:
    """A learned LoRA: float32 weights by peft's names, without the name of the layers that they lie in."""

    weights: dict[str, Tensor]
    settings: LoraSettings

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        with lora_layers(model, self.settings, PAINTING) as layers:
            switch_on(model, PAINTING, layers, self.weights)
            return model.generate(with_rare_word(model, prompts), seeds, how)

    def save(self, model: LatentDiffusion, path: str | PathLike[str]) -> Path:
        """Write the file that `pipe.load_lora_weights` reads."""
        named = convert_state_dict_to_diffusers(self.weights)
        path = Path(path)
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({f"unet.{name}": weight.cpu().contiguous() for name, weight in named.items()}))
        return path


def learn_loras(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: LoraSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Learn one LoRA from each side's paintings, of any size, a step at a time. Equal sides give equal LoRAs.

    Between two steps the denoiser paints as if nothing had been learned; afterwards it is again what it was.
    """
    posteriors = encode_sides(model, sides, seed)
    with lora_layers(model, settings, LEARNING, seed) as layers:
        weights = [{name: layer.detach().float().clone() for name, layer in layers.items()} for _ in sides]
        optimizer = torch.optim.AdamW([weight for own in weights for weight in own.values()], settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, settings.steps)

        def learned() -> tuple[Lora, ...]:
            return tuple(Lora({name: weight.clone() for name, weight in own.items()}, settings) for own in weights)

        for number, step in enumerate(batches(model, posteriors, settings.steps, settings.batch, seed), 1):
            losses = []
            for own, batch in zip(weights, step, strict=True):
                switch_on(model, LEARNING, layers, own)
                condition = partial(with_rare_word, model, batch.prompts)
                loss, pulls = gradients(model, batch, condition, list(layers.values()))
                losses.append(loss)
                for weight, pull in zip(own.values(), pulls, strict=True):
                    weight.grad = pull
            optimizer.step()
            schedule.step()
            model.unet.disable_adapters()
            yield LearningStep(number, tuple(losses), learned)


def with_rare_word(model: LatentDiffusion, prompts: Sequence[str]) -> Condition:
    return model.embed([prompt.replace("{}", RARE) for prompt in prompts])


@contextmanager
def lora_layers(
    model: LatentDiffusion, settings: LoraSettings, name: str, seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """LoRA layers beside the denoiser's own, and their weights by name: A normal, B zero. Afterwards they are gone."""
    unet, rank = model.unet, settings.rank
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights="gaussian")
    try:
        # peft draws from torch's own generator, and warns of layers beside others, which is what a preview wants.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
            torch.manual_seed(seed)
            unet.add_adapter(config, name)
        yield {key.replace(f".{name}.", "."): weight for key, weight in unet.named_parameters() if f".{name}." in key}
    finally:
        with warnings.catch_warnings(action="ignore"):
            unet.delete_adapters(name)
        if getattr(unet, "peft_config", None):
            unet.disable_adapters()
        else:
            unet.unload_lora()  # deleting leaves peft's empty wrappers


@torch.no_grad()
def switch_on(model: LatentDiffusion, name: str, layers: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Let the denoiser work with these layers alone, and with these weights in them."""
    for key, layer in layers.items():
        layer.copy_(weights[key])
    model.unet.set_adapter(name)
    model.unet.enable_adapters()
