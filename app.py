"""The AdvDM app: builds the tabs and turns their events into calls on the library."""

import spaces  # before torch, as ZeroGPU wants it

# isort: split
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
import pandas as pd
import torch
from gradio.utils import get_upload_folder
from PIL import Image

from advdm import AdvDMError, Comparison, LatentDiffusion, ModelError, Painting, Settings, compare, load_model
from advdm import protection_steps, read_painting
from advdm.objectives import OBJECTIVES
from advdm.paintings import check_painting
from advdm.views import whole_view

STRENGTHS = {"Subtle": 4, "Balanced": 8, "Strong": 16}
"""epsilon, in 8-bit levels."""
EFFORTS = {"Quick": (25, 1), "Thorough": (100, 4)}
"""(steps, samples)."""
SHOWN_SIDE = 2000
"""Pictures on the page are reduced to this many pixels a side; up to here they are shown at full resolution."""
PREVIEW_SIDE = 640
SMOOTHING = 10
"""Steps that the loss curve averages over."""
AMPLIFIED = 10
ANONYMOUS_SECONDS = 80
"""What ZeroGPU admits at most for a visitor without an account."""
EXAMPLES = sorted(Path(__file__).parent.glob("examples/*.webp"))
LAUNCH: dict[str, Any] = {
    "theme": gr.themes.Soft(primary_hue="teal", neutral_hue="stone", font=["system-ui", "sans-serif"]),
    "max_file_size": "50mb",
    "footer_links": ["api", "gradio", "settings"],
    "run_history": False,
    "enable_monitoring": False,
}

WELCOME = """
1. **Choose a painting**, or one of the examples.
2. **Protect** changes its pixels by a few levels of brightness. You hardly see it; a diffusion model sees another picture.
3. **Compare**, then download the protected PNG. Publish that copy everywhere, and the clean one nowhere.
"""
LIMITS = """
- The change is computed against one model. It works best on imitators that use that model or a close relative.
- JPEG compression, resizing, screenshots, cleaning and newer models weaken it. Resize first, protect last.
- It makes mimicry of your style worse. It does not stop copying, nor searches, nor descriptions of the picture.
- The protected copy is a PNG, larger than a JPEG, because lossy formats would damage the protection.
- Your painting is worked on in temporary files, which are deleted within the hour, and is used for nothing else.
"""


def load_or_exit() -> LatentDiffusion:
    try:
        return load_model()
    except ModelError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


MODEL = load_or_exit()


class PaintingInput(gr.Image):
    """gr.Image that judges an upload before anything decodes it, and takes nothing but uploads."""

    is_template = True  # the page shows it as gr.Image

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        path = Path(payload.path or "").resolve()
        if not path.is_relative_to(Path(get_upload_folder()).resolve()):
            raise gr.Error("Please upload the painting on this page.", print_exception=False)
        with said():
            check_painting(path)
        return str(path)


@contextmanager
def said() -> Iterator[None]:
    """Turn what the library refuses into a sentence on the page."""
    try:
        yield
    except AdvDMError as error:
        raise gr.Error(str(error), title="Not possible", print_exception=False) from error


@contextmanager
def run_folder() -> Iterator[Path]:
    """A fresh folder in Gradio's cache, which serves and deletes what the page was given; a failed run leaves none."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=cache))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def stop_flag(request: gr.Request) -> Path:
    """The file that stops this visitor's run: on ZeroGPU the attack is another process, which sees no variable."""
    session = hashlib.sha256(str(request.session_hash).encode()).hexdigest()
    return Path(get_upload_folder()) / f"stop-{session}"


@dataclass
class Pace:
    """Seconds that one picture takes through the model, as the last run measured it."""

    seconds: float | None = None

    def guess(self, steps: int, samples: int) -> float | None:
        return self.seconds and self.seconds * passes(steps, samples)


PACE = Pace()


def passes(steps: int, samples: int) -> int:
    """How often pictures go through the model: each step once through the encoder, each sample the denoiser."""
    return steps * (1 + samples)


def gpu_seconds(painting: str, settings: Settings, folder: str, stop: str) -> int:
    """What to ask of ZeroGPU for one attack: files in and out, then every pass at a generous guess."""
    return 15 + round(0.08 * passes(settings.steps, settings.samples))


@dataclass(frozen=True)
class Moment:
    """Where an attack stands: the loss of every step so far, and files that show it, made about every second."""

    losses: list[float]
    preview: str | None = None
    protected: str | None = None
    seen: tuple[str, str] | None = None


@spaces.GPU(duration=gpu_seconds)
def attack(painting: str, settings: Settings, folder: str, stop: str) -> Iterator[Moment]:
    """Everything that needs the model. Files and numbers go in and out, for this may be another process."""
    with said():
        original = read_painting(painting)
        losses: list[float] = []
        due = 0.0
        for step in protection_steps(original, MODEL, settings):
            losses.append(step.loss)
            if os.path.exists(stop):
                break
            if (now := time.monotonic()) >= due:
                name = f"{folder}/preview{step.number}.webp"
                yield Moment(losses, write_picture(step.protected().levels, original, name, PREVIEW_SIDE))
                due = time.monotonic() + max(1, 4 * (time.monotonic() - now))  # never most of the work
        yield Moment(losses)
        protected = step.protected()
        path = protected.save(f"{folder}/{original.name}_protected.png")
        pictures = {"original": original.levels, "protected": protected.levels}
        seen = [write_seen(levels, f"{folder}/{name}_seen.png") for name, levels in pictures.items()]
        yield Moment(losses, protected=str(path), seen=(seen[0], seen[1]))


