"""The app without a browser: its handlers called directly, its API, and what strangers send to it."""

import inspect
import json
import os
import runpy
import uuid
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.utils import QueueError, Status
from PIL import Image

from advdm import Painting, Settings, compare, protect, read_painting
from advdm.objectives import OBJECTIVES
from advdm.paintings import write_painting
from tests import app_server

HARVEST = app_server.EXAMPLES / "harvest.webp"
WEB = httpx.Client(timeout=120)  # s, for a busy machine
VISITOR: Any = SimpleNamespace(session_hash="somebody")


@pytest.fixture(scope="module")
def tab() -> ModuleType:
    """The module of the Protect tab."""
    app_server.app()
    from ui import protect

    return protect


@pytest.fixture(scope="module")
def shared(tab: ModuleType) -> ModuleType:
    return tab.shared


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client(app_server.url(), verbose=False, httpx_kwargs={"timeout": 120})
    yield client
    client.close()


@pytest.fixture
def file(painting: Painting, tmp_path: Path) -> str:
    return str(write_painting(painting.levels, painting, tmp_path / "sea.png"))


def run(tab: ModuleType, file: str | None, epsilon: float = 8, steps: float = 3, **other: Any) -> list[Any]:
    settings = {
        "samples": 1,
        "step_size": 0,
        "objective": "advdm",
        "seed": 0,
        "robust": False,
        "request": VISITOR,
        **other,
    }
    return list(tab.show_protection(file, epsilon, steps, **settings))


class TestWords:
    @pytest.mark.parametrize("strength, epsilon", [("Subtle", 4), ("Balanced", 8), ("Strong", 16), (None, 7)])
    def test_strength(self, tab: ModuleType, strength: str | None, epsilon: int) -> None:
        assert tab.describe(epsilon, 25, 1, "advdm")[0] == strength

    @pytest.mark.parametrize("effort, numbers", [("Quick", (25, 1)), ("Thorough", (100, 4)), (None, (25, 4))])
    def test_effort(self, tab: ModuleType, effort: str | None, numbers: tuple[int, int]) -> None:
        assert tab.describe(8, *numbers, "advdm")[1]["value"] == effort

    def test_time_is_told_beforehand_once_it_is_known(self, tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tab, "PACES", {"advdm": tab.Pace(0.1, 2.0), "mist": tab.Pace(10.0, 2.0)})
        assert tab.cost(25, 1, "textural") == "25 steps.", "not by the pace of another objective"
        assert tab.cost(100, 4, "advdm") == "100 steps, about 62 s."
        assert tab.cost(25, 1, "mist") == "25 steps, about 13 min."

    def test_a_run_sets_the_pace_of_its_objective(
        self, tab: ModuleType, file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tab, "PACES", {})
        monkeypatch.setattr(tab, "pace", lambda moments: 0.5)
        run(tab, file, objective="textural")
        assert list(tab.PACES) == ["textural"]
        assert tab.PACES["textural"].one_pass == 0.25


