"""A diffusers folder: what it holds, built without weights and checked by the headers of its files; and read.

Every function raises ModelError with half a sentence, see `checks.about`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights

from advdm.errors import ModelError
from advdm.models import weights
from advdm.models.checks import SUPPORTED
from advdm.models.latent_diffusion import LatentDiffusion
from advdm.models.sdxl import SDXL
from advdm.models.stable_diffusion import StableDiffusion

KINDS = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL", "AsymmetricAutoencoderKL"),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
}
"""The classes that each part with weights may be of."""
VOCABULARIES = ({"tokenizer.json"}, {"vocab.json", "merges.txt"})


@dataclass(frozen=True)
class Skeleton:
    """A pipeline without its weights, on torch's device "meta"; its tokenizers and scheduler are whole.

    folder has its configuration, and its weights too unless one `checkpoint` file has them.
    """

    family: type[LatentDiffusion]
    folder: Path
    parts: dict[str, Any]
    options: dict[str, Any]
    checkpoint: Path | None = None

    def pipeline(self, **parts: Any) -> Any:
        """The pipeline with these parts in place of the skeleton's."""
        return self.family.painter(**self.parts | parts, **self.options)


def family(index: dict[str, Any]) -> type[LatentDiffusion]:
    """The family of the pipeline that a model_index.json describes."""
    kind = str(index.get("_class_name") or "a pipeline without a name")
    if kind.startswith("StableDiffusionXL"):
        return SDXL
    if kind.startswith("StableDiffusion") and not kind.startswith("StableDiffusion3"):
        return StableDiffusion
    raise ModelError(f"it is of the kind {kind}; {SUPPORTED}.")


def read_skeleton(folder: Path) -> Skeleton:
    """Build what the configurations in a folder describe. Reads no weights."""
    index = weights.read_json(folder / "model_index.json")
    model = family(index)
    parts: dict[str, Any] = {"scheduler": read_scheduler(folder, index)}
    for tokenizer, encoder in model.encoders:
        parts[encoder] = empty(folder, encoder, index)
        parts[tokenizer] = read_tokenizer(folder, tokenizer, index)
    parts |= {part: empty(folder, part, index) for part in ("unet", "vae")}
    if model is SDXL:
        options = {"force_zeros_for_empty_prompt": index.get("force_zeros_for_empty_prompt", True)}
    else:
        parts, options = parts | {"safety_checker": None, "feature_extractor": None}, {}
    return Skeleton(model, folder, parts, model.options | options)


def named(index: dict[str, Any], part: str) -> str:
    """The class of a part in a model_index.json."""
    match index.get(part):
        case [str(), str(kind)]:
            return kind
    raise ModelError(f"it has no {part}, which models of its kind need.")


def check_kind(part: str, kind: str) -> None:
    if kind not in KINDS[part]:
        raise ModelError(f"its {part} is of the kind {kind}; only {' and '.join(KINDS[part])} are supported.")


def empty(folder: Path, part: str, index: dict[str, Any]) -> Any:
    """A part as its config.json describes it, without weights."""
    kind = named(index, part)
    check_kind(part, kind)
    config = weights.read_json(folder / part / "config.json")
    check_kind(part, str(config.get("_class_name", kind)))
    if config.get("quantization_config"):
        raise ModelError(f"its {part} is quantised; only whole weights are supported.")
    try:
        with init_empty_weights():
            if hasattr(diffusers, kind):
                module = getattr(diffusers, kind).from_config(config)
            else:
                built = getattr(transformers, kind)
                module = built(built.config_class.from_pretrained(folder, subfolder=part))
    except Exception as error:  # a stranger's configuration raises nearly anything
        raise ModelError(f"{part}/config.json does not describe a {kind}.") from error
    return module.to("meta")


def read_tokenizer(folder: Path, part: str, index: dict[str, Any]) -> Any:
    kind = named(index, part)
    names = {path.name for path in (folder / part).glob("*")}
    # Without its vocabulary a tokenizer loads all the same, and reads every prompt wrong.
    if not any(vocabulary <= names for vocabulary in VOCABULARIES):
        raise ModelError(f"its {part} has no vocabulary (tokenizer.json, or vocab.json and merges.txt).")
    for name in names:
        data = (folder / part / name).read_bytes()
        weights.check_pointer(data, f"{part}/{name}")
        if not data:
            raise ModelError(f"{part}/{name} is empty.")
    try:
        return getattr(transformers, kind).from_pretrained(folder / part)
    except Exception as error:
        raise ModelError(f"its {part} is damaged or of an unknown kind.") from error


def read_scheduler(folder: Path, index: dict[str, Any]) -> Any:
    kind = named(index, "scheduler")
    weights.read_json(folder / "scheduler" / "scheduler_config.json")
    try:
        return getattr(diffusers, kind).from_pretrained(folder, subfolder="scheduler")
    except Exception as error:
        raise ModelError(f"its scheduler is damaged, or {kind} needs something that is not installed.") from error


def variant(folder: Path, part: str) -> str | None:
    """The variant of a part's weights to be read."""
    names = [path.name for path in (folder / part).glob("*")]
    found = weights.variants(part, names)
    if found:
        return found[0]
    if any(name.endswith((".bin", ".ckpt", ".pt", ".pth")) for name in names):
        raise ModelError(
            f"its {part} is there as a pickle alone, which may run any code; it must be in safetensors form."
        )
    if any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"its {part} lacks files or the index of its weights.")
    raise ModelError(f"its {part} has no weights.")


def check_headers(skeleton: Skeleton) -> None:
    """Compare every part's weight files with what its configuration describes."""
    for part in (part for part in KINDS if part in skeleton.parts):
        files = weights.weight_files(skeleton.folder / part, variant(skeleton.folder, part))
        found = {name: tensor for file in files for name, tensor in weights.header(file).items()}
        weights.check_weights(part, skeleton.parts[part], found)


def read(skeleton: Skeleton, dtype: torch.dtype) -> Any:
    """The whole pipeline. Each part in whichever variant there is."""
    parts = {part: read_part(skeleton, part, dtype) for part in KINDS if part in skeleton.parts}
    return skeleton.pipeline(**parts)


def read_part(skeleton: Skeleton, part: str, dtype: torch.dtype) -> Any:
    try:
        module, report = type(skeleton.parts[part]).from_pretrained(
            skeleton.folder,
            subfolder=part,
            variant=variant(skeleton.folder, part),
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(f"its {part} cannot be read.") from error
    # transformers fills what it misses at random, and says so here alone.
    if missing := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise ModelError(f"its {part} lacks weights ({len(missing)}, for example {min(map(str, missing))}).")
    return module
