"""A disk that is full or may not be written: one sentence, and nothing half written stays. Killed: no half file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from advdm import cli
from tests import app_server
from tests.command_line import ENVIRONMENT, ROOT
from tests.picture_files import gradient

BLOCK = 4096
FULL = "no space left on device."
ATTACK = ("--steps", "2")
MIMIC = ("mimic", "a.png", "b.png", "--steps", "2", "--count", "1", "-o")


@pytest.fixture(autouse=True)
def paintings(workplace: Path) -> None:
    """Two paintings, and one more in a folder of its own."""
    Path("DIR").mkdir()
    for number, name in enumerate(("a.png", "b.png", "DIR/c.png")):
        Image.fromarray(gradient(80 + number, 90)).effect_spread(9).save(name)  # some 13 KB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is a small disk of its own, with a painting on it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a disk here")
    try:
        (folder / "d.png").write_bytes(Path("a.png").read_bytes())
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, left: int) -> None:
    """Leave only so many bytes."""
    used = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(used.f_bavail * used.f_bsize - left))


def everything() -> list[Path]:
    return sorted(path for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("left", "command"),
    [
        (BLOCK, ["protect", "disk/d.png", *ATTACK]),
        (BLOCK, ["protect", "a.png", "-o", "disk/new/a.png", *ATTACK]),
        (8 * BLOCK, [*MIMIC, "disk/out"]),
    ],
)
def test_a_full_disk(disk: Path, capsys: pytest.CaptureFixture[str], left: int, command: list[str]) -> None:
    fill(disk, left)
    before = everything()
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err.endswith(f": {FULL}\n") and err.count("\n") == 1
    assert everything() == before


def test_a_report_without_space_costs_no_painting(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(disk, 0)
    assert cli.main(["protect", "a.png", "--report", "disk/r.json", *ATTACK]) == 2
    assert capsys.readouterr().err == f"r.json cannot be written: {FULL}\n"
    assert Path("a_protected.png").exists() and not Path("disk/r.json").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["protect", "disk/d.png"],
        ["protect", "a.png", "-o", "disk/new"],
        ["protect", "a.png", "--report", "disk/r.json"],
        [*MIMIC, "disk/out"],
        ["evaluate", "DIR", "-o", "disk/out"],
    ],
)
def test_a_disk_that_may_not_be_written_is_told_before_the_model_is_loaded(
    disk: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADVDM_MODEL", "no such model")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    before = everything()
    assert cli.main(command) == 2
    assert capsys.readouterr().err == "The folder disk cannot be written to.\n"
    assert everything() == before


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


def test_killed_while_mimic_writes() -> None:
    command = [sys.executable, "-c", KILLED_IN_SAVE, *MIMIC, "out", "3"]
    environment = {**ENVIRONMENT, "ADVDM_MODEL": os.environ["ADVDM_MODEL"]}
    process = subprocess.run(command, env=environment, check=False, timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert not list(Path("out").glob("[!.]*"))


@contextmanager
def app_with_files_in(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The app as a program of its own, and where it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder.absolute()), "GRADIO_SERVER_PORT": str(port)}
    app = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        app_server.wait_until(lambda: app.poll() is not None or answers(f"http://127.0.0.1:{port}/"))
        yield app, f"http://127.0.0.1:{port}/"
    finally:
        app.kill()
        app.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.TransportError:
        return False


def test_a_full_disk_under_the_page_and_a_stop_that_leaves_no_picture(disk: Path) -> None:
    with app_with_files_in(disk) as (app, url):
        client = Client(url, verbose=False)
        fill(disk, 8 * BLOCK)  # for the upload, but not for what comes of it
        with pytest.raises(AppError, match=FULL):
            client.predict(handle_file("a.png"), api_name="/protect")
        assert {path.name for path in disk.rglob("*.png")} == {"a.png", "d.png"}
        app.send_signal(signal.SIGINT)
        app.wait(app_server.LONG)
        assert {path.name for path in disk.rglob("*.png")} == {"d.png"}


def test_an_app_that_is_ended_leaves_no_picture() -> None:
    cache = Path("cache")
    with app_with_files_in(cache) as (app, url):
        picture = {"files": ("unpublished.png", Path("a.png").read_bytes())}
        assert httpx.post(f"{url}gradio_api/upload", files=picture, timeout=120).is_success
        assert list(cache.rglob("unpublished.png"))
        app.terminate()
        app.wait(app_server.LONG)
        assert not list(cache.rglob("unpublished.png"))