class TestHandler:
    def test_result(self, tab: ModuleType, file: str) -> None:
        *_, last = run(tab, file)
        assert last.status == "Done after 3 steps: sea."
        path = Path(last.protected["value"])
        assert path.name == "sea_protected.png"
        comparison = compare(read_painting(file), read_painting(path))
        assert 0 < comparison.max_change <= 8
        assert {name: last.report[name] for name in asdict(comparison)} == asdict(comparison)
        assert f"perceptual distance {comparison.perceptual:.3f} " in last.numbers
        assert f"Largest change {comparison.max_change} of 255 levels" in last.numbers
        # The page shows exactly what was written.
        assert np.array_equal(pixels(last.slider[0]), pixels(file))
        assert np.array_equal(pixels(last.slider[1]), pixels(path))

    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_every_objective(self, tab: ModuleType, file: str, objective: str) -> None:
        *_, last = run(tab, file, steps=1, objective=objective, robust=True)
        assert (last.report["objective"], last.report["robust"]) == (objective, True)
        assert last.report["max_change"] > 0

    def test_change_is_amplified_around_grey(self, tab: ModuleType, file: str) -> None:
        *_, last = run(tab, file, epsilon=2)
        change = (pixels(last.protected["value"]).astype(int) - pixels(file)) * 10 + 128
        assert np.array_equal(pixels(last.details[2][0]), change)

    def test_says_when_nothing_is_changed(self, tab: ModuleType, file: str) -> None:
        *_, last = run(tab, file, epsilon=2, steps=1)
        assert last.report["max_change"] == 0 and "PSNR infinite" in last.numbers
        assert last.status == "Done after 1 step: sea. Nothing is changed yet: this copy is not protected."

    def test_model_sees_both(self, tab: ModuleType, file: str) -> None:
        *_, last = run(tab, file)
        (before, _), (after, _) = last.seen
        assert pixels(before).shape == pixels(after).shape
        assert not np.array_equal(pixels(before), pixels(after))

    def test_live(self, tab: ModuleType, file: str) -> None:
        first, second, *_ = run(tab, file)
        assert first.protected["value"] is None  # an older result is not offered meanwhile
        assert second.status.startswith("Step 1 of 3, loss ")
        assert Image.open(second.slider[1]).size == Image.open(file).size
        assert list(second.curve["step"]) == [1]

    def test_what_it_works_with_is_kept(self, tab: ModuleType, file: str) -> None:
        """Gradio deletes files by the time of their last change, whatever is still at work with them."""
        shows = tab.show_protection(file, 8, 2, 1, 0, "advdm", 0, False, VISITOR)
        before = next(shows).slider[0]
        began = [os.stat(path).st_ctime_ns for path in (file, before)]
        next(shows)
        assert all(os.stat(path).st_ctime_ns > time for path, time in zip((file, before), began, strict=True))
        shows.close()

    def test_stop_gives_the_result_so_far(self, tab: ModuleType, shared: ModuleType, file: str) -> None:
        shared.begin(VISITOR)
        shows = tab.show_protection(file, 8, 500, 1, 0, "advdm", 0, False, VISITOR)
        next(shows), next(shows)  # step 1 is shown
        shared.press_stop(VISITOR)
        *_, last = shows
        shared.finish(VISITOR)
        assert last.status == "Stopped after 2 steps: sea."
        assert last.report["steps"] == 2
        assert 0 < compare(read_painting(file), read_painting(last.protected["value"])).max_change <= 8

    def test_stop_while_waiting(self, tab: ModuleType, shared: ModuleType, file: str) -> None:
        shared.press_stop(VISITOR)
        assert [show.status for show in run(tab, file)] == ["Stopped before it began."]
        shared.begin(VISITOR)
        assert run(tab, file)[-1].status == "Done after 3 steps: sea."

    def test_leaving_leaves_no_file(self, tab: ModuleType, file: str) -> None:
        shows = tab.show_protection(file, 8, 500, 1, 0, "advdm", 0, False, VISITOR)
        folder = Path(next(shows).slider[0]).parent
        next(shows)
        shows.close()
        assert not folder.exists()

    def test_large_painting(self, tab: ModuleType, tmp_path: Path) -> None:
        levels = np.random.default_rng(0).integers(0, 256, (300, 2100, 3), np.uint8)
        file = write_painting(levels, Painting(levels), tmp_path / "wide.png")
        *_, last = run(tab, str(file), steps=1)
        assert "reduced to 2000 pixels" in last.numbers and "middle at 100 %" in last.numbers
        assert Image.open(last.slider[0]).size == Image.open(last.slider[1]).size == (2000, 286)
        assert np.array_equal(pixels(last.details[0][0]), levels[:, 50:2050])
        assert Image.open(last.protected["value"]).size == (2100, 300)

    def test_alpha_and_notes(self, tab: ModuleType, tmp_path: Path) -> None:
        picture = Image.effect_noise((80, 90), 60).convert("RGB").quantize(64)
        picture.info["transparency"] = 3
        picture.save(tmp_path / "a.png")
        *_, last = run(tab, str(tmp_path / "a.png"))
        assert "palette was replaced" in last.numbers
        assert Image.open(last.protected["value"]).mode == Image.open(last.slider[1]).mode == "RGBA"

    @pytest.mark.parametrize(
        "setting, sentence",
        [
            ({"epsilon": float("nan")}, "Epsilon must lie between"),
            ({"epsilon": 0}, "Epsilon must lie between"),
            ({"epsilon": 7.5}, "Epsilon must be a whole number"),
            ({"steps": float("inf")}, "Steps must lie between"),
            ({"step_size": float("nan")}, "Step size must lie between"),
            ({"seed": -1}, "Seed must lie between"),
            ({"objective": "evil"}, "There is no objective"),
        ],
    )
    def test_settings_out_of_range(self, tab: ModuleType, file: str, setting: dict[str, Any], sentence: str) -> None:
        with pytest.raises(gr.Error, match=sentence) as refusal:
            run(tab, file, **setting)
        assert not refusal.value.print_exception

    def test_stopped_before_it_began(self, tab: ModuleType, shared: ModuleType, file: str) -> None:
        shared.press_stop(VISITOR)
        assert list(tab.protect(file, 8, 1, 1, 0, "advdm", 0, False, VISITOR)) == [(None, None)]
        shared.finish(VISITOR)

    def test_no_painting(self, tab: ModuleType) -> None:
        with pytest.raises(gr.Error, match="Choose a painting first"):
            run(tab, None)


