"""The app without a browser: its handlers called directly, its API, what strangers send to it, and how it starts."""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import Status
from PIL import Image

import advdm
from advdm import Painting, Settings, compare, read_painting
from advdm.mimicry import Finding
from advdm.paintings import write_painting
from advdm.statistics import Estimate
from tests import app_server
from tests.app_server import WEB, as_file, call, upload
from tests.tiny import tiny_pipeline
from ui import mimicry, pace, protect
from ui.expected import EXPECTED, Expected
from ui.runs import Run, answered, clean, model, on_gpu, press_stop
from ui.uploads import shown_as, uploaded

ROOT = Path(__file__).parents[1]
HARVEST, CHURCH = (app_server.EXAMPLES / f"{name}.webp" for name in ("harvest", "church_at_auvers"))
PROTECT: dict[str, Any] = {
    "painting": None,
    "mask": None,
    "strength": "balanced",
    "epsilon": 8,
    "steps": 3,
    "samples": 1,
    "step_size": 0,
    "objective": "advdm",
    "target": None,
    "even": False,
    "as_published": False,
    "seed": 0,
}
MIMIC: dict[str, Any] = {
    "original": [str(HARVEST)],
    "protected": [str(CHURCH)],
    "imitator": "inversion",
    "control": True,
    "steps": 3,
    "prompts": "a painting in the style of *\n\n  a boat in the style of {}  \n",
    "count": 2,
    "strength": 0.5,
    "seed": 3,
}
ANY_JSON = "str | float | bool | list | dict"


@pytest.fixture(scope="module", autouse=True)
def app() -> ModuleType:
    return app_server.app()


@pytest.fixture
def run() -> Run:
    """A run that has not begun."""
    return Run.new()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client(app_server.url(), verbose=False, httpx_kwargs={"timeout": 120})
    yield client
    client.close()


@pytest.fixture
def file(painting: Painting, tmp_path: Path) -> str:
    return str(write_painting(painting.levels, painting, tmp_path / "sea.png"))


def shows(run: Run | None = None, files: Any = None, brush: Any = None, **wishes: Any) -> Iterator[Any]:
    """What the Protect tab shows, one painting or several."""
    given: Iterator[Any] = protect.show(run or Run.new(), bool(files), files, brush, *{**PROTECT, **wishes}.values())
    return given


def experiment(run: Run | None = None, **wishes: Any) -> Iterator[Any]:
    """What the Mimicry tab shows."""
    given: Iterator[Any] = mimicry.show(run or Run.new(), *{**MIMIC, **wishes}.values())
    return given


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


