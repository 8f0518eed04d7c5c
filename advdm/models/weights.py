"""The weights of one part as their files say, by headers alone: which files, which tensors, do they fit the module.

Every function raises ModelError with half a sentence, see `fit.about`.
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
FILE = re.compile(r"(diffusion_pytorch_model|model)(?:\.(?P<variant>[\w-]+?))?(-\d+-of-\d+)?(\.[\w-]+)?\.safetensors")
INDEX = re.compile(r"(diffusion_pytorch_model|model)\.safetensors\.index(?:\.(?P<variant>[\w-]+))?\.json")
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
        found = json.loads(data)
    except ValueError as error:
        raise ModelError(f"{shown} is damaged.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{shown} is damaged.")
    return found


def check_pointer(data: bytes, shown: str) -> None:
    if data.startswith(POINTER):
        raise ModelError(f"{shown} is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'.")


def variants(names: Collection[str]) -> list[str | None]:
    """The variants of its weights that a part's file names hold, the usual one first, then fp16."""
    found = {match["variant"] for name in names for match in (INDEX.fullmatch(name), whole(name)) if match}
    return sorted(found, key=lambda variant: (variant is not None, variant != "fp16", variant or ""))


def whole(name: str) -> re.Match[str] | None:
    """A match where the name is that of a file with all weights, not a shard."""
    match = FILE.fullmatch(name)
    return match if match and not match[3] else None


def weight_files(folder: Path, part: str, variant: str | None) -> list[Path]:
    """The files that hold a variant of a part's weights: one, or the shards in its index."""
    inside = folder / part
    index = re.compile(rf"\w+\.safetensors\.index{'' if variant is None else '.' + re.escape(variant)}\.json")
    for name in sorted(path.name for path in inside.iterdir()):
        if INDEX.fullmatch(name) and index.fullmatch(name):
            shards = read_json(inside / name).get("weight_map")
            if not isinstance(shards, dict) or not shards:
                raise ModelError(f"{part}/{name} is damaged.")
            return sorted({inside / str(shard) for shard in shards.values()})
    return [path for path in inside.iterdir() if (match := whole(path.name)) and match["variant"] == variant]


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
        found, wanted = ({name.removeprefix("text_model."): w for name, w in d.items()} for d in (found, module.state_dict()))
        found = {name: weight for name, weight in found.items() if name in wanted or not HARMLESS.match(name)}
    misshapen = [name for name in wanted.keys() & found.keys() if wanted[name].shape != found[name].shape]
    for names, what in (
        (wanted.keys() - found.keys(), "lacks {} of its weights"),
        (found.keys() - wanted.keys(), "has {} weights that do not belong to it"),
        (misshapen, "has {} weights of another shape than its config.json says"),
    ):
        if names:
            raise ModelError(f"its {part} {what.format(len(names))}, for example {min(names)}.")
