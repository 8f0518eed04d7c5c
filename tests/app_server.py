"""The app on the tiny model, launched once for all tests that talk to it."""

import functools
import importlib
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.tiny import tiny_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
LONG = 300
"""Seconds that a busy machine may take for what is there in one."""
WEB = httpx.Client(timeout=120)


@functools.cache
def app() -> ModuleType:
    """The module app.py on the tiny model, started elsewhere; the folder of its files is relative and spaced."""
    folder = Path(tempfile.mkdtemp(prefix="advdm-app-"))
    tiny_pipeline().save_pretrained(folder / "tiny")
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(folder)
        environment.setenv("ADVDM_MODEL", "tiny")
        os.environ["GRADIO_TEMP_DIR"] = "my files/here"
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


def wait_until(condition: Callable[[], Any]) -> None:
    """Until it holds; an AssertionError if that takes LONG."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def as_file(path: str, **other: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **other}


def upload(name: str, content: bytes) -> str:
    """Upload as the page does; the path on the server."""
    answer = WEB.post(f"{url()}gradio_api/upload", files={"files": (name, content)})
    return str(answer.json()[0])


def call(name: str, data: Any, event: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call an event by raw HTTP, as no client would; its last message."""
    session = uuid.uuid4().hex
    dependencies = WEB.get(f"{url()}config").json()["dependencies"]
    index = next(d["id"] for d in dependencies if d["api_name"] == name)
    body = {"data": data, "event_data": event, "fn_index": index, "session_hash": session}
    WEB.post(f"{url()}gradio_api/queue/join", json=body)
    with WEB.stream("GET", f"{url()}gradio_api/queue/data?session_hash={session}") as stream:
        messages = (json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
        return next(message for message in messages if message["msg"] == "process_completed")
