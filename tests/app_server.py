"""The app on the tiny model, launched once for all tests that talk to it."""

import functools
import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.tiny import tiny_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
ENDLESS = 499
"""Steps of the runs that end only by being stopped, where `endless_runs` was called."""
LONG = 300
"""Seconds that a busy machine may take for what is there in one."""


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


def endless_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of ENDLESS steps repeat their first one until they are stopped: no machine is too fast for Stop."""

    def without_end(steps: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def endless(some: Any, model: Any, settings: Any, *other: Any) -> Iterator[Any]:
            finite = steps(some, model, settings, *other)
            if getattr(settings, "inversion", settings).steps != ENDLESS:
                yield from finite
                return
            first = next(finite)
            while True:
                yield first
                time.sleep(0.05)

        return endless

    app()
    for module, name in (("ui.protect", "protection_steps"), ("ui.experiment", "mimicry_steps")):
        steps = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", without_end(steps))


def wait_until(condition: Callable[[], Any]) -> None:
    """Until it holds; an AssertionError if that takes LONG."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
