"""The app on the tiny model, launched once for all tests that talk to it."""

import functools
import importlib
import os
import tempfile
from pathlib import Path
from types import ModuleType

from tests.tiny import tiny_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"


@functools.cache
def app() -> ModuleType:
    """The module app.py, its model tiny and its files in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="advdm-app-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    tiny_pipeline().save_pretrained(folder / "tiny")
    before = os.environ.get("ADVDM_MODEL")
    os.environ["ADVDM_MODEL"] = str(folder / "tiny")
    try:
        return importlib.import_module("app")
    finally:
        os.environ.pop("ADVDM_MODEL")
        if before is not None:
            os.environ["ADVDM_MODEL"] = before


@functools.cache
def url() -> str:
    """Where the app answers, ending in a slash."""
    module = app()
    _, address, _ = module.demo.launch(**module.LAUNCH, prevent_thread_lock=True, quiet=True)
    return str(address)


def results() -> set[Path]:
    """Every protected file that runs have left so far."""
    return set(Path(os.environ["GRADIO_TEMP_DIR"]).glob("tmp*/*_protected.png"))
