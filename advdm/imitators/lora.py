"""LoRA (Hu et al. 2022): a low-rank change of the denoiser's attention, as hobbyists train it on a painter.

    W x + B A x,   A: (rank, in), B: (out, rank), for W in to_q, to_k, to_v, to_out of every attention

The prompts hold one fixed rare word. The adapters are peft's, and leave the denoiser as it was.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor

from advdm.files import atomic_path
from advdm.imitators.training import LearningStep, batches, gradients
from advdm.models import LatentDiffusion
from advdm.paintings import Painting
from advdm.settings import LoraSettings, Sampling

RARE = "sks"
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
PAINTING = "painting"
"""The adapter's name while it paints."""


@dataclass(frozen=True, eq=False)
class Lora:
    """A learned LoRA: peft's weights by name."""

    weights: dict[str, Tensor]
    settings: LoraSettings

    def paint(self, model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int], how: Sampling) -> Tensor:
        """See `training.Learned`."""
        condition = model.embed([prompt.replace("{}", RARE) for prompt in prompts])
        with adapters(model, self.settings, [PAINTING]):
            set_peft_model_state_dict(model.unet, self.weights, PAINTING)
            model.unet.set_adapter(PAINTING)
            return model.generate(condition, seeds, steps=how.steps, guidance=how.guidance)

    def save(self, model: LatentDiffusion, path: str | PathLike[str]) -> Path:
        """Write the file that `pipe.load_lora_weights` reads."""
        named = {f"unet.{name}": weight for name, weight in convert_state_dict_to_diffusers(self.weights).items()}
        path = Path(path)
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({name: weight.cpu().contiguous() for name, weight in named.items()}))
        return path


def learn_loras(
    model: LatentDiffusion, sides: Sequence[Sequence[Painting]], settings: LoraSettings, seed: int = 0
) -> Iterator[LearningStep]:
    """Learn one LoRA from each side's paintings, of any size, a step at a time. Equal sides give equal LoRAs."""
    names = [f"side{number}" for number in range(len(sides))]
    unet = model.unet
    with adapters(model, settings, names, seed):
        weights = [
            {name.replace(f".{side}.", "."): weight for name, weight in unet.named_parameters() if f".{side}." in name}
            for side in names
        ]
        optimizer = torch.optim.AdamW([weight for own in weights for weight in own.values()], settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, settings.steps)

        def learned() -> tuple[Lora, ...]:
            return tuple(Lora({name: w.detach().clone() for name, w in own.items()}, settings) for own in weights)

        for number, step in enumerate(batches(model, sides, settings.steps, settings.batch, seed), 1):
            condition = model.embed([prompt.replace("{}", RARE) for prompt in step[0].prompts])
            losses = []
            for name, own, batch in zip(names, weights, step, strict=True):
                unet.set_adapter(name)
                with model.enough_memory():
                    loss, pulls = gradients(model, batch, condition, list(own.values()))
                losses.append(loss)
                for weight, pull in zip(own.values(), pulls, strict=True):
                    weight.grad = pull
            optimizer.step()
            schedule.step()
            yield LearningStep(number, tuple(losses), learned)


@contextmanager
def adapters(model: LatentDiffusion, settings: LoraSettings, names: Sequence[str], seed: int = 0) -> Iterator[None]:
    """New adapters in the denoiser, all with equal weights; afterwards it is again what it was."""
    config = LoraConfig(r=settings.rank, lora_alpha=settings.rank, target_modules=TARGETS, init_lora_weights="gaussian")
    unet = model.unet
    before = set(getattr(unet, "peft_config", ()))
    try:
        for name in names:
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of several adapters at once, which is what we want
                torch.manual_seed(seed)  # peft draws from torch's own generator
                unet.add_adapter(config, name)
        yield
    finally:
        if before:
            unet.delete_adapters(list(names))
        else:
            unet.unload_lora()