def write_seen(levels: np.ndarray, path: str) -> str:
    """Write the whole picture as the model sees it: encoded and decoded."""
    view = whole_view(*levels.shape[:2], MODEL.size, MODEL.factor)
    pixels = torch.from_numpy(levels).permute(2, 0, 1)[None].to(MODEL.device).float() / 255
    decoded = MODEL.reconstruct(view.look(pixels))[0].permute(1, 2, 0).mul(255).round().byte()
    Image.fromarray(decoded.cpu().numpy()).save(path)
    return path


def write_picture(levels: np.ndarray, like: Painting, path: str | Path, side: int = SHOWN_SIDE) -> str:
    """Write `levels` for the page, with the colours and alpha of `like`, reduced to `side` pixels if larger."""
    picture = Image.fromarray(levels[..., 0] if like.grey else levels)
    if like.alpha is not None:
        picture.putalpha(Image.fromarray(like.alpha))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    picture.save(path, icc_profile=like.icc_profile)
    return str(path)


def write_details(original: Painting, protected: Painting, folder: Path) -> list[tuple[str, str]]:
    """Both pictures and their difference pixel by pixel, or of large ones the middle, each with its caption."""
    where = "" if max(original.size) <= SHOWN_SIDE else ", middle at 100 %"
    a, b = middle(original.levels), middle(protected.levels)
    change = np.clip(128 + AMPLIFIED * (b.astype(np.int16) - a), 0, 255).astype(np.uint8)
    opaque = replace(original, alpha=None)
    return [
        (write_picture(a, opaque, folder / "original_detail.png"), f"Original{where}"),
        (write_picture(b, opaque, folder / "protected_detail.png"), f"Protected{where}"),
        (write_picture(change, Painting(change), folder / "change.png"), f"Change x {AMPLIFIED} (grey: unchanged){where}"),
    ]


def middle(levels: np.ndarray) -> np.ndarray:
    """The middle of a picture, at most SHOWN_SIDE pixels a side."""
    top, left = (max(0, side - SHOWN_SIDE) // 2 for side in levels.shape[:2])
    return levels[top : top + SHOWN_SIDE, left : left + SHOWN_SIDE]


class Shown(NamedTuple):
    """What an event puts on the page, in the order of its outputs; what is not given stays as it is."""

    status: Any = gr.skip()
    protected: Any = gr.skip()
    report: Any = gr.skip()
    numbers: Any = gr.skip()
    slider: Any = gr.skip()
    seen: Any = gr.skip()
    details: Any = gr.skip()
    curve: Any = gr.skip()
    welcome: Any = gr.skip()
    results: Any = gr.skip()


def protect(
    painting: str | None,
    epsilon: float,
    steps: float,
    samples: float,
    step_size: float | None,
    objective: str,
    seed: float | None,
    request: gr.Request,
) -> Iterator[Shown]:
    """Protect one painting: a preview about every second, then the result, which a stopped run has too."""
    stop = stop_flag(request)
    if stop.exists():  # pressed while the visitor waited in the queue
        yield Shown(status="Stopped before it began.")
        return
    with said(), run_folder() as folder:
        settings = settings_from(epsilon, steps, samples, step_size, objective, seed)
        original = read_painting(chosen(painting))
        before = write_picture(original.levels, original, folder / "original.png")
        yield Shown(
            status="Starting.",
            protected=gr.DownloadButton(value=None, interactive=False),
            report=None,
            numbers=note(original),
            slider=(before, before),
            seen=None,
            details=None,
            curve=None,
            welcome=gr.Column(visible=False),
            results=gr.Column(visible=True),
        )
        started = time.monotonic()
        for moment in attack(chosen(painting), settings, str(folder), str(stop)):
            seconds = time.monotonic() - started
            PACE.seconds = seconds / passes(len(moment.losses), settings.samples)
            slider = (before, moment.preview) if moment.preview else gr.skip()
            yield Shown(status=progress_line(moment, settings), slider=slider, curve=curve(moment.losses))
        copy = read_painting(moment.protected)
        comparison = compare(original, copy)
        steps_done = len(moment.losses)
        yield Shown(
            status=f"{'Done' if steps_done == settings.steps else 'Stopped'} after {steps_done} steps.",
            protected=gr.DownloadButton(value=moment.protected, interactive=True),
            report=report(settings, steps_done, seconds, comparison),
            numbers=f"{numbers_line(comparison, seconds)} {note(original)}",
            slider=(before, write_picture(copy.levels, copy, folder / "protected_shown.png")),
            seen=list(zip(moment.seen, ("Original, as the model sees it", "Protected, as the model sees it"), strict=True)),
            details=write_details(original, copy, folder),
        )