class TestProtect:
    def test_result(self, file: str) -> None:
        first, second, *_, last = shows(painting=file)
        assert first.protected["value"] is None, "an older result is not offered meanwhile"
        assert second.status["text"].startswith("Step 1 of 3") and "progress" in second.status["bar"]
        assert last.status == {"text": "Done after 3 steps: sea.png.", "bar": ""}
        path = Path(last.protected["value"])
        assert path.name == "sea_protected.png"
        comparison = compare(read_painting(file), read_painting(path))
        assert 0 < comparison.max_change <= 8
        assert {name: last.report[name] for name in asdict(comparison)} == pytest.approx(asdict(comparison), abs=0.01)
        assert f"{last.report['visibility']:.1f} of 10, where 10 is no difference" in last.summary
        # The page shows exactly what was written, and the change enlarged around grey.
        assert np.array_equal(pixels(last.slider[0]), pixels(file))
        assert np.array_equal(pixels(last.slider[1]), pixels(path))
        change = pixels(path).astype(int) - pixels(file)
        assert np.array_equal(pixels(last.change[2][0]), np.clip(128 + 10 * change, 0, 255))
        assert last.pair == (file, str(path))

    def test_strength_chooses_epsilon_for_the_painting(self, file: str) -> None:
        chosen = []
        for strength in ("subtle", "balanced", "strong"):
            *_, last = shows(painting=file, epsilon=0, strength=strength)
            chosen.append(last.report["epsilon"])
            assert f"Epsilon {chosen[-1]}, chosen for this painting by {strength.capitalize()}" in last.summary
        assert chosen == sorted(chosen) and chosen[0] < chosen[-1]

    def test_target_picture(self, file: str) -> None:
        *_, own = shows(painting=file, objective="mist")
        *_, driven = shows(painting=file, objective="mist", target=str(CHURCH))
        assert not np.array_equal(pixels(driven.protected["value"]), pixels(own.protected["value"]))

    def test_what_is_painted_over_or_black_in_the_mask_stays_clean(self, file: str, tmp_path: Path) -> None:
        brush = np.zeros((35, 45), bool)  # of a picture half as large
        brush[10:20, 5:25] = True
        mask = np.full((70, 90), 255, np.uint8)
        mask[:, 60:] = 0
        Image.fromarray(mask).save(tmp_path / "mask.png")
        *_, last = shows(painting=file, brush=brush, mask=str(tmp_path / "mask.png"), steps=6)
        changed = (pixels(last.protected["value"]) != pixels(file)).any(-1)
        assert not changed[20:40, 10:50].any() and not changed[:, 60:].any()
        assert changed[40:, :60].mean() > 0.5

    def test_mask_of_another_size_is_refused_in_a_sentence(self, file: str) -> None:
        for brush in (None, np.ones((35, 45), bool)):
            with pytest.raises(gr.Error, match="mask must be as large as the painting, 90 x 70 pixels"):
                list(shows(painting=file, mask=str(HARVEST), brush=brush))

    def test_says_when_nothing_is_changed(self, file: str) -> None:
        *_, last = shows(painting=file, epsilon=2, steps=1)
        assert last.report["max_change"] == 0 and math.isinf(last.report["psnr"])
        assert last.status["text"].endswith("sea.png. The copy came out unchanged: it protects nothing.")

    def test_expectation_is_said_where_it_was_measured(self, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        *_, last = shows(painting=file, epsilon=0)
        assert "A LoRA then" not in last.summary
        monkeypatch.setitem(EXPECTED, (last.report["model"], "balanced", 3, 1), Expected(38, -5, 95, 8))
        *_, last = shows(painting=file, epsilon=0)
        assert "A LoRA then scored 38 over all, -5 on the best protected and 95 on the least" in last.summary
        for other in ({"even": True}, {"epsilon": 9}, {"brush": np.ones((7, 9), bool)}):
            *_, last = shows(**{"painting": file, "epsilon": 0, **other})
            assert "A LoRA then" not in last.summary, other

    def test_stop(self, run: Any, file: str) -> None:
        page = shows(run, painting=file, steps=500)
        next(page), next(page)  # step 1 is shown
        run.stop()
        *_, last = page
        steps = last.report["steps"]
        assert 1 <= steps < 500 and last.status["text"].startswith(f"Stopped after {steps} step")
        assert compare(read_painting(file), read_painting(last.protected["value"])).max_change <= 8

    def test_stop_while_waiting(self, run: Any, file: str) -> None:
        line, _ = press_stop(run)
        assert line["text"] == "Stopped: it will not begin."
        show = answered(protect.show, protect.Shown)
        pages = show(run, False, None, None, *{**PROTECT, "painting": file}.values())
        assert [page.status["text"] for page in pages] == ["Stopped before it began."]

    def test_refusal_stays_on_the_page(self) -> None:
        (page,) = answered(protect.show, protect.Shown)(None, False, None, None, *PROTECT.values())
        assert page.status["text"] == "Choose a painting first."

    def test_large_painting(self, tmp_path: Path) -> None:
        levels = np.random.default_rng(0).integers(0, 256, (300, 2100, 3), np.uint8)
        *_, last = shows(painting=str(write_painting(levels, Painting(levels), tmp_path / "wide.png")), steps=1)
        assert "reduced to 2000 pixels" in last.summary
        assert Image.open(last.slider[0]).size == Image.open(last.slider[1]).size == (2000, 286)
        assert np.array_equal(pixels(last.change[0][0]), levels[:, 50:2050])
        assert Image.open(last.protected["value"]).size == (2100, 300)

    def test_alpha_and_notes(self, tmp_path: Path) -> None:
        picture = Image.effect_noise((80, 90), 60).convert("RGB").quantize(64)
        picture.info["transparency"] = 3
        picture.save(tmp_path / "a.png")
        *_, last = shows(painting=str(tmp_path / "a.png"))
        assert "palette was replaced" in last.summary
        assert Image.open(last.protected["value"]).mode == Image.open(last.slider[1]).mode == "RGBA"

    @pytest.mark.parametrize(
        "wish, sentence",
        [
            ({"epsilon": float("nan")}, "Epsilon must lie between"),
            ({"epsilon": 7.5}, "Epsilon must be a whole number"),
            ({"steps": float("inf")}, "Steps must lie between"),
            ({"seed": -1}, "Seed must lie between"),
            ({"seed": 0.5}, "Seed must be a whole number"),
            ({"objective": "evil"}, "There is no objective"),
            ({"objective": "sds", "as_published": True}, "only with the objective advdm"),
            ({"target": str(CHURCH)}, "has no target"),
            ({"strength": None, "epsilon": 0}, "Choose a strength"),
            ({"painting": None}, "Choose a painting first"),
        ],
    )
    def test_refusals(self, file: str, wish: dict[str, Any], sentence: str) -> None:
        before = app_server.runs()
        with pytest.raises(gr.Error, match=sentence) as refusal:
            list(shows(**{"painting": file, **wish}))
        assert not refusal.value.print_exception
        assert app_server.runs() == before, "nothing is left behind"


class TestSeveral:
    def test_each_is_done_and_what_cannot_be_is_named(self, file: str, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        other = str(write_painting(255 - pixels(file), Painting(pixels(file)), tmp_path / "b" / "sea.png"))
        bad = {"broken.png": HARVEST.read_bytes()[:2000], "old.gif": b"GIF89a", "notes.txt": b"sky, sea"}
        for name, content in bad.items():
            (tmp_path / name).write_bytes(content)
        files = [file, *(str(tmp_path / name) for name in bad), other]
        *pages, last = shows(files=files)
        assert any(page.status["text"].startswith("Painting 1 of 3, sea.png. Step 1 of 3") for page in pages[1:2])
        assert last.status["text"] == "Done: 2 of 5 files protected."
        archive, *copies = last.copies
        assert [Path(path).name for path in copies] == ["sea_protected.png"] * 2
        assert ZipFile(archive).namelist() == ["sea_protected.png", "sea_protected_2.png"]
        for original, copy in zip((file, other), copies, strict=True):
            assert 0 < compare(read_painting(original), read_painting(copy)).max_change <= 8
        lines = next(page.summary for page in reversed(pages) if isinstance(page.summary, str))
        for said in ("old.gif is a GIF", "1 file that is hidden", "Not done: broken.png is damaged", "- sea.png: "):
            assert said in lines

    def test_stop_keeps_what_is_done(self, run: Any, file: str) -> None:
        page = shows(run, files=[file, str(CHURCH)], steps=500)
        next(page), next(page)
        run.stop()
        *_, last = page
        assert last.status["text"] == "Stopped: 1 of 2 files protected." and len(last.copies) == 1


class TestMimicry:
    @pytest.fixture(scope="class")
    def pages(self) -> list[Any]:
        """Everything that one run shows."""
        return list(experiment())

    def test_result(self, pages: list[Any]) -> None:
        first, second, *_, last = pages
        assert first.known is None, "an older result is not offered meanwhile"
        assert second.status["text"].startswith("Learning: step 1 of 3")
        assert "do not look like the same painting" in second.finding, "said at once, not after all the work"
        assert last.status["text"].startswith("Done after about ") and last.status["text"].endswith(": harvest.webp.")
        captions = [caption for _, caption in last.pictures["value"]]
        assert captions[:5] == ["Unseen: a painting", "Original: a painting", "Protected: a painting", *captions[3:5]]
        assert captions[3:5] == ["Noise: a painting", "Unseen: a boat"] and len(captions) == 16
        assert last.pictures["columns"] == 4
        assert last.report["verdict"].lower() in last.finding.lower() and "4 pictures of each imitator" in last.finding
        assert last.report["gain_low"] <= last.report["gain"] <= last.report["gain_high"]
        assert set(last.curve["value"]["learns from"]) == {"original", "protected", "random noise"}
        names = [Path(path).name for path in last.downloads]
        assert names == [f"{side}_learned_embeds.safetensors" for side in ("original", "protected", "random_noise")]

    def test_paint_more_learns_nothing_anew(self, pages: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        known = pages[-1].known
        assert mimicry.more_label(known).startswith("Paint 4 more pictures with each imitator")
        monkeypatch.setattr("ui.experiment.learn", None)
        *_, last = mimicry.show_more(Run.new(), known)
        before = [path for path, _ in pages[-1].pictures["value"]]
        after = [path for path, _ in last.pictures["value"]]
        assert after[:16] == before and len(after) == 32
        assert last.known.count == 8 and last.report["pictures"] == 8

    def test_paint_more_ends_at_a_hundred_of_each_prompt(self, pages: list[Any]) -> None:
        known = pages[-1].known
        files = {side: files * 50 for side, files in known.pictures.items()}
        full = replace(known, settings=replace(known.settings, count=100), pictures=files)
        assert mimicry.more_label(full) == "No more pictures"
        with pytest.raises(gr.Error, match="100 pictures of each prompt already"):
            next(mimicry.show_more(Run.new(), full))

    def test_nothing_learned_recommends_the_lora(self, pages: list[Any]) -> None:
        nothing = Finding(Estimate(0.1, -0.2, 0.3), {}, {}, 18, "Nothing can be said", "Nothing can be said: so.", None)
        text = mimicry.finding(replace(pages[-1].known, finding=nothing))
        assert text.startswith("### Nothing can be said\nSo.") and "**Try the LoRA**" in text
        taught = replace(nothing, gain=Estimate(0.4, 0.3, 0.5))
        assert "LoRA" not in mimicry.finding(replace(pages[-1].known, finding=taught))

    def test_image_to_image_learns_nothing(self) -> None:
        *_, last = experiment(imitator="repaint", strength=0.3, protected=[str(HARVEST)])
        assert last.downloads is None and not last.curve["visible"] and last.report["repaint_strength"] == 0.3
        assert len(last.pictures["value"]) == 16

    def test_stop_while_learning_can_be_painted_with(self, run: Any) -> None:
        page = experiment(run, steps=1000)
        next(page), next(page)
        run.stop()
        *_, last = page
        assert last.status["text"].startswith("Stopped after") and last.finding.startswith("### No verdict yet")
        assert last.pictures["value"] == [] and len(last.downloads) == 3
        *_, more = mimicry.show_more(Run.new(), last.known)
        assert len(more.pictures["value"]) == 16 and more.report["verdict"], "enough for a verdict"

    def test_stop_while_painting_judges_what_is_there(self, run: Any) -> None:
        page = experiment(run, imitator="lora", control=False, count=50)
        for shown in page:
            if len(shown.pictures["value"] if isinstance(shown.pictures, dict) else []) >= 5 * 3:
                break
        run.stop()
        *_, last = page
        assert [Path(path).name for path in last.downloads] == [
            f"{side}_lora.safetensors" for side in ("original", "protected")
        ]
        assert last.report["imitator"] == "lora"
        assert last.report["verdict"] and 4 <= last.report["pictures"] < 100

    @pytest.mark.parametrize(
        "wish, complaint",
        [
            ({"original": []}, "Choose an original"),
            ({"original": [str(HARVEST)] * 2}, "as many protected copies as originals, not 1 for 2"),
            ({"steps": float("nan")}, "Steps must lie between"),
            ({"count": 1.5}, "Pictures a prompt must be a whole number"),
            ({"seed": -1}, "Seed must lie between"),
            ({"prompts": None}, "1 to 12 prompts, one a line, not 0"),
            ({"prompts": "a boat"}, r"needs a \*"),
            ({"prompts": "a " * 60 + "*", "count": 4}, "too long"),
            ({"prompts": "*" * 300}, "at most 200 characters"),
            ({"count": 1}, "At least 4 pictures of each imitator"),
        ],
    )
    def test_refusals(self, wish: dict[str, Any], complaint: str) -> None:
        with pytest.raises(gr.Error, match=complaint) as refusal:
            list(experiment(**wish))
        assert not refusal.value.print_exception

    def test_too_many_pixels(self, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ui.experiment.MOST_PIXELS", 10_000)
        with pytest.raises(gr.Error, match="Together the pictures"):
            list(experiment(original=[file] * 2, protected=[file] * 2))

    def test_pair_of_the_other_tab(self, tmp_path: Path) -> None:
        pair = (str(HARVEST), str(CHURCH))
        assert mimicry.use_pair(pair)[:2] == ([pair[0]], [pair[1]])
        for gone in (None, (pair[0], str(tmp_path / "deleted.png"))):
            *same, line = mimicry.use_pair(gone)
            assert same == [gr.skip(), gr.skip()] and line["text"].startswith("Protect a painting first")


class TestTimes:
    def test_said_before_the_run_once_a_pass_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wishes = [MIMIC[name] for name in list(MIMIC)[2:]]
        monkeypatch.setattr(pace, "PACES", {})
        assert protect.describe(25, 1, "advdm")["info"] == "Each painting takes 25 steps."
        assert mimicry.describe(*wishes) == "3 steps, 16 pictures."
        pace.gauge()
        assert pace.PACES["pass"] > 0
        monkeypatch.setattr(pace, "PACES", {"pass": 0.1, "attack mist": 1.0})
        assert protect.describe(25, 1, "advdm")["info"] == "Each painting takes 25 steps, about 10 s."
        assert protect.describe(100, 4, "mist")["info"] == "Each painting takes 100 steps, about 10 min."
        assert mimicry.describe(*wishes) == "3 steps, 16 pictures, about 27 s."
        assert mimicry.describe("repaint", *wishes[1:]).startswith("16 pictures, about ")

    def test_what_begins_and_ends_a_run_is_no_part_of_its_pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pace, "PACES", {})
        clock, times = pace.Clock({"attack": 10}), iter([5, 6, 7, 99])
        monkeypatch.setattr(pace.time, "monotonic", lambda: next(times))
        for done in (0.0, 0.5, 1.0, 1.0):
            clock.tick("attack", done)
        assert pace.PACES["attack"] == pytest.approx(0.2)

    @pytest.mark.parametrize("effort, numbers", [("Quick", (25, 1)), ("Thorough", (100, 4)), (None, (25, 4))])
    def test_effort(self, effort: str | None, numbers: tuple[int, int]) -> None:
        assert protect.describe(*numbers, "advdm")["value"] == effort

    def test_zero_gpu_is_asked_for_what_it_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pace, "PACES", {"pass": pace.ZERO_PASS})
        monkeypatch.setattr(pace, "ON_ZERO", True)
        for steps, samples in protect.EFFORTS.values():
            assert pace.gpu_seconds(pace.attacking(steps, samples, "advdm")) <= pace.ANONYMOUS_SECONDS
            assert "sign in" not in protect.describe(steps, samples, "advdm")["info"]
        assert protect.describe(500, 4, "advdm")["info"].endswith("; sign in to Hugging Face first.")


def test_one_thread_does_all_of_a_run() -> None:
    """Gradio asks for each moment from whichever thread is free."""
    ended: list[int] = []

    def work() -> Generator[int, None, None]:
        try:
            while True:
                yield threading.get_ident()
        finally:
            ended.append(threading.get_ident())

    moments = on_gpu(1, work)
    seen = {ThreadPoolExecutor(1).submit(next, moments).result() for _ in range(3)}
    moments.close()
    assert len(seen) == 1 and seen == {*ended} and threading.get_ident() not in seen


class TestFiles:
    def test_old_files_go_but_not_those_of_a_run_or_of_the_page(self, run: Any) -> None:
        home = app_server.home()
        old, busy = (Path(upload(f"{name}.png", name.encode())) for name in ("old", "busy"))
        later = time.time() + 1000
        with run.working(str(busy)):
            (run.folder / "result.png").touch()
            clean(home, later)
            assert busy.exists() and (run.folder / "result.png").exists()
            assert not old.exists()
        assert len(list((home / "page").glob("*.webp"))) == 8
        clean(home, later)
        os.utime(run.folder, (0, 0)) if run.folder.exists() else None
        clean(home, later + 1000)
        assert not busy.exists() and not run.folder.exists()

    def test_leaving_leaves_no_file(self, run: Any, file: str) -> None:
        page = shows(run, painting=file, steps=500)
        next(page), next(page)
        assert run.folder.exists()
        page.close()
        assert not run.folder.exists()

    def test_full_disk_is_a_sentence(self, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*given: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("ui.protect.write_preview", full)
        with pytest.raises(gr.Error, match="cannot be written on this machine: no space left on device"):
            list(shows(painting=file))

    def test_tiff_is_shown_by_a_preview_and_protected_as_it_is(self, client: Client) -> None:
        levels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
        Image.fromarray(levels).save(folder := app_server.home() / "page" / "sea.tif")
        try:
            preview = shown_as(str(folder))
            assert Path(preview).name == "sea.tif.png" and np.array_equal(pixels(preview), levels)
            assert uploaded(preview) == str(folder)
            assert shown_as(str(HARVEST)) == gr.skip()
        finally:
            for path in folder.parent.glob("sea.tif*"):
                path.unlink()


class TestApi:
    def test_shape(self, client: Client) -> None:
        api = client.view_api(return_format="dict")["named_endpoints"]
        assert list(api) == ["/protect", "/mimic"]
        for name, wishes in (("/protect", PROTECT), ("/mimic", MIMIC)):
            parameters = {p["parameter_name"]: p["python_type"]["type"] for p in api[name]["parameters"]}
            assert list(parameters) == list(wishes)
        defaults = {p["parameter_name"]: p["parameter_default"] for p in api["/protect"]["parameters"]}
        assert defaults == {**PROTECT, "epsilon": 0, "steps": 25}
        assert [r["python_type"]["type"] for r in api["/protect"]["returns"]] == ["filepath", ANY_JSON]
        assert api["/protect"]["description"].startswith("Protect a painting from diffusion mimicry")
        assert api["/mimic"]["description"].startswith("Let one imitator learn from originals")

    def test_what_it_says_of_files_is_what_happens(self, client: Client) -> None:
        info = client.view_api(return_format="dict")["named_endpoints"]
        said = [p for name in info for p in info[name]["parameters"] if "filepath" in p["python_type"]["type"]]
        assert len(said) == 5
        for parameter in said:
            assert "http" not in str(parameter["example_input"])

    def test_defaults(self, client: Client, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        before = app_server.runs()
        path, report = client.predict(handle_file(HARVEST), epsilon=8, steps=5, api_name="/protect")
        assert Path(path).name == "harvest_protected.png"
        assert {field.name for field in fields(Settings)} < set(report)
        # Bit for bit what the library writes.
        here = advdm.protect(read_painting(HARVEST), model(), steps=5).save(tmp_path / "here.png")
        assert Path(path).read_bytes() == here.read_bytes()
        (folder,) = app_server.runs() - before
        assert [left.name for left in folder.iterdir()] == ["harvest_protected.png"], "nothing else is kept"
        out, err = capfd.readouterr()
        assert "harvest" not in out + err

    def test_mimic(self, client: Client) -> None:
        one = handle_file(HARVEST), handle_file(CHURCH)
        pictures, report = client.predict(*one, steps=1, count=4, prompts="a boat *", api_name="/mimic")
        assert len(pictures) == 16 and pictures[1]["caption"] == "Original: a boat *"
        assert {"gain", "gain_low", "gain_high", "imitation", "sentence", "imitator"} <= set(report)
        pair = [handle_file(HARVEST), handle_file(CHURCH)]
        *_, report = client.predict(pair, pair, steps=1, count=4, prompts="*", control=False, api_name="/mimic")
        assert report["distance"]["original"] == pytest.approx(report["distance"]["protected"], rel=1e-3)

    def test_one_at_a_time_and_each_knows_his_place(
        self, client: Client, file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert app_server.app().demo._queue.max_size >= 50, "nobody is turned away below"
        app_server.endless_runs(monkeypatch)
        first = client.submit(handle_file(file), epsilon=8, steps=app_server.ENDLESS, api_name="/protect")
        try:
            app_server.wait_until(first.outputs)
            second = client.submit(handle_file(file), epsilon=8, steps=1, api_name="/protect")
            app_server.wait_until(lambda: second.status().code == Status.IN_QUEUE)
            third = client.submit(handle_file(HARVEST), handle_file(CHURCH), steps=1, count=1, api_name="/mimic")
            app_server.wait_until(lambda: third.status().code == Status.IN_QUEUE and third.status().rank == 1)
            assert second.outputs() == []
            before = app_server.runs()
        finally:
            first.cancel()  # whoever leaves frees the lane, and leaves nothing
        path, _ = second.result(app_server.LONG)
        assert path.endswith("sea_protected.png")
        third.result(app_server.LONG)
        assert len(app_server.runs() - before) <= 2


def wishes_of(name: str, painting: Any, **other: Any) -> list[Any]:
    """The data of one of the two API events."""
    if name == "mimic":
        return [*{**MIMIC, "original": painting, "protected": painting, **other}.values()]
    return [*{**PROTECT, "painting": painting, **other}.values()]


class TestStrangers:
    @pytest.mark.parametrize("name", ["protect", "mimic"])
    @pytest.mark.parametrize(
        "path", ["/etc/passwd", str(HARVEST), "../../etc/passwd", "{upload}/../../../../../etc/passwd", ""]
    )
    def test_outside_paths(self, name: str, path: str) -> None:
        path = path.format(upload=upload("a.webp", HARVEST.read_bytes()))
        for picture in (as_file(path), [as_file(path)], [{"image": as_file(path), "caption": None}]):
            answer = call(name, wishes_of(name, picture))
            assert not answer["success"] and "passwd" not in str(answer["output"])
            assert "pload the p" in answer["output"]["error"]

    @pytest.mark.parametrize("name", ["show", "show_1", "shown_as", "new_painting", "new_files"])
    def test_outside_paths_of_the_page(self, name: str) -> None:
        bad = as_file("/etc/passwd")
        editor = {"background": bad, "layers": [bad], "composite": None, "id": None}
        data = {
            "show": [None, False, None, editor, *wishes_of("protect", None)],
            "show_1": [None, *wishes_of("mimic", [bad])],
            "new_files": [[bad]],
        }.get(name, [bad])
        answer = call(name, data)
        assert not answer["success"] and "root:" not in str(answer["output"])

    @pytest.mark.parametrize("address", ["{app}config", "http://169.254.169.254/latest", "https://example.com/a.png"])
    def test_addresses_are_not_fetched(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        fetched: list[str] = []
        monkeypatch.setattr(gr.processing_utils, "async_ssrf_protected_download", lambda url, **_: fetched.append(url))
        picture = as_file(address.format(app=app_server.url()))
        for name, data in (("protect", picture), ("mimic", [picture])):
            assert "pload the p" in call(name, wishes_of(name, data))["output"]["error"]
        assert not call("new_files", [[picture]])["success"]
        assert fetched == []

    @pytest.mark.parametrize(
        "wish", [{"epsilon": "8"}, {"steps": None}, {"samples": []}, {"objective": ["advdm"]}, {"seed": {}}]
    )
    def test_what_is_no_setting_is_a_sentence_and_not_logged(
        self, capfd: pytest.CaptureFixture[str], wish: dict[str, Any]
    ) -> None:
        picture = as_file(upload("unpublished.webp", HARVEST.read_bytes()))
        answer = call("protect", wishes_of("protect", picture, **wish))
        assert answer["output"]["error"].endswith((".", "]"))  # Gradio's own sentence ends with the choices
        assert capfd.readouterr() == ("", "")

    def test_too_many_are_refused_before_they_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[Path] = []
        monkeypatch.setattr("ui.uploads.check_painting", read.append)
        monkeypatch.setattr("ui.experiment.read_painting", read.append)
        pictures = [as_file(upload("a.webp", HARVEST.read_bytes()))] * 21
        answer = call("mimic", wishes_of("mimic", pictures))
        assert answer["output"]["error"] == "At most 20 pictures of one painter, please."
        assert read == []

    @pytest.mark.parametrize("pictures", [[], None, "text", 3, {"image": 3}, [{"video": 3}], [None], [[[]]]])
    def test_what_is_no_picture(self, pictures: Any) -> None:
        assert not call("mimic", wishes_of("mimic", pictures))["success"]

    def test_upload_that_was_deleted_meanwhile(self) -> None:
        path = upload("late.webp", HARVEST.read_bytes() + b"late")
        Path(path).unlink()
        assert call("protect", wishes_of("protect", as_file(path)))["output"]["error"] == "late.webp cannot be found."

    def test_too_large_an_upload(self) -> None:
        large = {"files": ("a.png", bytes(160 * 2**20 + 1))}
        assert WEB.post(f"{app_server.url()}gradio_api/upload", files=large).status_code == 413

    @pytest.mark.parametrize(
        "address", ["file=/etc/passwd", "file=app.py", "file=https://example.com", "proxy=http://a"]
    )
    def test_other_files_are_not_served(self, address: str) -> None:
        assert WEB.get(f"{app_server.url()}gradio_api/{address}").status_code in (400, 403)

    def test_the_queue_cannot_be_passed_by(self) -> None:
        body = {"data": wishes_of("protect", as_file(upload("a.webp", HARVEST.read_bytes())))}
        answer = WEB.post(f"{app_server.url()}gradio_api/run/protect", json=body)
        assert answer.status_code == 404 and "join the queue" in answer.text

    @pytest.mark.parametrize(
        "name, stem",
        [
            ("../../evil.png", "evil"),
            ("<img src=x onerror=y>.png", "img src=x onerror=y"),
            ("\x1b[31mred\u202egnp.exe", "[31mredgnp"),
            ("Die Ernte 🎨.png", "Die Ernte 🎨"),
            ("a" * 300 + ".png", "a" * 100),
        ],
    )
    def test_names(self, name: str, stem: str) -> None:
        picture = as_file(upload(name, HARVEST.read_bytes()), orig_name=name)
        path = Path(call("protect", wishes_of("protect", picture, steps=1))["output"]["data"][0]["path"])
        assert path.name.startswith(stem) and path.name.endswith("_protected.png") and path.exists()


class TestStart:
    def test_missing_model_is_one_sentence(self) -> None:
        environment = {**os.environ, "ADVDM_MODEL": "/nowhere/at/all"}
        found = subprocess.run([sys.executable, ROOT / "app.py"], env=environment, capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (2, "")
        assert "/nowhere/at/all" in found.stderr and found.stderr.count("\n") == 1

    def test_from_another_folder_with_a_folder_for_its_files_that_is_relative_and_spaced(self, tmp_path: Path) -> None:
        tiny_pipeline().save_pretrained(tmp_path / "tiny")
        environment = {**os.environ, "GRADIO_TEMP_DIR": "my files/here", "ADVDM_MODEL": str(tmp_path / "tiny")}
        app = subprocess.Popen(
            [sys.executable, "-u", ROOT / "app.py"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            base = next(line.split()[-1] + "/" for line in app.stdout or () if "local URL" in line)
            chosen = call("pick", [], base, {"index": 3, "value": None})
            assert chosen["success"], "an example is chosen"
            example = chosen["output"]["data"][0]
            assert WEB.get(example["url"]).content == HARVEST.read_bytes()
            done = call("protect", wishes_of("protect", as_file(example["path"]), steps=1), base)
            assert done["success"]
            assert Path(done["output"]["data"][0]["path"]).is_relative_to(tmp_path / "my files" / "here")
        finally:
            app.terminate()
            said, _ = app.communicate()
        assert str(tmp_path) not in said and str(ROOT) not in said
        assert not any((tmp_path / "my files" / "here").glob("advdm-*")), "what visitors left goes with the app"
