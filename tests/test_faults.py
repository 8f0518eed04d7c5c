"""A disk that is full or may not be written: one sentence, and nothing half written stays. Killed: no half file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
import torch

from advdm import AdvDMError
from advdm.imitators.inversion import Word
from tests import app_server
from tests.test_cli import MIMIC, QUICK, ROOT, paint, pair, run, saved_tiny, workplace, written  # noqa: F401  (fixtures)

BLOCK = 4096
Fill = Callable[[int], None]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Fill]:
    """Makes the folder full, a disk of its own, with only so many bytes left."""
    folder = tmp_path / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a disk here")

    def fill(left: int) -> None:
        used = os.statvfs(folder)
        (folder / "filler").write_bytes(bytes(used.f_bavail * used.f_bsize - left))

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def refused(capsys: pytest.CaptureFixture[str], before: list[str]) -> str:
    """The one line on stderr; what was there before is all there is."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert written() == before
    return err.strip()


def test_protect(full: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    paint("full/a.png")
    full(BLOCK)  # of the 13 KB that the copy takes
    before = written()
    assert run("protect", "full/a.png", *QUICK) == 2
    assert refused(capsys, before) == "a_protected.png cannot be written: no space left on device."


def test_report(full: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png")
    full(0)
    assert run("protect", "a.png", "--report", "full/r.json", *QUICK) == 2
    out, err = capsys.readouterr()
    assert out.startswith("a.png: largest change ")  # which was done and stays
    assert err == "r.json cannot be written: no space left on device.\n"
    assert written() == ["a.png", "a_protected.png", "full/filler"]


def test_mimic(full: Fill, pair: None, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    full(8 * BLOCK)  # of six pictures, a sheet and two words
    before = written()
    assert run("mimic", "a.png", "a_protected.png", *MIMIC[:-1], "full/out") == 2
    assert refused(capsys, before).endswith(": no space left on device.")


def test_word(full: Fill) -> None:
    full(0)
    before = written()
    with pytest.raises(AdvDMError, match=r"^w\.safetensors cannot be written: no space left on device\.$"):
        Word("<a>", torch.zeros(8, 768)).save("full/w.safetensors")
    assert written() == before


def test_evaluate(full: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    paint("DIR/a.png")
    Path("prompts.txt").write_text("a painting in the style of {}\na boat in {}\n")
    full(8 * BLOCK)
    before = written()
    quick = ("--steps", "1", "--inversion-steps", "1", "--epsilons", "4", "--vectors", "1", "--sampling-steps", "1")
    assert run("evaluate", "DIR", "-o", "full/out", "--prompts", "prompts.txt", *quick) == 2
    assert refused(capsys, before).endswith(": no space left on device.")


@pytest.mark.parametrize("left", [0, 8 * BLOCK, 16 * BLOCK])
def test_app(full: Fill, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    app_server.app()
    from ui import protect

    paint("a.png")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(Path("full").absolute()))
    full(left)
    before = written()
    visitor: Any = SimpleNamespace(session_hash="somebody")
    with pytest.raises(gr.Error, match=r"no space left on device\.") as refusal:
        list(protect.show_protection("a.png", 8, 2, 1, 0, "advdm", 0, False, visitor))
    assert not refusal.value.print_exception
    assert written() == before


@pytest.mark.parametrize(
    "command",
    [
        ["protect", "full/a.png"],
        ["protect", "a.png", "-o", "full/new"],
        ["protect", "a.png", "--report", "full/r.json"],
        ["mimic", "a.png", "a.png", "-o", "full/out"],
        ["evaluate", "DIR", "-o", "full/out"],
    ],
)
def test_read_only(
    full: Fill, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    paint("a.png"), paint("DIR/a.png"), paint("full/a.png")
    subprocess.run(["mount", "-o", "remount,ro", "full"], check=True)
    before = written()
    assert run(*command) == 2
    assert refused(capsys, before) == "The folder full cannot be written to."


KILLED_IN_SAVE = """
import os, signal, sys
from PIL import Image
from advdm import cli
save, left = Image.Image.save, int(sys.argv.pop())

def dying(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments, **options)

Image.Image.save = dying
cli.main(sys.argv[1:])
"""
"""The command line, killed before it writes the picture of that number."""


@pytest.mark.parametrize("picture", [1, 3])
def test_kill_while_mimic_writes(pair: None, picture: int) -> None:  # noqa: F811
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED_IN_SAVE, "mimic", "a.png", "a_protected.png", *MIMIC, str(picture)]
    process = subprocess.run(command, env=environment, check=False, timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert list(Path("out").glob("[!.]*")) == []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_app_that_ends_leaves_no_picture(end: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cache = Path("cache").absolute()
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(cache), "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        app_server.wait_until(lambda: app.poll() is not None or answers(port))
        picture = {"files": ("unpublished.png", paint("a.png").read_bytes())}
        assert httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files=picture, timeout=120).is_success
        assert list(cache.rglob("unpublished.png"))
        app.send_signal(end)
        app.wait(app_server.LONG)
        assert not list(cache.rglob("unpublished.png"))
    finally:
        app.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=60).is_success
    except httpx.TransportError:
        return False
