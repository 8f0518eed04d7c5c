"""LoRA (Hu et al. 2022): a low-rank change of the denoiser's attention, as hobbyists train it on a painter.

    W x + B A x,   A: (rank, in), B: (out, rank), for W in to_q, to_k, to_v, to_out of every attention

The prompts hold one fixed rare word. The layers are peft's. Each side's own weights are float32, whatever the model's
precision, and are copied into the layers for as long as that side learns or paints.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from torch import Tensor

from advdm.errors import ModelError
from advdm.imitators.training import Learned, LearningStep, batches, gradients
from advdm.models import Condition, LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import LoraSettings, Sampling

RARE = "sks"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


@dataclass(frozen=True, eq=False)
class Lora(Learned):
    """A learned LoRA: float32 weights by peft's names, without the name of the layers that they lie in."""

    weights: dict[str, Tensor]
    settings: LoraSettings

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        with lora_layers(model, self.settings) as layers:
            put(self.weights, layers)
            return model.generate(with_rare_word(model, prompts), seeds, how)

    def tensors(self, model: LatentDiffusion) -> dict[str, Tensor]:
        """For `pipe.load_lora_weights`."""
        return {f"unet.{name}": one for name, one in convert_state_dict_to_diffusers(self.weights).items()}


def learn_loras(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: LoraSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Learn one LoRA from each side's paintings, of any size, a step at a time. Equal sides give equal LoRAs.

    Between two steps the denoiser paints as if nothing had been learned; afterwards it is again what it was. Raises
    ModelError where another is still learning on the same model.
    """
    if learning(model):
        raise ModelError("Another LoRA is still learning on this model; end that first.")
    with lora_layers(model, settings, seed) as layers:
        weights = [{name: layer.detach().float().clone() for name, layer in layers.items()} for _ in sides]
        optimizer = torch.optim.AdamW([weight for own in weights for weight in own.values()], settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, settings.steps)

        def learned() -> tuple[Lora, ...]:
            return tuple(Lora({name: weight.clone() for name, weight in own.items()}, settings) for own in weights)

        for number, step in enumerate(batches(model, sides, settings.steps, settings.batch, seed), 1):
            losses = []
            model.unet.enable_adapters()
            for own, batch in zip(weights, step, strict=True):
                put(own, layers)
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
def lora_layers(model: LatentDiffusion, settings: LoraSettings, seed: int = 0) -> Iterator[dict[str, Tensor]]:
    """LoRA layers beside the denoiser's own, and their weights by name: A normal, B zero. Afterwards they are gone.

    Between two steps of a LoRA that learns, another of the same rank paints in its layers. Raises ModelError where the
    rank is another.
    """
    unet, rank, lent = model.unet, settings.rank, learning(model)
    if lent and lent.r != rank:
        raise ModelError(f"A LoRA of rank {lent.r} is still learning on this model; none of rank {rank} can paint yet.")
    try:
        if not lent:
            config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS, init_lora_weights="gaussian")
            with torch.random.fork_rng(devices=[]):  # peft draws from torch's own generator
                torch.manual_seed(seed)
                unet.add_adapter(config)
        unet.enable_adapters()
        yield {name.replace(".default", ""): one for name, one in unet.named_parameters() if ".lora_" in name}
    finally:
        if lent:
            unet.disable_adapters()
        else:
            unet.unload_lora()


def learning(model: LatentDiffusion) -> Any:
    """peft's configuration of the LoRA that is learning on the model, or None."""
    return getattr(model.unet, "peft_config", {}).get("default")


@torch.no_grad()
def put(weights: Mapping[str, Tensor], layers: Mapping[str, Tensor]) -> None:
    """Let the denoiser work with these weights."""
    for name, layer in layers.items():
        layer.copy_(weights[name])