def test_every_run_gives_its_memory_back(tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(tab.shared, "give_back_memory", lambda: given.append("back"))
    with tab.shared.run_folder():
        pass
    with pytest.raises(KeyError), tab.shared.run_folder():
        raise KeyError
    assert given == ["back", "back"]


def test_memory_is_given_back_or_the_system_has_no_such_thing(tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tab.shared.give_back_memory()

    def missing(name: str) -> None:
        raise OSError

    monkeypatch.setattr(tab.shared.ctypes, "CDLL", missing)
    tab.shared.give_back_memory()


class TestSpace:
    def test_duration_takes_what_attack_takes(self, tab: ModuleType) -> None:
        assert inspect.signature(tab.gpu_seconds).parameters == inspect.signature(tab.attack).parameters

    def test_words_fit_a_visitor_without_account(self, tab: ModuleType) -> None:
        for steps, samples in tab.EFFORTS.values():
            assert tab.gpu_seconds(HARVEST, Settings(steps=steps, samples=samples), "", "") <= tab.ANONYMOUS_SECONDS

    def test_a_large_painting_gets_longer_but_is_never_refused_for_it(self, tab: ModuleType, tmp_path: Path) -> None:
        large = tmp_path / "large.png"
        Image.new("L", (8000, 6000)).save(large)
        asked = [[tab.gpu_seconds(f, Settings(steps=n), "", "") for f in (HARVEST, large)] for n in (25, 250, 500)]
        assert asked[0][0] + 20 < asked[0][1] < tab.ANONYMOUS_SECONDS
        assert asked[1][0] < asked[1][1] == tab.ANONYMOUS_SECONDS
        assert asked[2][0] == asked[2][1] > tab.ANONYMOUS_SECONDS  # `cost` has said so

    def test_longer_runs_say_so_first(self, tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tab, "ON_ZERO", True)
        assert "without an account they are too many" in tab.cost(500, 4, "advdm")
        assert "account" not in tab.cost(100, 4, "advdm")

    def test_nothing_is_kept_beyond_the_hour(self) -> None:
        assert sum(app_server.app().demo.delete_cache) <= 3600

    def test_gradio_knows_every_file_of_a_run(self, tab: ModuleType, shared: ModuleType, file: str) -> None:
        *_, last = run(tab, file)
        folder = Path(last.protected["value"]).parent
        assert any(files is shared.RUN_FILES for files in app_server.app().demo.temp_file_sets)
        shared.press_stop(VISITOR)
        assert {str(shared.stop_flag(VISITOR)), *map(str, folder.iterdir())} <= set(list(shared.RUN_FILES))
        shared.finish(VISITOR)

    def test_folders_go_once_they_are_empty(self, tab: ModuleType, file: str) -> None:
        paths = [Path(run(tab, file)[-1].protected["value"]) for _ in range(2)]
        for old in paths[0].parent.iterdir():
            old.unlink()
        run(tab, file)
        assert [path.parent.exists() for path in paths] == [False, True]

    def test_old_files_are_deleted_while_others_arrive(self, tmp_path: Path) -> None:
        """Gradio looks for them in a thread; one error, and nothing is ever deleted again."""
        demo = app_server.app().demo
        boxes = [block for block in demo.blocks.values() if isinstance(block, gr.components.Component)]
        assert {id(demo.upload_file_set), *(id(box.temp_files) for box in boxes)} <= {*map(id, demo.temp_file_sets)}
        for files in demo.temp_file_sets:
            before = files.copy()
            files |= {str(tmp_path / "old"), str(tmp_path / "older")}
            for number, _ in enumerate(files):
                files.add(str(tmp_path / f"new{number}"))
            files &= before


class TestApi:
    def test_shape(self, client: Client) -> None:
        api = client.view_api(return_format="dict")["named_endpoints"]
        assert list(api) == ["/protect", "/mimic"]
        parameters = {
            p["parameter_name"]: (p["python_type"]["type"], p["parameter_default"])
            for p in api["/protect"]["parameters"]
        }
        assert parameters == {
            "painting": ("filepath", None),
            "epsilon": ("float", 8),
            "steps": ("float", 25),
            "samples": ("float", 1),
            "step_size": ("float", 0),
            "objective": (f"Literal[{', '.join(map(repr, OBJECTIVES))}]", "advdm"),
            "seed": ("float", 0),
            "robust": ("bool", False),
        }
        assert [r["python_type"]["type"] for r in api["/protect"]["returns"]] == ["filepath", ANY_JSON]
        assert api["/protect"]["description"].startswith("Protect a painting from diffusion mimicry")

    def test_defaults(self, client: Client, tab: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path, report = client.predict(handle_file(HARVEST), api_name="/protect")
        assert Path(path).name == "harvest_protected.png"
        assert {field.name for field in fields(Settings)} < set(report)
        assert report["max_change"] <= report["epsilon"] == 8
        # Bit for bit what the library writes.
        here = protect(read_painting(HARVEST), tab.MODEL, steps=25).save(tmp_path / "here.png")
        assert Path(path).read_bytes() == here.read_bytes()
        out, err = capfd.readouterr()
        assert "harvest" not in out + err

    def test_keeps_nothing_but_the_result(self, client: Client, file: str, tab: ModuleType) -> None:
        cache = Path(tab.shared.get_upload_folder())
        before = set(cache.glob("tmp*/*"))
        client.predict(handle_file(file), steps=2, api_name="/protect")
        assert [path.name for path in set(cache.glob("tmp*/*")) - before] == ["sea_protected.png"]

    def test_heavy_events_share_one_lane(self) -> None:
        heavy = [fn for fn in app_server.app().demo.fns.values() if fn.concurrency_id == "model"]
        assert {fn.api_name for fn in heavy} == {
            "protect",
            "mimic",
            "show_protection",
            "show_mimicry",
            "show_robustness",
        }
        assert all(fn.queue and fn.concurrency_limit == 1 for fn in heavy)

    def test_full_queue_is_a_sentence(self, client: Client, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(app_server.app().demo._queue, "max_size", 0)
        with pytest.raises(QueueError, match="Queue is full! Please try again"):
            client.predict(handle_file(file), api_name="/protect")

    def test_place_in_the_queue(self, client: Client, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
        app_server.endless_runs(monkeypatch)
        first = client.submit(handle_file(file), steps=app_server.ENDLESS, api_name="/protect")
        app_server.wait_until(first.outputs)
        second = client.submit(handle_file(file), steps=1, api_name="/protect")
        app_server.wait_until(lambda: second.status().code == Status.IN_QUEUE)  # rank 0 alone holds of what is done
        assert (second.status().rank, second.status().queue_size) == (0, 1)
        assert second.outputs() == []
        first.cancel()
        path, _ = second.result(app_server.LONG)
        assert path.endswith("sea_protected.png")

    def test_client_that_leaves_frees_the_lane(
        self, client: Client, file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app_server.endless_runs(monkeypatch)
        endless = client.submit(handle_file(file), steps=app_server.ENDLESS, api_name="/protect")
        app_server.wait_until(endless.outputs)
        before = app_server.results()
        endless.cancel()
        client.submit(handle_file(file), steps=1, api_name="/protect").result(app_server.LONG)
        assert len(app_server.results() - before) == 1


class TestStrangers:
    @pytest.mark.parametrize("name", ["protect", "show_protection"])
    @pytest.mark.parametrize(
        "path", ["/etc/passwd", str(HARVEST), "../../etc/passwd", "{upload}/../../../../../etc/passwd", ""]
    )
    def test_outside_paths(self, name: str, path: str) -> None:
        answer = call(name, [as_file(path.format(upload=upload("a.webp", HARVEST.read_bytes()))), *DEFAULTS])
        assert not answer["success"]
        assert "pload the p" in answer["output"]["error"]
        assert "passwd" not in str(answer["output"])

    @pytest.mark.parametrize(
        "address", ["{app}config", "http://169.254.169.254/latest", "https://example.com/a.png", "HTTP://[::1]/a.png"]
    )
    def test_addresses_are_not_fetched(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        fetched: list[str] = []
        monkeypatch.setattr(gr.processing_utils, "async_ssrf_protected_download", lambda url, **_: fetched.append(url))
        picture = as_file(address.format(app=app_server.url()))
        for name, data in (("protect", [picture, *DEFAULTS]), ("mimic", [[picture], [picture], 1, 2, "*", 1, 0])):
            assert "pload the p" in call(name, data)["output"]["error"]
        assert fetched == []

    @pytest.mark.parametrize(
        "place, value", [(0, "8"), (0, None), (2, []), (3, "x"), (4, ["advdm"]), (4, {"a": 1}), (5, {}), (None, None)]
    )
    def test_what_is_no_setting_is_a_sentence_and_not_logged(
        self, capfd: pytest.CaptureFixture[str], place: int | None, value: Any
    ) -> None:
        settings = [*DEFAULTS]
        if place is None:
            settings = []
        else:
            settings[place] = value
        answer = call("protect", [as_file(upload("unpublished.webp", HARVEST.read_bytes())), *settings])
        assert answer["output"]["error"].endswith((".", "]"))  # Gradio's own sentence ends with the choices
        assert capfd.readouterr() == ("", "")

    def test_upload_that_was_deleted_meanwhile(self) -> None:
        path = upload("late.webp", HARVEST.read_bytes() + b"late")
        Path(path).unlink()
        answer = call("protect", [as_file(path), *DEFAULTS])
        assert answer["output"]["error"] == "late.webp cannot be found."

    def test_too_large_an_upload(self) -> None:
        large = {"files": ("a.png", bytes(160 * 2**20 + 1))}
        answer = WEB.post(f"{app_server.url()}gradio_api/upload", files=large)
        assert answer.status_code == 413
        assert "exceeded maximum allowed size" in answer.text

    @pytest.mark.parametrize(
        "address", ["file=/etc/passwd", "file=app.py", "file=README.md", "file=https://example.com", "proxy=http://a"]
    )
    def test_other_files_are_not_served(self, address: str) -> None:
        assert WEB.get(f"{app_server.url()}gradio_api/{address}").status_code in (400, 403)

    def test_the_queue_cannot_be_passed_by(self) -> None:
        body = {"data": [as_file(upload("a.webp", HARVEST.read_bytes())), *DEFAULTS]}
        answer = WEB.post(f"{app_server.url()}gradio_api/run/protect", json=body)
        assert answer.status_code == 404
        assert "join the queue" in answer.text

    @pytest.mark.parametrize(
        "name, stem",
        [
            ("../../evil.png", "evil"),
            ("CON.png", "_CON"),
            ("-o", "-o"),
            ("<img src=x onerror=y>.png", "img src=x onerror=y"),
            ("\x1b[31mred\u202egnp.exe", "[31mredgnp"),
            ("Die Ernte 🎨.png", "Die Ernte 🎨"),
            ("a" * 300 + ".png", "a" * 100),
        ],
    )
    def test_names(self, name: str, stem: str) -> None:
        answer = call(
            "protect", [as_file(upload(name, HARVEST.read_bytes()), orig_name=name), 8, 1, 1, 0, "advdm", 0, False]
        )
        path = Path(answer["output"]["data"][0]["path"])
        assert path.name.startswith(stem) and path.name.endswith("_protected.png")
        assert path.exists()

    def test_data_address(self) -> None:
        picture = {"path": None, "url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}}
        answer = call("protect", [picture, *DEFAULTS])
        assert answer["output"]["error"] == "Please upload the painting on this page."

    @pytest.mark.parametrize(
        "name, content, sentence",
        [
            ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg is an SVG drawing"),
            ("a.heic", b"\0\0\0\x18ftypheic" + bytes(40), "a.heic is a HEIC picture"),
            ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(40), "a.png is"),
            ("a.jpg", b"", "a.jpg is empty"),
        ],
    )
    def test_other_files(self, name: str, content: bytes, sentence: str) -> None:
        answer = call("protect", [as_file(upload(name, content), orig_name=name), *DEFAULTS])
        assert answer["output"]["error"].startswith(sentence)

    @pytest.mark.parametrize(
        "place, value, sentence",
        [
            (0, float("nan"), "Epsilon must lie between 1 and 64, not nan."),
            (0, 500, "Value 500 is greater than maximum value 32."),
            (0, 7.5, "Epsilon must be a whole number, not 7.5."),
            (1, 10**9, "Value 1000000000 is greater than maximum value 500."),
            (3, float("nan"), "Step size must lie between"),
            (5, 0.5, "Seed must be a whole number, not 0.5."),
        ],
    )
    def test_settings(self, place: int, value: float, sentence: str) -> None:
        settings = [*DEFAULTS]
        settings[place] = value
        answer = call("protect", [as_file(upload("a.webp", HARVEST.read_bytes())), *settings])
        assert answer["output"]["error"].startswith(sentence)


def test_missing_model_is_one_sentence(
    shared: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADVDM_MODEL", "/nowhere/at/all")
    with pytest.raises(SystemExit) as end:
        runpy.run_path(shared.__file__)
    assert end.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "is not on this machine" in err
    assert err.count("\n") == 1


ANY_JSON = "str | float | bool | list | dict"
DEFAULTS: list[Any] = [8, 2, 1, 0, "advdm", 0, False]
"""All settings of /protect, with few steps."""


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def as_file(path: str, **other: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **other}


def upload(name: str, content: bytes) -> str:
    """Upload as the page does; the path on the server."""
    answer = WEB.post(f"{app_server.url()}gradio_api/upload", files={"files": (name, content)})
    return str(answer.json()[0])


def call(name: str, data: list[Any]) -> dict[str, Any]:
    """Call an event by raw HTTP, as no client would; its last message."""
    base, session = app_server.url(), uuid.uuid4().hex
    dependencies = WEB.get(f"{base}config").json()["dependencies"]
    index = next(d["id"] for d in dependencies if d["api_name"] == name)
    body = json.dumps({"data": data, "fn_index": index, "session_hash": session})
    WEB.post(f"{base}gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
    with WEB.stream("GET", f"{base}gradio_api/queue/data?session_hash={session}") as stream:
        messages = (json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))
        return next(message for message in messages if message["msg"] == "process_completed")
