"""What an attack on a card needs of its memory, by calculation: whole architectures on torch's device "meta".

    python -m benchmarks.memory

Counted are the weights, and what autograd keeps for the gradient of one sample, in bfloat16 with fused attention.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.full_size import sdxl, stable_diffusion_15

GIGABYTE = 1e9


class FusedAttention(torch.autograd.Function):
    """Keeps what fused attention on a card keeps: its inputs, its output, and a sum a row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx: Any, pull: Tensor) -> Any:
        raise NotImplementedError


def kept(module: torch.nn.Module, compute: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps of a computation, besides the module's weights."""
    storages: dict[int, Any] = {}
    weights = {weight.untyped_storage()._cdata for weight in module.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            storages[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        compute()
    return sum(storage.nbytes() for storage in storages.values())


def needs(pipeline: Any) -> dict[str, float]:
    """Gigabytes of the weights and of what each part keeps, whole and with activations computed twice."""
    unet, vae = pipeline.unet, pipeline.vae
    side, dtype = unet.config.sample_size, torch.bfloat16

    def made(*shape: int, grad: bool = False) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta", requires_grad=grad)

    def predict() -> Tensor:
        added = {"text_embeds": made(1, 1280), "time_ids": made(1, 6)}
        told = made(1, 77, unet.config.cross_attention_dim)
        timesteps = torch.empty(1, dtype=torch.long, device="meta")
        prediction: Tensor = unet(made(1, 4, side, side, grad=True), timesteps, told, added_cond_kwargs=added).sample
        return prediction

    def encode() -> Tensor:
        mean: Tensor = vae.encode(made(1, 3, 8 * side, 8 * side, grad=True)).latent_dist.mean
        return mean

    def first_block() -> Tensor:
        output: Tensor = vae.encoder.down_blocks[0](made(1, 128, 8 * side, 8 * side, grad=True))
        return output

    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    for module in modules:
        module.requires_grad_(False)
    found: dict[str, float] = {"weights": sum(weight.nbytes for module in modules for weight in module.parameters())}
    found |= {"denoiser keeps": kept(unet, predict), "encoder keeps": kept(vae, encode)}
    # The largest that is computed again at once.
    found["encoder's first block keeps"] = kept(vae, first_block)
    unet.enable_gradient_checkpointing()
    vae.enable_gradient_checkpointing()
    found |= {"denoiser keeps, recomputing": kept(unet, predict), "encoder keeps, recomputing": kept(vae, encode)}
    return {name: size / GIGABYTE for name, size in found.items()}


def main() -> None:
    F.scaled_dot_product_attention = lambda query, key, value, *_, **__: FusedAttention.apply(query, key, value)
    found = {
        "Stable Diffusion 1.5, 512 px": needs(stable_diffusion_15(512, "meta", torch.bfloat16)),
        "SDXL, 1024 px": needs(sdxl(1024, "meta", torch.bfloat16)),
    }
    print("\n".join(["| GB | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]))
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in found.values()) + " |")


if __name__ == "__main__":
    main()
