"""The Mimicry tab without a browser: its handlers called directly, its API, and what strangers send to it."""

import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from advdm import Painting, SettingsError
from advdm.imitators.inversion import InversionSettings, load_word
from advdm.mimicry import PROMPTS, MimicrySettings, Verdict, imitate, imitate_unseen, sentence
from advdm.paintings import write_painting
from tests import app_server
from tests.test_app import as_file, call, upload

VISITOR: Any = SimpleNamespace(session_hash="somebody")
TWO_PROMPTS = "a painting in the style of *\n\n  a boat in the style of {}  \n"
HARVEST, BRIDGE = (str(app_server.EXAMPLES / f"{name}.webp") for name in ("harvest", "church_at_auvers"))


@pytest.fixture(scope="module")
def tab() -> ModuleType:
    """The module of the Mimicry tab."""
    app_server.app()
    from ui import mimicry

    return mimicry


@pytest.fixture(scope="module")
def client(tab: ModuleType) -> Iterator[Client]:
    client = Client(app_server.url(), verbose=False, httpx_kwargs={"timeout": 120})
    yield client
    client.close()


def run(tab: ModuleType, steps: float = 4, **other: Any) -> Iterator[Any]:
    settings = {"vectors": 2, "prompts": TWO_PROMPTS, "count": 1, "seed": 3, "request": VISITOR, **other}
    return tab.show_mimicry([HARVEST], [BRIDGE], steps, **settings)


@pytest.fixture(scope="module")
def whole_run(tab: ModuleType) -> list[Any]:
    """Everything that one run shows; galleries as they were when shown."""
    shows = []
    for show in run(tab):
        lists = {name: list(getattr(show, name)) for name in ("from_original", "from_protected")}
        shows.append(show._replace(never_saw=list(show.never_saw["value"]), **lists))
    return shows


