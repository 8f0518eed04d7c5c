"""Model folders and files as people have them: changes to a copy of a saved tiny pipeline, and what becomes of it.

LOADS names the forms that must load; REFUSED and REFUSED_SDXL those that must not, with a part of the sentence; FILES
names of tensors in single files that are no whole checkpoint.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection

from tests.tiny import tiny_pipeline, tiny_sdxl, tiny_unet

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
UNET = "unet/diffusion_pytorch_model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 335\n"

Change = Callable[[Path], object]
Reweigh = Callable[[str, torch.Tensor], dict[str, torch.Tensor]]


def both(first: Change, second: Change) -> Change:
    return lambda folder: (first(folder), second(folder))


def write(file: str, data: bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(data)


def rename(file: str, other: str) -> Change:
    return lambda folder: (folder / file).rename(folder / other)


def remove(pattern: str) -> Change:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def edit(file: str, **changes: Any) -> Change:
    """Change a JSON file; the value ... takes a key out."""

    def change(folder: Path) -> None:
        told = {**json.loads((folder / file).read_text()), **changes}
        (folder / file).write_text(json.dumps({key: value for key, value in told.items() if value is not ...}))

    return change


def scheduled(kind: str, **options: Any) -> Change:
    """A sampler with nothing but its own defaults."""
    settings = json.dumps({"_class_name": kind, **options})
    return both(write(SCHEDULER, settings.encode()), edit(INDEX, scheduler=["diffusers", kind]))


def rebuilt(**changes: Any) -> Change:
    """A denoiser built otherwise; its weights fit its configuration."""
    settings = tiny_unet() | {"cross_attention_dim": 16} | changes
    return lambda folder: UNet2DConditionModel(**settings).save_pretrained(folder / "unet")


def reweigh(part: str, told: Reweigh) -> Change:
    """Change a part's weights, tensor by tensor."""

    def change(folder: Path) -> None:
        (path,) = (folder / part).glob("*.safetensors")
        changed: dict[str, torch.Tensor] = {}
        for name, weight in load_file(path).items():
            changed |= told(name, weight)
        save_file(changed, path, {"format": "pt"})

    return change


def saved_as(part: str = "", dtype: torch.dtype = torch.float32, **options: Any) -> Change:
    """Weights written anew: all, or those of one part."""

    def change(folder: Path) -> None:
        pipeline = (tiny_sdxl if (folder / "tokenizer_2").exists() else tiny_pipeline)()
        for name in ("unet", "vae", "text_encoder", "text_encoder_2") if not part else (part,):
            if module := getattr(pipeline, name, None):
                remove(f"{name}/*.safetensors")(folder)
                module.to(dtype).save_pretrained(folder / name, **options)

    return change


