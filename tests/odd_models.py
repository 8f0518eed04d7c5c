"""Model folders and files as people have them: changes to a copy of a saved tiny pipeline, and what becomes of it.

LOADS names the forms that must load, REFUSED and REFUSED_SDXL those that must not with a part of the sentence, FILES
single files that are no whole checkpoint.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from tests.tiny import ldm_checkpoint, tiny_pipeline, tiny_sdxl, tiny_unet

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
TEXT, UNET = "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"

Change = Callable[[Path], object]


def edit(file: str, **changes: Any) -> Change:
    """Change a JSON file; the value ... takes a key out."""

    def change(folder: Path) -> None:
        path = folder / file
        told = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in told.items() if value is not ...}))

    return change


def reweigh(part: str, rename: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]) -> Change:
    """Change a part's weights, tensor by tensor."""

    def change(folder: Path) -> None:
        (path,) = (folder / part).glob("*.safetensors")
        tensors = load_file(path)
        save_file(
            {k: v for name, weight in tensors.items() for k, v in rename(name, weight).items()}, path, {"format": "pt"}
        )

    return change


def rebuilt(**changes: Any) -> Change:
    """The pipeline with a denoiser built otherwise; its weights fit its configuration."""

    def change(folder: Path) -> None:
        unet = diffusers.UNet2DConditionModel(**tiny_unet() | {"cross_attention_dim": 16} | changes)
        unet.save_pretrained(folder / "unet")

    return change


def scheduled(kind: str, **options: Any) -> Change:
    """A sampler with nothing but its own defaults."""

    def change(folder: Path) -> None:
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": kind, **options}))
        edit(INDEX, scheduler=["diffusers", kind])(folder)

    return change


def write(file: str, data: bytes) -> Change:
    return lambda f: (f / file).write_bytes(data)


def remove(pattern: str) -> Change:
    return lambda f: [path.unlink() for path in f.glob(pattern)]


def part_as(part: str, build: Callable[[], Any]) -> Change:
    """Another kind of part, as its own save_pretrained writes it."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder / part)
        module = build()
        module.save_pretrained(folder / part)
        library = type(module).__module__.partition(".")[0]
        edit(INDEX, **{part: [library, type(module).__name__]})(folder)

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


def old_attention(folder: Path) -> None:
    """Names from before diffusers 0.17, as in the autoencoder of Stable Diffusion 1.5 on the hub."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        for new, old in names.items():
            name = name.replace(f"attentions.0.{new}", f"attentions.0.{old}")
        return {name: weight}

    reweigh("vae", rename)(folder)


