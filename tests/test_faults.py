"""A disk that is full or may not be written: one sentence, and nothing half written stays. Killed: no half file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.app_server import LONG
from tests.command_line import ROOT, paint, refusal, run, start, written

BLOCK = 4096
FULL = "no space left on device."
PROTECT = "protect a.png --steps 2"
MIMIC = "mimic a.png b.png --steps 2 --count 1 -o"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def paintings(workplace: Path) -> None:
    """Two paintings, and one more in a folder of its own; some 13 KB each."""
    for seed, name in enumerate(("a.png", "b.png", "DIR/c.png")):
        paint(name, seed=seed)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder that is a small disk of its own, with a painting on it."""
    folder = Path("disk")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a disk here")
    try:
        paint("disk/d.png")
        yield folder.absolute()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, left: int) -> None:
    """Leave only so many bytes."""
    used = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(used.f_bavail * used.f_bsize - left))


@pytest.mark.parametrize(("left", "line"), [(BLOCK, f"{PROTECT} -o disk/new/a.png"), (8 * BLOCK, f"{MIMIC} disk/out")])
def test_a_full_disk(disk: Path, capsys: Capture, left: int, line: str) -> None:
    fill(disk, left)
    before = written()
    assert run(line) == 2
    assert refusal(capsys).endswith(f": {FULL}")
    assert written() == before


def test_a_report_without_space_costs_no_painting(disk: Path, capsys: Capture) -> None:
    fill(disk, 0)
    assert run(f"{PROTECT} --report disk/r.json") == 2
    assert capsys.readouterr().err == f"r.json cannot be written: {FULL}\n"
    assert Path("a_protected.png").exists() and not Path("disk/r.json").exists()


@pytest.mark.parametrize(
    "line", ["protect disk/d.png", f"{PROTECT} --report disk/r.json", f"{MIMIC} disk/out", "evaluate DIR -o disk/out"]
)
def test_a_disk_that_may_not_be_written_is_told_before_the_model_is_loaded(
    disk: Path, line: str, no_model: None, capsys: Capture
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    before = written()
    assert run(line) == 2
    assert refusal(capsys) == "The folder disk cannot be written to."
    assert written() == before


def test_nothing_of_mimic_is_there_before_all_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one that is killed on the way leaves no file."""
    save, there = Image.Image.save, []

    def watched(*given: object, **options: object) -> None:
        save(*given, **options)
        there.append([*Path("out").glob("[!.]*")])

    monkeypatch.setattr(Image.Image, "save", watched)
    assert run(f"{MIMIC} out") == 0
    assert there and not any(there)


def test_an_app_that_is_ended_leaves_no_picture() -> None:
    app = start("-u", ROOT / "app.py", GRADIO_TEMP_DIR="cache")
    try:
        address = next(line.split()[-1] for line in app.stdout or () if "local URL" in line)
        picture = {"files": ("unpublished.png", Path("a.png").read_bytes())}
        assert httpx.post(f"{address}/gradio_api/upload", files=picture, timeout=LONG).is_success
        assert list(Path("cache").rglob("unpublished.png"))
        app.terminate()
        app.wait(LONG)
        assert not list(Path("cache").rglob("unpublished.png"))
    finally:
        app.kill()
        app.wait()


def test_a_full_disk_under_the_page_and_a_stop_that_leaves_no_picture(disk: Path) -> None:
    app = start("-u", ROOT / "app.py", GRADIO_TEMP_DIR=str(disk))
    try:
        address = next(line.split()[-1] for line in app.stdout or () if "local URL" in line)
        client = Client(address, verbose=False)
        fill(disk, 8 * BLOCK)  # for the upload, but not for what comes of it
        with pytest.raises(AppError, match=FULL):
            client.predict(handle_file("a.png"), api_name="/protect")
        assert {path.name for path in disk.rglob("*.png")} == {"a.png", "d.png"}
        app.send_signal(signal.SIGINT)
        app.wait(LONG)
        assert {path.name for path in disk.rglob("*.png")} == {"d.png"}
    finally:
        app.kill()
        app.wait()
