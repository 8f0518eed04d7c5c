"""The command line in process, in an empty folder, on the tiny model."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advdm import cli

ROOT = Path(__file__).parents[1]


def run(line: str) -> int:
    """The exit code of `python -m advdm LINE`, whether argparse or a command ended the run."""
    try:
        return cli.main(shlex.split(line))
    except SystemExit as stop:
        return int(str(stop.code))


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Python in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests in the background has made them, and what they start, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def paint(path: str, mode: str = "RGB", size: tuple[int, int] = (80, 72), seed: int = 0) -> Path:
    """A picture file of noisy slopes, never black or white, so that nothing is clipped."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, len(Image.new(mode, (1, 1)).getbands())))
    levels = np.linspace(60, 190, width)[None, :, None] + noise
    Image.fromarray(levels.astype(np.uint8).squeeze()).save(path)
    return Path(path)


def written() -> list[str]:
    """Everything under the working folder, hidden files too."""
    return sorted(str(path.relative_to(Path.cwd())) for path in Path.cwd().rglob("*") if path.is_file())


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, with nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err.count("\n") == 1, (out, err)
    return err.strip()