def old_vocabulary(folder: Path) -> None:
    told = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(told["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in told["merges"]]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (folder / "tokenizer" / "tokenizer.json").unlink()


def whole_clip(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    more = {"text_model.embeddings.position_ids": torch.arange(48)[None]} if "position" in name else {}
    return {f"text_model.{name}": weight, **more}


LOADS: dict[str, Change] = {
    "as it is": lambda f: None,
    "fp16": saved_as(variant="fp16", dtype=torch.float16),
    "fp16 of the denoiser alone": saved_as("unet", variant="fp16", dtype=torch.float16),
    "fp16 of the text encoder alone": saved_as("text_encoder", variant="fp16", dtype=torch.float16),
    "non_ema of the denoiser": saved_as("unet", variant="non_ema"),
    "half precision without a variant": saved_as(dtype=torch.float16),
    "double precision": saved_as("vae", dtype=torch.float64),
    "shards": saved_as("unet", max_shard_size="20KB"),
    "shards of fp16": saved_as("unet", max_shard_size="10KB", variant="fp16", dtype=torch.float16),
    "shards of fp16 of a text encoder": saved_as("text_encoder", max_shard_size="10KB", variant="fp16"),
    "eight bits": saved_as("unet", dtype=torch.float8_e4m3fn),
    "both variants": lambda f: saved_as("unet")(f) or tiny_pipeline().unet.save_pretrained(f / "unet", variant="fp16"),
    "a pickle beside": write("unet/diffusion_pytorch_model.bin", b"rubbish"),
    "sample_size a pair": edit("unet/config.json", sample_size=[8, 8]),
    "sample_size not square": rebuilt(sample_size=[8, 18]),
    "sample_size null": edit("unet/config.json", sample_size=None),
    "old names of attention": old_attention,
    "old names of the text encoder": reweigh("text_encoder", whole_clip),
    "old vocabulary": old_vocabulary,
    "old scheduler": edit(SCHEDULER, steps_offset=..., clip_sample=..., prediction_type=...),
    "bare PNDM": scheduled("PNDMScheduler"),
    "an image-to-image pipeline": edit(INDEX, _class_name="StableDiffusionImg2ImgPipeline"),
    "an inpainting pipeline around a plain denoiser": edit(INDEX, _class_name="StableDiffusionInpaintPipeline"),
    "a safety checker": edit(INDEX, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"]),
    "a ControlNet": edit(INDEX, controlnet=["diffusers", "ControlNetModel"]),
    "an image encoder": edit(INDEX, image_encoder=["transformers", "CLIPVisionModelWithProjection"]),
    "unknown settings": edit("unet/config.json", invented=1),
    "an old denoiser": edit("unet/config.json", _diffusers_version="0.6.0"),
    "a scaled autoencoder": edit("vae/config.json", scaling_factor=...),
    "velocities": edit(SCHEDULER, prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "with projection": part_as(
        "text_encoder", lambda: type(tiny_sdxl().text_encoder_2)(tiny_pipeline().text_encoder.config)
    ),
}


def lora(name: str, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {name: weight, f"{name}.lora_A.weight": torch.zeros(2)}


def unsharded(folder: Path) -> None:
    saved_as("unet", max_shard_size="20KB")(folder)
    remove("unet/*.index.json")(folder)


def one_shard_short(folder: Path) -> None:
    saved_as("unet", max_shard_size="20KB")(folder)
    remove("unet/*-00002-of-*")(folder)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 335\n"
REFUSED: dict[str, tuple[Change, str]] = {
    "prefixed keys": (
        reweigh("text_encoder", lambda n, w: {f"module.{n}": w}),
        r"text_encoder lacks weights \(36, for example",
    ),
    "keys missing": (
        reweigh("unet", lambda n, w: {} if "mid_block" in n else {n: w}),
        "unet lacks .* example mid_block",
    ),
    "keys too many": (reweigh("unet", lora), r"unet has weights that do not belong to it"),
    "a misshapen weight": (
        reweigh("vae", lambda n, w: {n: w[:2] if n == "quant_conv.bias" else w}),
        "vae has weights of another shape",
    ),
    "a misshapen text encoder": (
        edit("text_encoder/config.json", vocab_size=200),
        "text_encoder has weights of another shape",
    ),
    "a pointer for weights": (write(UNET, POINTER), "unet/.* is a Git LFS pointer"),
    "a pointer for a vocabulary": (
        write("tokenizer/tokenizer.json", POINTER),
        "tokenizer/tokenizer.json is a Git LFS pointer",
    ),
    "a pointer for a configuration": (write("unet/config.json", POINTER), "unet/config.json is a Git LFS pointer"),
    "a tiny autoencoder": (
        part_as(
            "vae", lambda: AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
        ),
        "vae is of the kind AutoencoderTiny",
    ),
    "a T5": (edit(INDEX, text_encoder=["transformers", "T5EncoderModel"]), "text_encoder is of the kind T5"),
    "a video denoiser": (edit(INDEX, unet=["diffusers", "UNet3DConditionModel"]), "unet is of the kind UNet3D"),
    "parts that do not fit": (
        rebuilt(cross_attention_dim=32),
        r"parts \(unet, vae, text encoder\) do not fit each other",
    ),
    "another autoencoder": (rebuilt(in_channels=8, out_channels=8), "unet takes 8 channels where its vae gives 4"),
    "inpainting": (rebuilt(in_channels=9), "unet takes 9 channels .* inpainting"),
    "learned variance": (rebuilt(out_channels=8), "unet predicts 8 channels of 4"),
    "classes": (rebuilt(num_class_embeds=10), "also goes by a class"),
    "guidance": (rebuilt(time_cond_proj_dim=8), "strength of guidance"),
    "images": (rebuilt(encoder_hid_dim=24, encoder_hid_dim_type="text_proj"), "an image or a second text"),
    "an added text": (rebuilt(addition_embed_type="text"), "a condition of the kind 'text'"),
    "shifted latents": (edit("vae/config.json", shift_factor=0.1), "vae shifts its latents"),
    "quantised": (edit("unet/config.json", quantization_config={"load_in_4bit": True}), "unet is quantised"),
    "predicts samples": (edit(SCHEDULER, prediction_type="sample"), "predicts 'sample'"),
    "flow by a sampler": (
        scheduled("DPMSolverMultistepScheduler", use_flow_sigmas=True, prediction_type="flow_prediction"),
        "'flow'",
    ),
    "flow": (scheduled("FlowMatchEulerDiscreteScheduler"), "scheduler FlowMatchEulerDiscreteScheduler does not say"),
    "IPNDM": (scheduled("IPNDMScheduler"), "scheduler IPNDMScheduler does not say"),
    "a sampler nobody knows": (scheduled("InventedScheduler"), "InventedScheduler"),
    "odd betas": (edit(SCHEDULER, beta_schedule="invented"), "scheduler"),
    "betas that are none": (edit(SCHEDULER, trained_betas=[0.1]), "schedule of noise"),
    "no scale": (edit("vae/config.json", scaling_factor=0), "vae has no scaling factor"),
    "another library's name": (lambda f: (f / UNET).rename(f / "unet" / "model.safetensors"), "unet lacks files"),
    "endless brackets": (write("unet/config.json", b"[" * 100_000), "unet/config.json is damaged"),
    "empty merges": (lambda f: (old_vocabulary(f), write("tokenizer/merges.txt", b"")(f)), "is empty"),
    "Flux": (edit(INDEX, _class_name="FluxPipeline"), "kind FluxPipeline; supported are Stable Diff"),
    "Stable Diffusion 3": (edit(INDEX, _class_name="StableDiffusion3Pipeline"), "StableDiffusion3Pipeline; supported"),
    "somebody's code": (edit(INDEX, _class_name=["mine", "MyPipeline"]), "MyPipeline"),
    "somebody's part": (edit(INDEX, unet=["mine", "MyUNet"]), "MyUNet"),
    "no class": (edit(INDEX, _class_name=...), "a pipeline without a name"),
    "no text encoder": (edit(INDEX, text_encoder=[None, None]), "no text_encoder"),
    "no entry": (edit(INDEX, vae=...), "no vae"),
    "pickles": (lambda f: [p.rename(p.with_suffix(".bin")) for p in f.glob("unet/*.safetensors")], "pickle alone"),
    "no weights": (remove("vae/*.safetensors"), "vae has no weights"),
    "no index": (unsharded, "unet lacks files or the index"),
    "a shard missing": (one_shard_short, r"unet/.*00002-of-.* is missing"),
    "an index of nothing": (write(f"{UNET}.index.json", b"{}"), "index.json is damaged"),
    "not a number": (reweigh("unet", lambda n, w: {n: w * torch.nan}), "not finite; its weights are damaged"),
    "no vocabulary": (remove("tokenizer/tokenizer.json"), "tokenizer has no vocabulary"),
    "a tokenizer without settings": (write("tokenizer/tokenizer_config.json", b"{}"), "tokenizer"),
    "more tokens than the text encoder knows": (
        lambda f: (lambda t: (t.add_tokens(["<new>"]), t.save_pretrained(f / "tokenizer")))(tiny_pipeline().tokenizer),
        "tokenizer knows more tokens than its text_encoder",
    ),
    "a part's configuration is odd": (
        edit("unet/config.json", down_block_types=["Invented"]),
        "unet/config.json does not describe",
    ),
    "one part": (lambda f: ((f / INDEX).unlink(), shutil.copy(f / "unet/config.json", f)), "holds one part"),
    "a LoRA's folder": (
        lambda f: ((f / INDEX).unlink(), (f / "pytorch_lora_weights.safetensors").touch()),
        "folder holds a LoRA",
    ),
    "a checkpoint's folder": (
        lambda f: ((f / INDEX).unlink(), (f / "dream.safetensors").touch()),
        "name its file, as m/dream.safetensors",
    ),
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


def without(*starts: str) -> Callable[[Any], dict[str, torch.Tensor]]:
    return lambda pipeline: {n: w for n, w in ldm_checkpoint(pipeline).items() if not n.startswith(starts)}


FILES: dict[str, tuple[Callable[[Any], dict[str, torch.Tensor]], str]] = {
    "a LoRA": (lambda p: {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(2)}, "it is a LoRA"),
    "a LoRA of peft": (lambda p: {"base_model.model.to_q.lora_A.weight": torch.zeros(2)}, "it is a LoRA"),
    "an autoencoder": (lambda p: p.vae.state_dict(), r"an autoencoder \(VAE\) alone"),
    "an autoencoder of LDM": (without("model.", "cond_stage"), r"an autoencoder \(VAE\) alone"),
    "a denoiser": (lambda p: p.unet.state_dict(), r"a denoiser \(UNet\) alone"),
    "a denoiser of LDM": (without("first_stage", "cond_stage"), r"a denoiser \(UNet\) alone"),
    "no text encoder": (without("cond_stage"), "without the rest of a model"),
    "a text encoder": (
        lambda p: {f"text_model.{n}": w for n, w in p.text_encoder.state_dict().items()},
        "a text encoder alone",
    ),
    "no middle of the denoiser": (without("model.diffusion_model.middle"), "its unet lacks"),
    "no middle of the decoder": (without("first_stage_model.decoder.mid"), "its vae lacks"),
    "no end of the text encoder": (
        without("cond_stage_model.transformer.text_model.final"),
        "its text_encoder lacks",
    ),
    "a word": (lambda p: {"clip_l": torch.zeros(2, 16), "clip_g": torch.zeros(2, 24)}, "a learned word"),
    "a word of Stable Diffusion": (lambda p: {"emb_params": torch.zeros(2, 16)}, "a learned word"),
    "a ControlNet": (lambda p: {"control_model.input_blocks.0.0.weight": torch.zeros(2)}, "a ControlNet"),
    "Flux": (lambda p: {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, "Flux"),
    "Stable Diffusion 3": (
        lambda p: {"model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight": torch.zeros(2)},
        "Diffusion 3",
    ),
    "Playground": (lambda p: ldm_checkpoint(p) | {"edm_mean": torch.zeros(4)}, "EDM"),
    "the refiner": (
        lambda p: without("cond_stage")(p) | {"conditioner.embedders.0.model.ln_final.weight": torch.zeros(2)},
        "lacks one of SDXL's two text encoders",
    ),
    "Stable Diffusion 2": (
        lambda p: without("cond_stage")(p) | {"cond_stage_model.model.ln_final.weight": torch.zeros(2)},
        "does not say what it predicts; put a diffusers folder",
    ),
    "something else": (lambda p: {"a": torch.zeros(2)}, "no checkpoint of a known kind"),
}
