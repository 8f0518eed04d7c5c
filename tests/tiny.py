"""Tiny random models, built in memory: every line of the library runs on them in milliseconds."""

import re
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
    parts = {"text_encoder": text_encoder, "vae": vae, "unet": unet, "tokenizer": tokenizer}
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(**parts, **unused, scheduler=tiny_scheduler(prediction_type))


def tiny_sdxl(prediction_type: str = "epsilon") -> StableDiffusionXLPipeline:
    """The same with SDXL's two text encoders, pooled embedding and time ids, and its sampler, Euler's."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, 24)),
        tokenizer=tokenizer,
        tokenizer_2=tiny_tokenizer(pad_token="*"),
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
        **{name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.5,
        sample_size=64,
    )


def tiny_unet() -> dict[str, Any]:
    return {
        "sample_size": 8,
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


UNET_NAMES = r"""
(resnets.\d).norm1 \1.in_layers.0         (resnets.\d).conv1 \1.in_layers.2
(resnets.\d).norm2 \1.out_layers.0        (resnets.\d).conv2 \1.out_layers.3
time_emb_proj emb_layers.1                conv_shortcut skip_connection
down_blocks.0.resnets.0 input_blocks.1.0  down_blocks.0.attentions.0 input_blocks.1.1
down_blocks.1.resnets.0 input_blocks.3.0  down_blocks.0.downsamplers.0.conv input_blocks.2.0.op
mid_block.resnets.0 middle_block.0        mid_block.attentions.0 middle_block.1
mid_block.resnets.1 middle_block.2        up_blocks.0.upsamplers.0 output_blocks.1.1
up_blocks.0.resnets.0 output_blocks.0.0   up_blocks.0.resnets.1 output_blocks.1.0
up_blocks.1.resnets.0 output_blocks.2.0   up_blocks.1.attentions.0 output_blocks.2.1
up_blocks.1.resnets.1 output_blocks.3.0   up_blocks.1.attentions.1 output_blocks.3.1
time_embedding.linear_1 time_embed.0      time_embedding.linear_2 time_embed.2
add_embedding.linear_1 label_emb.0.0      add_embedding.linear_2 label_emb.0.2
conv_norm_out out.0                       conv_out out.2
conv_in input_blocks.0.0
"""
VAE_NAMES = r"""
mid_block.resnets.0 mid.block_1   mid_block.resnets.1 mid.block_2   mid_block.attentions.0 mid.attn_1
down_blocks down                  resnets block                     downsamplers.0 downsample
up_blocks.0 up.3   up_blocks.1 up.2   up_blocks.2 up.1   up_blocks.3 up.0   upsamplers.0 upsample
group_norm norm   to_out.0 proj_out   to_([qkv]) \1   conv_norm_out norm_out   conv_shortcut nin_shortcut
"""
OPEN_CLIP_NAMES = r"""
text_model.encoder.layers transformer.resblocks   layer_norm1 ln_1   layer_norm2 ln_2   fc1 c_fc   fc2 c_proj
self_attn attn   text_model.final_layer_norm ln_final   text_model.embeddings.token_embedding token_embedding
text_model.embeddings.position_embedding.weight positional_embedding   text_projection.weight text_projection
"""
"""Of the tiny parts: pairs of a part of a name in diffusers and what the original code calls it, in turn."""


def renamed(module: torch.nn.Module, names: str) -> dict[str, torch.Tensor]:
    pairs, tensors = names.split(), {}
    for name, weight in module.state_dict().items():
        for ours, theirs in zip(pairs[::2], pairs[1::2], strict=True):
            name = re.sub(ours, theirs, name)
        tensors[name] = weight
    return tensors


def ldm_checkpoint(pipeline: Any) -> dict[str, torch.Tensor]:
    """The weights under the names of the original code, as in one checkpoint file of a model site."""
    vae = renamed(pipeline.vae, VAE_NAMES)
    for name in [name for name in vae if re.search(r"attn_1\.(q|k|v|proj_out)\.weight", name)]:
        vae[name] = vae[name][:, :, None, None]
    sdxl = isinstance(pipeline, StableDiffusionXLPipeline)
    first = "conditioner.embedders.0" if sdxl else "cond_stage_model"
    parts = {
        "model.diffusion_model.": renamed(pipeline.unet, UNET_NAMES),
        "first_stage_model.": vae,
        f"{first}.transformer.text_model.": pipeline.text_encoder.state_dict(),
        "conditioner.embedders.1.model.": open_clip(pipeline.text_encoder_2) if sdxl else {},
    }
    return {start + name: weight.contiguous() for start, part in parts.items() for name, weight in part.items()}


def open_clip(encoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a text encoder under OpenCLIP's names, where query, key and value are one."""
    tensors = renamed(encoder, OPEN_CLIP_NAMES)
    tensors["text_projection"] = tensors["text_projection"].T
    for name in [name for name in tensors if ".q_proj." in name]:
        parts = [tensors.pop(name.replace(".q_proj.", f".{letter}_proj.")) for letter in "qkv"]
        tensors[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return tensors