class TestHandler:
    def test_what_it_works_with_is_kept(self, tab: ModuleType, tmp_path: Path) -> None:
        pair = [shutil.copy(path, tmp_path) for path in (HARVEST, BRIDGE)]
        before = [os.stat(path).st_ctime_ns for path in pair]
        shows = tab.show_mimicry([pair[0]], [pair[1]], 1, 1, TWO_PROMPTS, 1, 0, VISITOR)
        next(shows), next(shows)
        shows.close()
        assert all(os.stat(path).st_ctime_ns > began for path, began in zip(pair, before, strict=True))

    def test_watching_both_learn(self, whole_run: list[Any]) -> None:
        first, second, *_ = whole_run
        assert first.original_word["value"] is None  # an older result is not offered meanwhile
        assert second.progress.startswith("Learning: step 1 of 4, noise error ")
        assert "do not look like the same painting" in second.finding, "said at once, not after all the work"
        for side in (second.from_original, second.from_protected):
            ((path, caption),) = side
            assert caption == "step 1"
            assert Image.open(path).size == (64, 64)
        assert set(second.curve["learns from"]) == {"original", "protected"}
        assert set(second.curve["step"]) == {1}

    def test_result(self, whole_run: list[Any]) -> None:
        *_, last = whole_run
        assert last.progress.startswith("Done after 4 steps, in about ")
        assert last.progress.endswith(": harvest.webp.")
        captions = ["a painting, seed 3", "a boat, seed 3"]
        for gallery in (last.from_original, last.from_protected, last.never_saw):
            assert [caption for _, caption in gallery] == captions
        assert last.report["verdict"]["sentence"].split(":")[0] in last.finding
        assert "**The pictures do not look like the same painting" in last.finding, "they are two"
        assert last.report["inversion"]["steps"] == 4
        assert last.report["prompts"] == ("a painting in the style of {}", "a boat in the style of {}")
        assert len(last.curve) == 8

    def test_pictures_are_what_the_library_paints_with_the_words(self, tab: ModuleType, whole_run: list[Any]) -> None:
        *_, last = whole_run
        settings = MimicrySettings(prompts=last.report["prompts"], seed=3)
        words = [load_word(button["value"]) for button in (last.original_word, last.protected_word)]
        assert not np.array_equal(words[0].vectors, words[1].vectors)
        wanted = [*(imitate(tab.MODEL, word, settings) for word in words), imitate_unseen(tab.MODEL, settings)]
        for gallery, pictures in zip((last.from_original, last.from_protected, last.never_saw), wanted, strict=True):
            for (path, _), picture in zip(gallery, pictures, strict=True):
                levels = picture.permute(1, 2, 0).mul(255).round().byte().numpy()
                # Painted in batches of another size, a picture may be rounded otherwise.
                assert np.abs(np.asarray(Image.open(path)).astype(int) - levels).max() <= 1

    def test_word_files_have_names_of_their_own(self, whole_run: list[Any]) -> None:
        files = [Path(whole_run[-1][place]["value"]).name for place in (6, 7)]
        assert files == ["original_learned_embeds.safetensors", "protected_learned_embeds.safetensors"]

    def test_stop_gives_what_was_learned(self, tab: ModuleType) -> None:
        tab.owned(tab.PLACE, tab.shared.begin)(VISITOR)
        shows = run(tab, steps=1000)
        next(shows), next(shows)
        tab.owned(tab.PLACE, tab.shared.press_stop)(VISITOR)
        *_, last = shows
        tab.owned(tab.PLACE, tab.shared.finish)(VISITOR)
        steps = last.report["inversion"]["steps"]
        assert last.progress.startswith(f"Stopped after {steps} steps")
        assert 1 <= steps < 1000
        assert last.finding.startswith("### No verdict") and "do not look like the same painting" in last.finding
        assert len(last.from_original) == len(last.from_protected) == 1
        assert load_word(last.protected_word["value"]).vectors.shape == (2, 16)

    def test_stop_while_waiting(self, tab: ModuleType) -> None:
        tab.owned(tab.PLACE, tab.shared.press_stop)(VISITOR)
        assert [show.progress for show in run(tab)] == ["Stopped before it began."]
        tab.owned(tab.PLACE, tab.shared.finish)(VISITOR)

    def test_stop_of_the_other_tab_is_not_for_this_one(self, tab: ModuleType) -> None:
        tab.shared.press_stop(VISITOR)
        shows = run(tab)
        assert next(shows).progress == "Reading the pictures."
        shows.close()
        tab.shared.finish(VISITOR)

    def test_leaving_leaves_no_file(self, tab: ModuleType) -> None:
        shows = run(tab, steps=1000)
        next(shows)
        folder = Path(next(shows).from_original[0][0]).parent
        shows.close()
        assert not folder.exists()

    def test_pair_of_the_other_tab(self, tab: ModuleType, tmp_path: Path) -> None:
        assert tab.use_pair((HARVEST, BRIDGE)) == ([HARVEST], [BRIDGE], "Ready.")
        for pair in (None, (HARVEST, str(tmp_path / "deleted.png"))):
            assert tab.use_pair(pair) == (gr.skip(), gr.skip(), "Protect a painting first, on the Protect tab.")


