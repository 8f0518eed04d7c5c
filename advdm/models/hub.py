"""Pipelines on the Hugging Face hub: what is in its local cache, and how the rest is fetched."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

from advdm.models import weights
from advdm.models.folders import KINDS


def cached(source: str) -> Path | None:
    """The pipeline's folder in the hub's cache, complete or not; never uses the network."""
    index = try_to_load_from_cache(source, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def fetch(source: str, with_weights: bool = True) -> Path | None:
    """Download what is needed of a pipeline into the cache; None where that cannot be."""
    try:
        names = HfApi().list_repo_files(source)
        return Path(snapshot_download(source, allow_patterns=needed(names, with_weights)))
    except Exception:  # no network, no such repository, a gate, a full disk: each by errors of its own
        return None


def needed(names: Collection[str], with_weights: bool = True) -> list[str]:
    """Of a repository's files those of the pipeline: configurations, vocabularies, and one variant of the weights."""
    folders = (*KINDS, "tokenizer", "tokenizer_2", "scheduler")
    inside = [path for path in map(PurePosixPath, names) if path.parent.name in folders and len(path.parts) == 2]
    chosen = ["model_index.json", *(str(path) for path in inside if path.suffix in (".json", ".txt"))]
    for part in KINDS if with_weights else ():
        files = [path.name for path in inside if path.parent.name == part]
        for variant in weights.variants(part, files)[:1]:
            chosen += [f"{part}/{name}" for name in weights.files_of(part, files, variant)]
    return chosen
