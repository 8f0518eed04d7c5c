"""Tiny random models, built in memory: every line of the library runs on them in milliseconds."""

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

LENGTH = 48
WORDS = ("a", "painting", "picture", "of", "in", "the", "style", "boat", "sea")
TRAINING = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def tiny_pipeline(prediction_type: str = "epsilon") -> StableDiffusionPipeline:
    """64 px, 8x8 latents of 4 channels, scaling factor 0.5; the same random weights every time."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    text_encoder = CLIPTextModel(text_config(tokenizer))
    vae = tiny_vae()
    unet = UNet2DConditionModel(cross_attention_dim=16, **tiny_unet())
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=tiny_scheduler(prediction_type),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl(prediction_type: str = "epsilon") -> StableDiffusionXLPipeline:
    """The same with SDXL's two text encoders, pooled embedding and time ids, and its sampler, Euler's."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, 24)),
        tokenizer=tokenizer,
        tokenizer_2=tiny_tokenizer(pad_token="a"),
        unet=UNet2DConditionModel(
            cross_attention_dim=16 + 24,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
            use_linear_projection=True,
            **tiny_unet(),
        ),
        scheduler=EulerDiscreteScheduler(**TRAINING, prediction_type=prediction_type, steps_offset=1),
        add_watermarker=False,
    )


def tiny_tokenizer(**special: str) -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz<>*-_0123456789"
    # Each word grows letter by letter, so that it ends as one token; other words fall into letters.
    pairs = [(word[:i], word[i] + "</w>" * (i == len(word) - 1)) for word in WORDS for i in range(1, len(word))]
    tokens = [*letters, *(x + "</w>" for x in letters), *(a + b for a, b in pairs), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=list(dict.fromkeys(pairs)), model_max_length=LENGTH, **special)


def text_config(tokenizer: CLIPTokenizer, width: int = 16) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.5,
        sample_size=64,
    )


def tiny_unet() -> dict[str, Any]:
    return {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }


def tiny_scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        **TRAINING, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=prediction_type
    )