class TestRefusals:
    @pytest.mark.parametrize(
        "original, protected, complaint",
        [
            ([], [], "Choose an original"),
            ([HARVEST], [], "Choose an original"),
            ([HARVEST, BRIDGE], [BRIDGE], "as many protected copies as originals, not 1 for 2"),
        ],
    )
    def test_pairs(self, tab: ModuleType, original: list[str], protected: list[str], complaint: str) -> None:
        with pytest.raises(gr.Error, match=complaint):
            next(tab.show_mimicry(original, protected, 3, 2, TWO_PROMPTS, 1, 0, VISITOR))

    @pytest.mark.parametrize(
        "setting, complaint",
        [
            ({"steps": float("nan")}, "Steps must lie between"),
            ({"vectors": 0}, "Vectors must lie between"),
            ({"vectors": 1.5}, "Vectors must be a whole number"),
            ({"count": float("inf")}, "Pictures a prompt must lie between"),
            ({"seed": -1}, "Seed must lie between"),
            ({"prompts": None}, "1 to 12 prompts, one a line, not 0"),
            ({"prompts": "*\n" * 13}, "1 to 12 prompts, one a line, not 13"),
            ({"prompts": "a boat"}, r"needs a \*"),
            ({"prompts": "a " * 60 + "*"}, "too long: its word must come within the first 46 tokens"),
            ({"prompts": "*" * 200}, "at most 200 characters"),
        ],
    )
    def test_settings(self, tab: ModuleType, setting: dict[str, Any], complaint: str) -> None:
        with pytest.raises(gr.Error, match=complaint) as refusal:
            next(run(tab, **setting))
        assert not refusal.value.print_exception

    def test_too_many_pixels(self, tab: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from ui import experiment

        levels = np.zeros((100, 100, 3), np.uint8)
        file = str(write_painting(levels, Painting(levels), tmp_path / "a.png"))
        monkeypatch.setattr(experiment, "MOST_PIXELS", 25_000)
        assert len(experiment.read_side([file] * 2)) == 2
        with pytest.raises(SettingsError, match="Together the pictures"):
            experiment.read_side([file] * 3)


class TestWords:
    @pytest.mark.parametrize(
        "imitation, heading", [(3.0, "Protected"), (60.0, "Partly protected"), (120.0, "Not protected")]
    )
    def test_finding(self, tab: ModuleType, imitation: float, heading: str) -> None:
        lines = tab.finding(Verdict(0.4, 0.3, 0.35, imitation, sentence(imitation)), 200, "").splitlines()
        assert lines[0] == f"### {heading}"
        assert lines[1].startswith("The imitator that learned from the protected copy scores ")
        assert "- Learned from the original: **100** of 100, style distance to the painting 0.300." in lines
        assert f"- Learned from the protected copy: **{imitation:.0f}** of 100, " in "\n".join(lines)

    def test_finding_where_nothing_was_learned(self, tab: ModuleType) -> None:
        text = tab.finding(Verdict(0.4, 0.41, 0.35, None, sentence(None)), 200, "")
        assert text.startswith("### Nothing can be said\nEven the imitator that learned from the original came hardly")
        assert "of 100" not in text
        assert "0.410" in text

    def test_time_is_told_beforehand_once_it_is_known(self, tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tab, "PACE", tab.Pace())
        assert tab.cost(200, TWO_PROMPTS, 2) == "200 steps, 12 pictures."
        monkeypatch.setattr(tab, "PACE", tab.Pace(0.1, 1.0, 4.0))
        assert tab.cost(200, TWO_PROMPTS, 2) == "200 steps, 12 pictures, about 36 s."

    def test_long_curves_are_thinned(self, tab: ModuleType) -> None:
        curve = tab.curve_of([(0.1, 0.2)] * 1000)
        assert len(curve) <= 2 * 201
        assert curve["step"].max() == 1000


class TestSpace:
    def test_duration_takes_what_experiment_takes(self, tab: ModuleType) -> None:
        from ui import experiment

        parameters = [inspect.signature(f).parameters for f in (experiment.gpu_seconds, experiment.experiment)]
        assert parameters[0] == parameters[1]

    def test_default_fits_a_visitor_without_account(self, tab: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        from ui import experiment

        assert experiment.gpu_seconds([], [], MimicrySettings(), "", "") <= tab.ANONYMOUS_SECONDS
        monkeypatch.setattr(tab, "ON_ZERO", True)
        prompts = "\n".join(PROMPTS)
        assert tab.cost(InversionSettings().steps, prompts, 1).endswith(" s of your daily GPU time.")
        assert "Sign in to Hugging Face first" in tab.cost(1000, prompts, 1)


class TestApi:
    def test_shape(self, client: Client) -> None:
        api = client.view_api(return_format="dict")["named_endpoints"]["/mimic"]
        parameters = {
            p["parameter_name"]: (p["python_type"]["type"], p["parameter_has_default"]) for p in api["parameters"]
        }
        assert parameters == {
            "original": ("list[filepath]", True),
            "protected": ("list[filepath]", True),
            "steps": ("float", True),
            "vectors": ("float", True),
            "prompts": ("str", True),
            "count": ("float", True),
            "seed": ("float", True),
        }
        assert api["description"].startswith("Train the same imitator on originals and on their protected copies")

    def test_one_file_each_is_enough(self, client: Client, tab: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
        cache = Path(tab.shared.get_upload_folder())
        before = set(cache.glob("tmp*/*"))
        learned, spoiled, never, report = client.predict(
            handle_file(HARVEST), handle_file(BRIDGE), steps=2, prompts="a boat *", api_name="/mimic"
        )
        assert [len(pictures) for pictures in (learned, spoiled, never)] == [1, 1, 1]
        assert learned[0]["caption"] == "a boat *, seed 0"
        assert set(report["verdict"]) == {"baseline", "original", "protected", "imitation", "sentence"}
        names = sorted(path.name for path in set(cache.glob("tmp*/*")) - before)
        assert names == ["painted0-0.png", "painted0-1.png", "painted0-2.png"]  # nothing else stays
        out, err = capfd.readouterr()
        assert "harvest" not in out + err

    def test_several_pictures(self, client: Client) -> None:
        pictures = [handle_file(HARVEST), handle_file(BRIDGE)]
        *_, report = client.predict(pictures, pictures, steps=1, prompts="a boat *", api_name="/mimic")
        # The same pictures, the same word; but for rounding, as the words have other places in the batch.
        assert report["verdict"]["original"] == pytest.approx(report["verdict"]["protected"], rel=1e-4)

    def test_client_that_leaves_frees_the_lane(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        app_server.endless_runs(monkeypatch)
        pair = handle_file(HARVEST), handle_file(BRIDGE)
        endless = client.submit(*pair, steps=app_server.ENDLESS, api_name="/mimic")
        app_server.wait_until(endless.outputs)
        endless.cancel()
        client.submit(handle_file(HARVEST), steps=1, api_name="/protect").result(app_server.LONG)


class TestStrangers:
    DEFAULTS: Any = (1, 2, "a boat *", 1, 0)

    @pytest.mark.parametrize("name", ["mimic", "show_mimicry"])
    @pytest.mark.parametrize("path", ["/etc/passwd", HARVEST, "../../etc/passwd", ""])
    def test_outside_paths(self, name: str, path: str) -> None:
        good = as_file(upload("a.webp", Path(HARVEST).read_bytes()))
        for pictures in ([as_file(path)], [{"image": as_file(path), "caption": None}], as_file(path)):
            answer = call(name, [pictures, [good], *self.DEFAULTS])
            assert not answer["success"]
            assert "root:" not in str(answer["output"])

    @pytest.mark.parametrize("pictures", [[], None, "text", 3, {"image": 3}, [{"video": 3}], [None], [[[]]]])
    def test_what_is_no_picture(self, pictures: Any) -> None:
        good = as_file(upload("a.webp", Path(HARVEST).read_bytes()))
        assert not call("mimic", [pictures, [good], *self.DEFAULTS])["success"]

    def test_too_many_are_refused_before_they_are_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[Path] = []
        monkeypatch.setattr("ui.painting_input.check_painting", read.append)
        monkeypatch.setattr("advdm.paintings.check_painting", read.append)
        pictures = [as_file(upload("a.webp", Path(HARVEST).read_bytes()))] * 21
        answer = call("mimic", [pictures, pictures, *self.DEFAULTS])
        assert answer["output"]["error"] == "At most 20 pictures of one painter, please."
        assert read == []

    def test_video_is_refused(self) -> None:
        good = as_file(upload("a.webp", Path(HARVEST).read_bytes()))
        answer = call("mimic", [[{"video": good}], [good], *self.DEFAULTS])
        assert answer["output"]["error"] == "Please upload the painting on this page."

    def test_other_files(self) -> None:
        good, bad = as_file(upload("a.webp", Path(HARVEST).read_bytes())), upload("b.heic", b"\0\0\0\x18ftypheic" * 4)
        answer = call("mimic", [[good, as_file(bad)], [good, good], *self.DEFAULTS])
        assert answer["output"]["error"].startswith("b.heic is a HEIC picture")
