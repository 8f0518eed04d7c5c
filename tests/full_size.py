"""Whole architectures with random weights, for slow tests and benchmarks."""

from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny import tiny_pipeline, tiny_sdxl


def stable_diffusion_15(size: int = 512, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """860 million parameters in the denoiser, pictures of size x size pixels; the tokenizer is the tiny one."""
    with init_empty_weights():
        parts = {
            "text_encoder": text_encoder(),
            "vae": autoencoder(size, 0.18215),
            "unet": UNet2DConditionModel(sample_size=size // 8, cross_attention_dim=768),
        }
    parts = {name: filled(part, device, dtype) for name, part in parts.items()}
    return StableDiffusionPipeline(**tiny_pipeline().components | parts, requires_safety_checker=False)


def sdxl(size: int = 1024, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """2.6 billion parameters in the denoiser."""
    second = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    with init_empty_weights():
        parts = {
            "text_encoder": text_encoder(),
            "text_encoder_2": CLIPTextModelWithProjection(
                CLIPTextConfig(**second, hidden_act="gelu", projection_dim=1280)
            ),
            "vae": autoencoder(size, 0.13025),
            "unet": UNet2DConditionModel(
                sample_size=size // 8,
                block_out_channels=(320, 640, 1280),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=2048,
                attention_head_dim=(5, 10, 20),
                transformer_layers_per_block=(1, 2, 10),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
            ),
        }
    parts = {name: filled(part, device, dtype) for name, part in parts.items()}
    return StableDiffusionXLPipeline(**tiny_sdxl().components | parts, add_watermarker=False)


def text_encoder() -> CLIPTextModel:
    widths = {"hidden_size": 768, "intermediate_size": 3072}
    return CLIPTextModel(CLIPTextConfig(**widths, num_hidden_layers=12, num_attention_heads=12))


def autoencoder(size: int, scale: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=size,
        scaling_factor=scale,
    )


@torch.no_grad()
def filled(module: Any, device: str, dtype: torch.dtype) -> Any:
    """The module with random weights that keep numbers as large as they come; quicker than by torch's own."""
    module = module.to(dtype).to_empty(device=device)
    generator = None if device == "meta" else torch.Generator(device).manual_seed(0)
    for name, weight in module.named_parameters():
        if weight.dim() == 1:
            weight.fill_(0 if name.endswith("bias") else 1)
        else:
            scale = 0.02 if "embeddings." in name else weight[0].numel() ** -0.5
            weight.normal_(0, scale, generator=generator)
    for name, buffer in module.named_buffers():  # position ids, which to_empty leaves unset
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]))
    return module
