"""Whole architectures with random weights, for slow tests and benchmarks."""

from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny import tiny_scheduler, tiny_tokenizer

ENCODER = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
ENCODER_2 = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
    "projection_dim": 1280,
}


def stable_diffusion_15(size: int = 512, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """860 million parameters in the denoiser, pictures of size x size pixels; the tokenizer is the tiny one."""
    with init_empty_weights():
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**ENCODER)),
            "vae": autoencoder(size, 0.18215),
            "unet": UNet2DConditionModel(sample_size=size // 8, cross_attention_dim=768),
        }
    return StableDiffusionPipeline(
        **{name: filled(part, device, dtype) for name, part in parts.items()},
        tokenizer=tiny_tokenizer(),
        scheduler=tiny_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(size: int = 1024, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Any:
    """2.6 billion parameters in the denoiser."""
    with init_empty_weights():
        parts = {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**ENCODER)),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**ENCODER_2)),
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
    return StableDiffusionXLPipeline(
        **{name: filled(part, device, dtype) for name, part in parts.items()},
        tokenizer=tiny_tokenizer(),
        tokenizer_2=tiny_tokenizer(),
        scheduler=tiny_scheduler(),
        add_watermarker=False,
    )


def autoencoder(size: int, scale: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=size,
        scaling_factor=scale,
    )


@torch.no_grad()
def filled(module: Any, device: str, dtype: torch.dtype) -> Any:
    """The module with random weights that keep numbers as large as they come; quicker than by torch's own."""
    module = module.to(dtype).to_empty(device=device)
    generator = None if device == "meta" else torch.Generator(device).manual_seed(0)
    for layer in module.modules():
        for name, weight in layer.named_parameters(recurse=False):
            if name == "bias":
                weight.zero_()
            elif weight.dim() == 1:
                weight.fill_(1)
            else:
                scale = 0.02 if isinstance(layer, nn.Embedding) else weight[0].numel() ** -0.5
                weight.normal_(0, scale, generator=generator)
    for layer in module.modules():  # position ids, which to_empty leaves unset
        for name, buffer in layer.named_buffers(recurse=False):
            if name == "position_ids":
                buffer.copy_(torch.arange(buffer.shape[-1]))
    return module
