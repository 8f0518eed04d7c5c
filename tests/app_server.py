"""The app on the tiny model, launched once for all tests that talk to it."""

import functools
import importlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.tiny import tiny_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
ENDLESS = 499
"""Steps of the runs that end only by being stopped, where `endless_runs` was called."""
LONG = 300
"""Seconds that a busy machine may take for what is there in one."""
WEB = httpx.Client(timeout=120)


@functools.cache
def app() -> ModuleType:
    """The module app.py, its model tiny and its files in a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="advdm-app-"))
    tiny_pipeline().save_pretrained(folder / "tiny")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ADVDM_MODEL", str(folder / "tiny"))
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
        return importlib.import_module("app")


@functools.cache
def url() -> str:
    """Where the app answers, ending in a slash."""
    module = app()
    _, address, _ = module.demo.launch(**module.LAUNCH, prevent_thread_lock=True, quiet=True)
    return str(address)


def home() -> Path:
    """The folder of the app's files."""
    app()
    return Path(os.environ["GRADIO_TEMP_DIR"])


def runs() -> set[Path]:
    """The folders that runs have left so far."""
    return set(home().glob("run-*"))


def endless_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of ENDLESS steps repeat their first one until they are stopped: no machine is too fast for Stop."""

    def without_end(steps: Callable[..., Iterator[Any]], settings_at: int) -> Callable[..., Iterator[Any]]:
        def endless(*given: Any) -> Iterator[Any]:
            finite = steps(*given)
            if given[settings_at].steps != ENDLESS:
                yield from finite
                return
            first = next(finite)
            while True:
                yield first
                time.sleep(0.05)

        return endless

    app()
    for module, name in (("ui.attack", "protection_steps"), ("ui.experiment", "learn")):
        steps = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(f"{module}.{name}", without_end(steps, 2))


def wait_until(condition: Callable[[], Any]) -> None:
    """Until it holds; an AssertionError if that takes LONG."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def as_file(path: str, **other: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **other}


def upload(name: str, content: bytes, base: str = "") -> str:
    """Upload as the page does; the path on the server."""
    answer = WEB.post(f"{base or url()}gradio_api/upload", files={"files": (name, content)})
    return str(answer.json()[0])


def call(name: str, data: list[Any], base: str = "", event: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call an event by raw HTTP, as no client would; its last message."""
    base, session = base or url(), uuid.uuid4().hex
    dependencies = WEB.get(f"{base}config").json()["dependencies"]
    index = next(d["id"] for d in dependencies if d["api_name"] == name)
    body = json.dumps({"data": data, "event_data": event, "fn_index": index, "session_hash": session})
    WEB.post(f"{base}gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    with WEB.stream("GET", f"{base}gradio_api/queue/data?session_hash={session}") as stream:
        messages = (json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
        return next(message for message in messages if message["msg"] == "process_completed")
