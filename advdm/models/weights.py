"""The weights of one part as their files say, by headers alone: which files, which tensors, do they fit the module.

Every function raises ModelError with half a sentence, see `checks.about`.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from advdm.errors import ModelError

POINTER = b"version https://git-lfs"
WHOLE = re.compile(r"\w+?(?:\.([\w-]+?))?(?<!-of-\d{5})\.safetensors")
INDEX = re.compile(r"\w+?\.safetensors\.index(?:\.([\w-]+))?\.json")
SHARD = re.compile(r"\w+?(?:\.([\w-]+?))?-\d{5}-of-\d{5}(?:\.([\w-]+))?\.safetensors")
"""Names of files with all weights, with the index of shards, and with one shard; the groups are the variant."""
HARMLESS = re.compile(r"(embeddings\.position_ids|logit_scale|text_projection\.weight|vision_model\..*|visual_proj.*)$")
"""What old files of text encoders hold beside the weights of theirs."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of a model's folder."""
    shown = f"{path.parent.name}/{path.name}" if path.name != "model_index.json" else path.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{shown} is missing.") from error
    check_pointer(data, shown)
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{shown} is damaged.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{shown} is damaged.")
    return found


def check_pointer(data: bytes, shown: str) -> None:
    if data.startswith(POINTER):
        raise ModelError(f"{shown} is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'.")


def stem(part: str) -> str:
    """How the names of a part's weight files begin: transformers and diffusers have one each."""
    return "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"


def variants(part: str, names: Collection[str]) -> list[str | None]:
    """The variants of its weights that a part's file names hold, the usual one first, then fp16."""
    own = [name for name in names if re.match(rf"{stem(part)}\b", name)]
    matches = [match for name in own for match in (INDEX.fullmatch(name), WHOLE.fullmatch(name)) if match]
    return sorted({match[1] for match in matches}, key=lambda one: (one is not None, one != "fp16", one or ""))


def files_of(part: str, names: Collection[str], variant: str | None) -> list[str]:
    """Of a part's file names those that belong to a variant of its weights."""
    found = []
    for name in (name for name in names if re.match(rf"{stem(part)}\b", name)):
        match = INDEX.fullmatch(name) or WHOLE.fullmatch(name) or SHARD.fullmatch(name)
        if match and variant in ([*filter(None, match.groups())] or [None]):
            found.append(name)
    return sorted(found)


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """The files in a part's folder that hold a variant of its weights: one, or the shards in the index."""
    names = files_of(folder.name, [path.name for path in folder.iterdir()], variant)
    # Where there are both, transformers reads the one file, and diffusers the shards.
    forms = (WHOLE, INDEX) if stem(folder.name) == "model" else (INDEX, WHOLE)
    chosen = next(name for form in forms for name in names if form.fullmatch(name))
    if WHOLE.fullmatch(chosen):
        return [folder / chosen]
    shards = read_json(folder / chosen).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"{folder.name}/{chosen} is damaged.")
    return sorted({folder / str(shard) for shard in shards.values()})


def header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, without their numbers."""
    shown = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            check_pointer(file.read(len(POINTER)), shown)
        with safe_open(path, "pt") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"{shown} is missing.") from error
    except ModelError:
        raise
    except Exception as error:  # safetensors has an error of its own for each kind of damage
        raise ModelError(f"{shown} is damaged or not in safetensors form.") from error
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def check_weights(part: str, module: Any, found: Mapping[str, Tensor]) -> None:
    """Refuse weights that lack one of the module's, have one too many, or one of another shape."""
    if hasattr(module, "_fix_state_dict_keys_on_load"):  # old names of attention layers, as diffusers reads them
        found = module._fix_state_dict_keys_on_load(dict(found))
        wanted = module.state_dict()
    else:
        # Some versions of transformers wrap a text encoder once more; both read the weights of both.
        found, wanted = (
            {name.removeprefix("text_model."): weight for name, weight in tensors.items()}
            for tensors in (found, module.state_dict())
        )
        found = {name: weight for name, weight in found.items() if name in wanted or not HARMLESS.match(name)}
    misshapen = [name for name in wanted.keys() & found.keys() if wanted[name].shape != found[name].shape]
    for names, what in (
        (wanted.keys() - found.keys(), "lacks weights"),
        (found.keys() - wanted.keys(), "has weights that do not belong to it"),
        (misshapen, "has weights of another shape than its config.json says"),
    ):
        if names:
            raise ModelError(f"its {part} {what} ({len(names)}, for example {min(names)}).")
