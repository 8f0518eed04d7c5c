"""The app without a browser: its handlers called directly, its API, what strangers send to it, and how it starts."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path
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
from advdm.statistics import Estimate
from tests.app_server import EXAMPLES, LONG, WEB, app, as_file, call, home, runs, upload, url, wait_until
from tests.command_line import ROOT, start
from ui import attack, mimicry, pace, protect
from ui.expected import EXPECTED, Expected
from ui.runs import HIDDEN, Run, answered, clean, model, on_gpu, press_stop
from ui.uploads import shown_as, uploaded

HARVEST, CHURCH = str(EXAMPLES / "harvest.webp"), str(EXAMPLES / "church_at_auvers.webp")
PICTURE = Path(HARVEST).read_bytes()
PROTECT = attack.Order(strength="balanced", epsilon=8, steps=3, samples=1, objective="advdm")
PROMPTS = "a painting in the style of *\n\n  a boat in the style of {}  \n"
MIMIC = mimicry.Order([HARVEST], [CHURCH], "inversion", True, steps=3, prompts=PROMPTS, count=2, strength=0.5, seed=3)


@pytest.fixture(scope="module", autouse=True)
def the_app():
    return app()


@pytest.fixture
def run():
    """A run that has not begun."""
    return Run.new()


@pytest.fixture(scope="module")
def client():
    client = Client(url(), verbose=False, httpx_kwargs={"timeout": 120})
    yield client
    client.close()


@pytest.fixture
def file(painting, tmp_path):
    return str(painting.save(tmp_path / "sea.png"))


@pytest.fixture(scope="module")
def pages():
    """Everything that one mimicry experiment shows."""
    return list(experiment())


def shows(run=None, files=None, brush=None, **wishes):
    """What the Protect tab shows, one painting or several."""
    return protect.show(run or Run.new(), bool(files), files, brush, *PROTECT._replace(**wishes))


def experiment(run=None, **wishes):
    """What the Mimicry tab shows."""
    return mimicry.show(run or Run.new(), *MIMIC._replace(**wishes))


def ask(name, pictures, **wishes):
    """The answer of an event of the API to raw HTTP."""
    order = (
        PROTECT._replace(painting=pictures)
        if name == "protect"
        else MIMIC._replace(original=pictures, protected=pictures)
    )
    return call(name, order._replace(**wishes))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


class TestProtect:
    def test_result(self, file):
        first, second, *_, last = shows(painting=file)
        assert first.protected["value"] is None, "an older result is not offered meanwhile"
        assert second.status["text"].startswith("Step 1 of 3") and "progress" in second.status["bar"]
        assert last.status == {"text": "Done after 3 steps: sea.png.", "bar": ""}
        path = last.protected["value"]
        assert path.endswith("/sea_protected.png") and last.pair == (file, path)
        comparison = compare(read_painting(file), read_painting(path))
        assert 0 < comparison.max_change <= 8
        assert {name: last.report[name] for name in asdict(comparison)} == pytest.approx(asdict(comparison), abs=0.01)
        assert f"{last.report['visibility']:.1f} of 10, where 10 is no difference" in last.summary
        # The page shows exactly what was written, and the change enlarged around grey.
        assert np.array_equal(pixels(last.slider[0]), pixels(file))
        assert np.array_equal(pixels(last.slider[1]), pixels(path))
        change = pixels(path).astype(int) - pixels(file)
        assert np.array_equal(pixels(last.change[2][0]), np.clip(128 + 10 * change, 0, 255))

    def test_target_picture(self, file):
        *_, own = shows(painting=file, objective="mist")
        *_, driven = shows(painting=file, objective="mist", target=CHURCH)
        assert not np.array_equal(pixels(driven.protected["value"]), pixels(own.protected["value"]))

    def test_what_is_painted_over_or_black_in_the_mask_stays_clean(self, file, tmp_path):
        brush = np.zeros((35, 45), bool)  # of a picture half as large
        brush[10:20, 5:25] = True
        mask = np.full((70, 90), 255, np.uint8)
        mask[:, 60:] = 0
        Image.fromarray(mask).save(tmp_path / "mask.png")
        *_, last = shows(painting=file, brush=brush, mask=str(tmp_path / "mask.png"), steps=6)
        changed = (pixels(last.protected["value"]) != pixels(file)).any(-1)
        assert not changed[20:40, 10:50].any() and not changed[:, 60:].any()
        assert changed[40:, :60].mean() > 0.5
        assert last.report["mask"] == "mask.png" and last.report["brush"], "or nobody could make it again"

    def test_says_when_nothing_is_changed(self, file):
        *_, last = shows(painting=file, epsilon=2, steps=1)
        assert last.report["max_change"] == 0 and math.isinf(last.report["psnr"])
        assert last.status["text"].endswith("sea.png. The copy came out unchanged: it protects nothing.")

    def test_expectation_is_said_only_where_it_was_measured(self, file, monkeypatch):
        measured = {"painting": file, "epsilon": 0}
        *_, last = shows(**measured)
        assert f"Epsilon {last.report['epsilon']}, chosen for this painting by Balanced" in last.summary
        assert "A LoRA then" not in last.summary
        monkeypatch.setitem(EXPECTED, (model().name, "balanced", 3, 1), Expected(38, -5, 95, 8))
        *_, last = shows(**measured)
        assert "A LoRA then scored 38 over all, -5 on the best protected and 95 on the least" in last.summary
        for other in ({"even": True}, {"epsilon": 9}, {"brush": np.ones((7, 9), bool)}):
            *_, last = shows(**(measured | other))
            assert "A LoRA then" not in last.summary, other

    def test_stop(self, run, file):
        page = shows(run, painting=file, steps=500)
        next(page), next(page)  # step 1 is shown
        run.stop()
        *_, last = page
        steps = last.report["steps"]
        assert 1 <= steps < 500 and last.status["text"].startswith(
            f"Stopped after {steps} of 500 steps: sea.png. It protects"
        )
        assert compare(read_painting(file), read_painting(last.protected["value"])).max_change <= 8

    def test_stop_while_waiting(self, run, file):
        line, _ = press_stop(run)
        assert line["text"] == "Stopped: it will not begin."
        pages = answered(protect.show, protect.Shown)(run, False, None, None, *PROTECT._replace(painting=file))
        assert [page.status["text"] for page in pages] == ["Stopped before it began."]

    @pytest.mark.parametrize("picture, small", (("sea", True), ("harvest", False)))
    def test_a_small_picture_is_called_so(self, file, picture, small):
        *_, last = shows(painting={"sea": file, "harvest": HARVEST}[picture], steps=1)
        assert ("this small is changed coarsely" in last.summary) == small

    def test_a_faint_copy_is_called_so(self, file):
        *_, last = shows(painting=file, epsilon=4, steps=1, step_size=1)
        assert last.report["max_change"] == 1 and "So faint a change may protect little." in last.summary
        *_, last = shows(painting=file, epsilon=32, even=True, steps=6)
        assert last.report["visibility"] < 9.5 and "faint" not in last.summary

    def test_another_painting_is_no_longer_the_pair_of_the_mimicry_tab(self, file):
        *_, pair = protect.new_painting(file)
        assert pair is None

    def test_a_refused_mask_leaves_nothing_of_an_earlier_result(self, file):
        first, *_ = shows(painting=file)
        assert first.single == HIDDEN and first.summary == "" and first.change is None

    def test_refusal_stays_on_the_page(self):
        (page,) = answered(protect.show, protect.Shown)(None, False, None, None, *PROTECT)
        assert page.status["text"] == "Choose a painting first."

    def test_large_painting(self, tmp_path):
        levels = np.random.default_rng(0).integers(0, 256, (300, 2100, 3), np.uint8)
        *_, last = shows(painting=str(Painting(levels).save(tmp_path / "wide.png")), steps=1)
        assert "reduced to 2000 pixels" in last.summary
        assert Image.open(last.slider[0]).size == Image.open(last.slider[1]).size == (2000, 286)
        assert np.array_equal(pixels(last.change[0][0]), levels[:, 50:2050])
        assert Image.open(last.protected["value"]).size == (2100, 300)

    def test_alpha_and_notes(self, tmp_path):
        picture = Image.effect_noise((80, 90), 60).convert("RGB").quantize(64)
        picture.save(tmp_path / "a.png", transparency=3)
        *_, last = shows(painting=str(tmp_path / "a.png"))
        assert "palette was replaced" in last.summary
        assert Image.open(last.protected["value"]).mode == Image.open(last.slider[1]).mode == "RGBA"

    @pytest.mark.parametrize(
        "wish, sentence",
        [
            ({"epsilon": float("nan")}, "Epsilon must lie between"),
            ({"seed": 0.5}, "Seed must be a whole number"),
            ({"target": CHURCH}, "has no target"),
            ({"mask": HARVEST}, "mask must be as large as the painting, 90 x 70 pixels"),
            ({"mask": HARVEST, "brush": np.ones((35, 45), bool)}, "mask must be as large as the painting"),
            ({"strength": None, "epsilon": 0}, "Choose a strength"),
        ],
    )
    def test_refusals_leave_nothing(self, file, wish, sentence):
        before = runs()
        with pytest.raises(gr.Error, match=sentence) as refusal:
            list(shows(**{"painting": file, **wish}))
        assert not refusal.value.print_exception
        assert runs() == before


class TestSeveral:
    def test_each_is_done_and_what_cannot_be_is_named(self, file, tmp_path):
        (tmp_path / "b").mkdir()
        other = str(Painting(255 - pixels(file)).save(tmp_path / "b" / "sea.png"))
        bad = {"broken.png": PICTURE[:2000], "old.gif": b"GIF89a", "notes.txt": b"sky, sea"}
        for name, content in bad.items():
            (tmp_path / name).write_bytes(content)
        _, second, *pages, last = shows(files=[file, *(str(tmp_path / name) for name in bad), other])
        assert second.status["text"].startswith("Painting 1 of 3, sea.png. Step 1 of 3")
        assert last.status["text"] == "Done: 2 of 5 files protected."
        archive, *copies = last.copies
        assert [Path(path).name for path in copies] == ["sea_protected.png"] * 2
        assert ZipFile(archive).namelist() == ["sea_protected.png", "sea_protected_2.png"]
        for original, copy in zip((file, other), copies, strict=True):
            assert 0 < compare(read_painting(original), read_painting(copy)).max_change <= 8
        lines = next(page.summary for page in reversed(pages) if isinstance(page.summary, str))
        for said in ("old.gif is a GIF", "1 file that is hidden", "Not done: broken.png is damaged", "- sea.png: "):
            assert said in lines

    def test_stop_keeps_what_is_done(self, run, file):
        page = shows(run, files=[file, CHURCH], steps=500)
        next(page), next(page)
        run.stop()
        *_, last = page
        assert last.status["text"] == "Stopped: 1 of 2 files protected." and len(last.copies) == 1


class TestMimicry:
    def test_result(self, pages):
        first, second, *_, last = pages
        assert first.known is None, "an older result is not offered meanwhile"
        assert second.status["text"].startswith("Learning: step 1 of 3")
        assert "do not look like the same painting" in second.finding, "said at once, not after all the work"
        assert last.status["text"].startswith("Done after about ") and last.status["text"].endswith(": harvest.webp.")
        sides = ("Unseen", "Original", "Protected", "Noise")
        row = [f"{side}: a {subject}" for subject in ("painting", "boat") for side in sides]
        assert [caption for _, caption in last.pictures["value"]] == row * 2 and last.pictures["columns"] == 4
        assert last.report["verdict"].lower() in last.finding.lower() and "4 pictures of each imitator" in last.finding
        assert last.report["gain_low"] <= last.report["gain"] <= last.report["gain_high"]
        assert set(last.curve["value"]["learns from"]) == {"original", "protected", "random noise"}
        names = [Path(path).name for path in last.downloads]
        assert names == [f"{side}_learned_embeds.safetensors" for side in ("original", "protected", "random_noise")]

    def test_paint_more_learns_nothing_anew(self, run, pages, monkeypatch):
        known = pages[-1].known
        assert mimicry.more_label(known).startswith("Paint 4 more pictures with each imitator")
        monkeypatch.setattr("ui.experiment.learn", None)
        *_, last = mimicry.show_more(run, known)
        assert last.pictures["value"][:16] == pages[-1].pictures["value"] and len(last.pictures["value"]) == 32
        assert last.known.count == last.report["pictures"] == 8

    def test_paint_more_ends_at_a_hundred_of_each_prompt(self, run, pages):
        known = pages[-1].known
        files = {side: files * 50 for side, files in known.pictures.items()}
        full = replace(known, settings=replace(known.settings, count=100), pictures=files)
        assert mimicry.more_label(full) == "No more pictures"
        with pytest.raises(gr.Error, match="100 pictures of each prompt already"):
            next(mimicry.show_more(run, full))

    def test_nothing_learned_recommends_the_lora(self, pages):
        nothing = Finding(Estimate(0.1, -0.2, 0.3), {}, {}, 18, "Nothing can be said", "Nothing can be said: so.", None)
        text = mimicry.finding(replace(pages[-1].known, finding=nothing))
        assert text.startswith("### Nothing can be said\nSo.") and "**Try the LoRA**" in text
        taught = replace(nothing, gain=Estimate(0.4, 0.3, 0.5))
        assert "LoRA" not in mimicry.finding(replace(pages[-1].known, finding=taught))

    def test_image_to_image_learns_nothing(self):
        *_, last = experiment(imitator="repaint", strength=0.3, protected=[HARVEST])
        assert last.downloads is None and not last.curve["visible"] and last.report["repaint_strength"] == 0.3
        assert len(last.pictures["value"]) == 16

    def test_stop_while_learning_can_be_painted_with(self, run):
        page = experiment(run, steps=1000)
        next(page), next(page)
        run.stop()
        *_, last = page
        assert last.status["text"].startswith("Stopped after") and last.finding.startswith("### No verdict yet")
        assert last.pictures["value"] == [] and len(last.downloads) == 3
        *_, more = mimicry.show_more(Run.new(), last.known)
        assert len(more.pictures["value"]) == 16 and more.report["verdict"], "enough for a verdict"

    def test_stop_while_painting_judges_what_is_there(self, run):
        page = experiment(run, imitator="lora", control=False, count=50)
        next(shown for shown in page if shown.pictures and len(shown.pictures["value"]) >= 5 * 3)
        run.stop()
        *_, last = page
        names = [Path(path).name for path in last.downloads]
        assert names == ["original_lora.safetensors", "protected_lora.safetensors"]
        assert last.report["imitator"] == "lora"
        assert last.report["verdict"] and 4 <= last.report["pictures"] < 100

    @pytest.mark.parametrize(
        "wish, complaint",
        [
            ({"original": []}, "Choose an original"),
            ({"original": [HARVEST] * 2}, "as many protected copies as originals, not 1 for 2"),
            ({"steps": float("nan")}, "Steps must lie between"),
            ({"prompts": None}, "1 to 12 prompts, one a line, not 0"),
            ({"prompts": "a boat"}, r"needs a \*"),
            ({"prompts": "a " * 60 + "*", "count": 4}, "too long"),
            ({"prompts": "*" * 300}, "at most 200 characters"),
        ],
    )
    def test_refusals(self, wish, complaint):
        with pytest.raises(gr.Error, match=complaint) as refusal:
            list(experiment(**wish))
        assert not refusal.value.print_exception

    def test_too_many_pixels(self, file, monkeypatch):
        monkeypatch.setattr("ui.experiment.MOST_PIXELS", 10_000)
        with pytest.raises(gr.Error, match="Together the pictures"):
            list(experiment(original=[file] * 2, protected=[file] * 2))

    def test_pair_of_the_other_tab(self, tmp_path):
        assert mimicry.use_pair((HARVEST, CHURCH))[:2] == ([HARVEST], [CHURCH])
        for gone in (None, (HARVEST, str(tmp_path / "deleted.png"))):
            *same, line = mimicry.use_pair(gone)
            assert same == [gr.skip(), gr.skip()] and line["text"].startswith("Protect a painting first")


class TestTimes:
    def test_said_before_the_run_once_a_pass_is_known(self, monkeypatch):
        monkeypatch.setattr(pace, "PACES", {})
        assert protect.describe(25, 1, "advdm")["info"] == "Each painting takes 25 steps."
        assert mimicry.describe(*MIMIC[2:]) == "3 steps, 16 pictures."
        pace.gauge()
        assert pace.PACES["pass"] > 0
        monkeypatch.setattr(pace, "PACES", {"pass": 0.1, "attack mist": 1.0})
        assert protect.describe(25, 1, "advdm")["info"] == "Each painting takes 25 steps, about 10 s."
        assert protect.describe(100, 4, "mist")["info"] == "Each painting takes 100 steps, about 10 min."
        assert mimicry.describe(*MIMIC[2:]) == "3 steps, 16 pictures, about 31 s."
        assert mimicry.describe("repaint", *MIMIC[3:]).startswith("16 pictures, about ")

    def test_what_begins_and_ends_a_run_is_no_part_of_its_pace(self, monkeypatch):
        monkeypatch.setattr(pace, "PACES", {})
        clock, times = pace.Clock({"attack": 10}), iter([5, 6, 7, 99])
        monkeypatch.setattr(pace.time, "monotonic", lambda: next(times))
        for done in (0.0, 0.5, 1.0, 1.0):
            clock.tick("attack", done)
        assert pace.PACES["attack"] == pytest.approx(0.2)

    def test_effort_has_a_word_where_the_numbers_are_its_own(self):
        words = [protect.describe(*numbers, "advdm")["value"] for numbers in ((25, 1), (100, 4), (25, 4))]
        assert words == ["Quick", "Thorough", None]

    def test_zero_gpu_is_asked_for_what_it_takes(self, monkeypatch):
        monkeypatch.setattr(pace, "PACES", {"pass": pace.ZERO_PASS})
        monkeypatch.setattr(pace, "ON_ZERO", True)
        for steps, samples in protect.EFFORTS.values():
            assert pace.gpu_seconds(pace.attacking(steps, samples, "advdm")) <= pace.ANONYMOUS_SECONDS
            assert "sign in" not in protect.describe(steps, samples, "advdm")["info"]
        assert protect.describe(500, 4, "advdm")["info"].endswith("; sign in to Hugging Face first.")


def test_one_thread_does_all_of_a_run_whichever_thread_gradio_asks_from():
    threads = []

    def work():
        try:
            while True:
                yield threads.append(threading.get_ident()) or "moment"
        finally:
            threads.append(threading.get_ident())

    moments = on_gpu(1, work)
    for _ in range(3):
        ThreadPoolExecutor(1).submit(next, moments).result()
    moments.close()
    assert len(threads) == 4 and len({*threads}) == 1 and threading.get_ident() not in threads


class TestFiles:
    def test_old_files_go_but_not_those_of_a_run_or_of_the_page(self, run):
        old, busy = (Path(upload(name, name.encode())) for name in ("old.png", "busy.png"))
        later = time.time() + 1000
        with run.working(str(busy)):
            (run.folder / "result.png").touch()
            clean(home(), later)
            assert busy.exists() and (run.folder / "result.png").exists() and not old.exists()
        clean(home(), later)
        assert not busy.exists() and not run.folder.exists()
        assert len(list((home() / "page").glob("*.webp"))) == 8

    def test_leaving_leaves_no_file(self, run, file):
        page = shows(run, painting=file, steps=500)
        next(page), next(page)
        assert run.folder.exists()
        page.close()
        assert not run.folder.exists()

    def test_full_disk_is_a_sentence(self, file, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Painting, "save", full)
        with pytest.raises(gr.Error, match="cannot be written on this machine: no space left on device"):
            list(shows(painting=file))

    def test_tiff_is_shown_by_a_preview_and_protected_as_it_is(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        levels = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
        Image.fromarray(levels).save(tmp_path / "sea.tif")
        preview = shown_as(str(tmp_path / "sea.tif"))
        assert preview == str(tmp_path / "sea.tif.png") and np.array_equal(pixels(preview), levels)
        assert uploaded(preview) == str(tmp_path / "sea.tif")
        assert shown_as(HARVEST) == gr.skip()


class TestApi:
    def test_parameters_and_results(self, client):
        api = client.view_api(return_format="dict")["named_endpoints"]
        assert list(api) == ["/protect", "/mimic"]
        for name, order in (("/protect", PROTECT), ("/mimic", MIMIC)):
            assert [one["parameter_name"] for one in api[name]["parameters"]] == list(order._fields)
        defaults = {one["parameter_name"]: one["parameter_default"] for one in api["/protect"]["parameters"]}
        assert (defaults["strength"], defaults["epsilon"], defaults["steps"]) == ("balanced", 0, 25)
        results = [one["python_type"]["type"] for one in api["/protect"]["returns"]]
        assert results == ["filepath", "str | float | bool | list | dict"]
        assert api["/protect"]["description"].startswith("Protect a painting from diffusion mimicry")
        assert api["/mimic"]["description"].startswith("Let one imitator learn from originals")
        parameters = [one for name in api for one in api[name]["parameters"]]
        files = [str(one["example_input"]) for one in parameters if "filepath" in one["python_type"]["type"]]
        assert len(files) == 5 and not any("http" in file for file in files), "addresses are not fetched"

    def test_protect_gives_the_bytes_of_the_library_and_keeps_nothing_else(self, client, tmp_path, capfd):
        before = runs()
        path, report = client.predict(handle_file(HARVEST), strength="strong", steps=5, api_name="/protect")
        assert Path(path).name == "harvest_protected.png"
        assert {field.name for field in fields(Settings)} < set(report)
        here = advdm.protect(read_painting(HARVEST), model(), steps=5, strength="strong").save(tmp_path / "here.png")
        assert Path(path).read_bytes() == here.read_bytes()
        (folder,) = runs() - before
        assert [left.name for left in folder.iterdir()] == ["harvest_protected.png"], "nothing else is kept"
        out, err = capfd.readouterr()
        assert "harvest" not in out + err

    def test_mimic_one_pair_or_several(self, client):
        one = handle_file(HARVEST), handle_file(CHURCH)
        pictures, report = client.predict(*one, steps=1, count=4, prompts="a boat *", api_name="/mimic")
        assert len(pictures) == 16 and pictures[1]["caption"] == "Original: a boat *"
        assert {"gain", "gain_low", "gain_high", "imitation", "sentence", "imitator"} <= set(report)
        both = list(one)
        _, report = client.predict(both, both, steps=1, count=4, prompts="*", control=False, api_name="/mimic")
        assert report["distance"]["original"] == pytest.approx(report["distance"]["protected"], rel=1e-3)

    def test_one_at_a_time_and_each_knows_his_place(self, client, file, monkeypatch):
        assert app().demo._queue.max_size >= 50, "nobody is turned away"
        whole = attack.protection_steps

        def endless(painting, model, settings, *given):
            for step in whole(painting, model, settings, *given):
                yield step
                while settings.steps == 499:  # until it is stopped: no machine is too fast for that
                    time.sleep(0.05)
                    yield step

        monkeypatch.setattr(attack, "protection_steps", endless)
        first = client.submit(handle_file(file), epsilon=8, steps=499, api_name="/protect")
        try:
            wait_until(first.outputs)
            second = client.submit(handle_file(file), epsilon=8, steps=1, api_name="/protect")
            wait_until(lambda: second.status().code == Status.IN_QUEUE)
            third = client.submit(handle_file(HARVEST), handle_file(CHURCH), steps=1, count=1, api_name="/mimic")
            wait_until(lambda: third.status().code == Status.IN_QUEUE and third.status().rank == 1)
            assert second.outputs() == []
            before = runs()
        finally:
            first.cancel()  # whoever leaves frees the lane, and leaves nothing
        path, _ = second.result(LONG)
        assert path.endswith("sea_protected.png")
        third.result(LONG)
        assert len(runs() - before) <= 2


class TestStrangers:
    @pytest.mark.parametrize("path", ["/etc/passwd", HARVEST, "../../etc/passwd", "{}/../../../../../etc/passwd", ""])
    def test_outside_paths(self, path):
        file = as_file(path.format(upload("a.webp", PICTURE)))
        forms = (file, [file], [{"image": file, "caption": None}])
        answers = [ask(name, pictures) for name in ("protect", "mimic") for pictures in forms]
        assert all("pload the p" in answer["output"]["error"] for answer in answers)
        brush = {"background": file, "layers": [file], "composite": None, "id": None}
        answers += [
            call("show", [None, False, None, brush, *PROTECT]),
            call("show_1", [None, *MIMIC._replace(original=[file], protected=[file])]),
            call("shown_as", [file]),
            call("new_painting", [file]),
            call("new_files", [[file]]),
        ]
        with pytest.raises(gr.Error, match="upload the painting"):  # what is left should Gradio's own look be lost
            uploaded(file["path"])
        for answer in answers:
            assert not answer["success"] and "passwd" not in str(answer) and "root:" not in str(answer)

    @pytest.mark.parametrize("address", ["{}config", "http://169.254.169.254/latest", "https://example.com/a.png"])
    def test_addresses_are_not_fetched(self, monkeypatch, address):
        fetched = []
        monkeypatch.setattr(gr.processing_utils, "async_ssrf_protected_download", lambda url, **_: fetched.append(url))
        file = as_file(address.format(url()))
        for name, pictures in (("protect", file), ("mimic", [file])):
            assert "pload the p" in ask(name, pictures)["output"]["error"]
        assert not call("new_files", [[file]])["success"]
        assert not call("add_folder", [[file], None])["success"]
        assert fetched == []

    @pytest.mark.parametrize(
        "wish", [{"epsilon": "8"}, {"steps": None}, {"samples": []}, {"objective": ["advdm"]}, {"seed": {}}]
    )
    def test_what_is_no_setting_is_a_sentence_and_not_logged(self, capfd, wish):
        answer = ask("protect", as_file(upload("unpublished.webp", PICTURE)), **wish)
        assert answer["output"]["error"].endswith((".", "]"))  # Gradio's own sentence ends with the choices
        assert capfd.readouterr() == ("", "")

    def test_too_many_are_refused_before_they_are_read(self, monkeypatch):
        read = []
        monkeypatch.setattr("ui.uploads.check_painting", read.append)
        monkeypatch.setattr("ui.experiment.read_painting", read.append)
        answer = ask("mimic", [as_file(upload("a.webp", PICTURE))] * 21)
        assert answer["output"]["error"] == "At most 20 pictures of one painter, please."
        assert read == []

    def test_no_imitator_is_a_sentence(self):
        file = as_file(upload("a.webp", PICTURE))
        assert ask("mimic", [file], imitator=None)["output"]["error"] == "Choose an imitator."

    @pytest.mark.parametrize("pictures", [[], None, "text", 3, {"image": 3}, [{"video": 3}], [None], [[[]]]])
    def test_what_is_no_picture(self, pictures):
        assert not ask("mimic", pictures)["success"]

    def test_upload_that_was_deleted_meanwhile(self):
        path = upload("late.webp", PICTURE + b"late")
        Path(path).unlink()
        assert ask("protect", as_file(path))["output"]["error"] == "late.webp cannot be found."

    def test_too_large_an_upload(self):
        large = {"files": ("a.png", bytes(160 * 2**20 + 1))}
        assert WEB.post(f"{url()}gradio_api/upload", files=large).status_code == 413

    @pytest.mark.parametrize(
        "address", ["file=/etc/passwd", "file=app.py", "file=https://example.com", "proxy=http://a"]
    )
    def test_other_files_are_not_served(self, address):
        assert WEB.get(f"{url()}gradio_api/{address}").status_code in (400, 403)

    def test_the_queue_cannot_be_passed_by(self):
        body = {"data": PROTECT._replace(painting=as_file(upload("a.webp", PICTURE)))}
        answer = WEB.post(f"{url()}gradio_api/run/protect", json=body)
        assert answer.status_code == 404 and "join the queue" in answer.text

    def test_a_hostile_name_becomes_a_file_name(self):
        name = "../../<img src=x onerror=y>\x1b[31m\u202eDie Ernte 🎨" + "a" * 300 + ".exe"
        answer = ask("protect", as_file(upload(name, PICTURE), orig_name=name), steps=1)
        path = Path(answer["output"]["data"][0]["path"])
        assert path.name.startswith("img src=x onerror=y[31mDie Ernte 🎨aaa") and path.name.endswith("a_protected.png")
        assert path.exists()


def test_an_example_is_served_as_it_is():
    answer = call("pick", [], {"index": 3, "value": None})
    assert WEB.get(answer["output"]["data"][0]["url"]).content == PICTURE


def test_a_missing_model_is_one_sentence():
    process = start(ROOT / "app.py", ADVDM_MODEL="/nowhere/at/all")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert "/nowhere/at/all" in err and err.count("\n") == 1