def old_attention(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """Names from before diffusers 0.17, as in the autoencoder of Stable Diffusion 1.5 on the hub."""
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        name = name.replace(f"attentions.0.{new}", f"attentions.0.{old}")
    return {name: weight}


def whole_clip(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    more = {"text_model.embeddings.position_ids": torch.arange(48)[None]} if "position" in name else {}
    return {f"text_model.{name}": weight, **more}


def old_vocabulary(folder: Path) -> None:
    told = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(told["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in told["merges"]]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (folder / "tokenizer" / "tokenizer.json").unlink()


def with_projection(folder: Path) -> None:
    CLIPTextModelWithProjection(tiny_pipeline().text_encoder.config).save_pretrained(folder / "text_encoder")
    edit(INDEX, text_encoder=["transformers", "CLIPTextModelWithProjection"])(folder)


def one_word_more(folder: Path) -> None:
    tokenizer = tiny_pipeline().tokenizer
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder / "tokenizer")


SHARDS = saved_as("unet", max_shard_size="20KB")
LOADS: dict[str, Change] = {
    "as it is": lambda folder: None,
    "fp16": saved_as(variant="fp16", dtype=torch.float16),
    "fp16 of the denoiser alone": saved_as("unet", variant="fp16", dtype=torch.float16),
    "fp16 of the text encoder alone": saved_as("text_encoder", variant="fp16", dtype=torch.float16),
    "non_ema of the denoiser": saved_as("unet", variant="non_ema"),
    "both variants": both(saved_as("unet", variant="fp16"), lambda f: tiny_pipeline().unet.save_pretrained(f / "unet")),
    "half precision without a variant": saved_as(dtype=torch.float16),
    "double precision": saved_as("vae", dtype=torch.float64),
    "eight bits": saved_as("unet", dtype=torch.float8_e4m3fn),
    "shards": SHARDS,
    "shards of fp16": saved_as("unet", max_shard_size="10KB", variant="fp16", dtype=torch.float16),
    "shards of fp16 of a text encoder": saved_as("text_encoder", max_shard_size="10KB", variant="fp16"),
    "a pickle beside": write("unet/diffusion_pytorch_model.bin", b"rubbish"),
    "sample_size a pair": edit("unet/config.json", sample_size=[8, 8]),
    "sample_size not square": rebuilt(sample_size=[8, 18]),
    "sample_size null": edit("unet/config.json", sample_size=None),
    "old names of attention": reweigh("vae", old_attention),
    "old names of the text encoder": reweigh("text_encoder", whole_clip),
    "old vocabulary": old_vocabulary,
    "old scheduler": edit(SCHEDULER, steps_offset=..., clip_sample=..., prediction_type=...),
    "bare PNDM": scheduled("PNDMScheduler"),
    "velocities": edit(SCHEDULER, prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "an inpainting pipeline around a plain denoiser": edit(INDEX, _class_name="StableDiffusionInpaintPipeline"),
    "parts that are not needed": edit(INDEX, safety_checker=["mine", "Checker"], controlnet=["mine", "ControlNet"]),
    "unknown settings": edit("unet/config.json", invented=1),
    "an old denoiser": edit("unet/config.json", _diffusers_version="0.6.0"),
    "a scaled autoencoder": edit("vae/config.json", scaling_factor=...),
    "with projection": with_projection,
}

REFUSED: dict[str, tuple[Change, str]] = {
    "prefixed keys": (reweigh("text_encoder", lambda n, w: {f"x.{n}": w}), r"text_encoder lacks weights \(36, for"),
    "keys missing": (reweigh("unet", lambda n, w: {} if "mid" in n else {n: w}), "unet lacks .* example mid_block"),
    "a LoRA within": (reweigh("unet", lambda n, w: {n: w, f"{n}.lora_A.weight": w + 0}), "weights that do not belong"),
    "a misshapen weight": (reweigh("vae", lambda n, w: {n: w[:2]}), "vae has weights of another shape"),
    "a misshapen text encoder": (edit("text_encoder/config.json", vocab_size=200), "text_encoder has weights of anoth"),
    "not a number": (reweigh("unet", lambda n, w: {n: w * torch.nan}), "not finite; its weights are damaged"),
    **{
        f"a pointer for {file}": (write(file, POINTER), f"{file} is a Git LFS pointer")
        for file in (UNET, "unet/config.json", "tokenizer/tokenizer.json")
    },
    "somebody's part": (edit(INDEX, unet=["mine", "MyUNet"]), "unet is of the kind MyUNet"),
    "a tiny autoencoder": (
        edit("vae/config.json", _class_name="AutoencoderTiny"),
        "vae is of the kind AutoencoderTiny",
    ),
    "parts that do not fit": (rebuilt(cross_attention_dim=32), r"\(unet, vae, text encoder\) do not fit each other"),
    "inpainting": (rebuilt(in_channels=9), "unet takes 9 channels .* inpainting"),
    "learned variance": (rebuilt(out_channels=8), "unet predicts 8 channels of 4"),
    "classes": (rebuilt(num_class_embeds=10), "also goes by a class"),
    "guidance": (rebuilt(time_cond_proj_dim=8), "strength of guidance"),
    "images": (rebuilt(encoder_hid_dim=24, encoder_hid_dim_type="text_proj"), "an image or a second text"),
    "an added text": (rebuilt(addition_embed_type="text"), "a condition of the kind 'text'"),
    "shifted latents": (edit("vae/config.json", shift_factor=0.1), "vae shifts its latents"),
    "no scale": (edit("vae/config.json", scaling_factor=0), "vae has no scaling factor"),
    "quantised": (edit("unet/config.json", quantization_config={"load_in_4bit": True}), "unet is quantised"),
    "an invented block": (edit("unet/config.json", down_block_types=["My"]), "unet/config.json does not describe"),
    "endless brackets": (write("unet/config.json", b"[" * 100_000), "unet/config.json is damaged"),
    "predicts samples": (edit(SCHEDULER, prediction_type="sample"), "predicts 'sample'"),
    "flow by a sampler": (scheduled("DPMSolverMultistepScheduler", use_flow_sigmas=True), "predicts 'flow'"),
    "flow": (scheduled("FlowMatchEulerDiscreteScheduler"), "scheduler FlowMatchEulerDiscreteScheduler does not say"),
    "a sampler nobody knows": (scheduled("InventedScheduler"), "InventedScheduler"),
    "odd betas": (edit(SCHEDULER, beta_schedule="invented"), "scheduler"),
    "betas that are none": (edit(SCHEDULER, trained_betas=[0.1]), "schedule of noise"),
    "Flux": (edit(INDEX, _class_name="FluxPipeline"), "kind FluxPipeline; supported are Stable Diff"),
    "Stable Diffusion 3": (edit(INDEX, _class_name="StableDiffusion3Pipeline"), "StableDiffusion3Pipeline; supported"),
    "somebody's code": (edit(INDEX, _class_name=["mine", "MyPipeline"]), "MyPipeline"),
    "no class": (edit(INDEX, _class_name=...), "a pipeline without a name"),
    "no text encoder": (edit(INDEX, text_encoder=[None, None]), "no text_encoder"),
    "no entry": (edit(INDEX, vae=...), "no vae"),
    "a pickle": (rename(UNET, "unet/diffusion_pytorch_model.bin"), "pickle alone"),
    "no weights": (remove("vae/*.safetensors"), "vae has no weights"),
    "no index": (both(SHARDS, remove("unet/*.index.json")), "unet lacks files or the index"),
    "a shard missing": (both(SHARDS, remove("unet/*-00002-of-*")), r"unet/.*00002-of-.* is missing"),
    "an index of nothing": (write(f"{UNET}.index.json", b"{}"), "index.json is damaged"),
    "no vocabulary": (remove("tokenizer/tokenizer.json"), "tokenizer has no vocabulary"),
    "empty merges": (both(old_vocabulary, write("tokenizer/merges.txt", b"")), "is empty"),
    "a tokenizer without settings": (write("tokenizer/tokenizer_config.json", b"{}"), "its tokenizer"),
    "one word more": (one_word_more, "tokenizer knows more tokens than its text_encoder"),
    "one part": (both(remove(INDEX), rename("unet/config.json", "config.json")), "holds one part"),
    "a LoRA": (both(remove(INDEX), rename(UNET, "pytorch_lora_weights.safetensors")), "folder holds a LoRA"),
    "a checkpoint's folder": (both(remove(INDEX), rename(UNET, "a.safetensors")), "name its file, as m/a.safetensors"),
    "no pipeline": (remove(INDEX), "has no model_index.json"),
}

REFUSED_SDXL: dict[str, tuple[Change, str]] = {
    "the second encoder alone": (edit(INDEX, text_encoder=[None, None], tokenizer=[None, None]), "no text_encoder"),
    "no time ids": (edit("unet/config.json", addition_embed_type=None), "unet"),
    "other time ids": (edit("unet/config.json", projection_class_embeddings_input_dim=24 + 5 * 8), "unet"),
    "prefixed keys": (reweigh("text_encoder_2", lambda n, w: {f"x.{n}": w}), "text_encoder_2 lacks"),
    "a false class": (edit(INDEX, _class_name="StableDiffusionPipeline"), "a condition of the kind 'text_time'"),
    "EDM": (scheduled("EDMDPMSolverMultistepScheduler"), "EDM"),
    "normed latents": (edit("vae/config.json", latents_mean=[0.1] * 4, latents_std=[1.0] * 4), "vae shifts"),
}

FILES = {
    "lora_unet_down_blocks_0.lora_down.weight": "it is a LoRA",
    "control_model.input_blocks.0.0.weight": "a ControlNet",
    "clip_l clip_g": "a learned word",
    "emb_params": "a learned word",
    "model.diffusion_model.double_blocks.0.img_attn.qkv.weight": "Flux",
    "model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": "Diffusion 3",
    "model.diffusion_model.a first_stage_model.a edm_mean": "EDM",
    "model.diffusion_model.a first_stage_model.a conditioner.embedders.0.model.a": "lacks one of SDXL's two text enc",
    "model.diffusion_model.a first_stage_model.a cond_stage_model.model.a": "does not say what it predicts; put a diff",
    "model.diffusion_model.a first_stage_model.a": "without the rest of a model",
    "encoder.conv_in.weight quant_conv.weight": r"an autoencoder \(VAE\) alone",
    "first_stage_model.decoder.conv_in.weight": r"an autoencoder \(VAE\) alone",
    "conv_in.weight down_blocks.0.resnets.0.norm1.weight": r"a denoiser \(UNet\) alone",
    "model.diffusion_model.input_blocks.0.0.weight": r"a denoiser \(UNet\) alone",
    "text_model.final_layer_norm.weight": "a text encoder alone",
    "something.else": "no checkpoint of a known kind",
}
"""The tensors of a file, and a part of what is said of it."""
