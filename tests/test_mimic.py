"""mimic: what is written and reported, which copy belongs to which original, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from advdm import compare, read_painting
from advdm.commands.mimic import find_pairs
from advdm.errors import AdvDMError
from tests.command_line import paint, refusal, run, written

SIDES = ("prompt only", "original", "protected", "random noise")
QUICK = ("--prompts", "prompts.txt", "--count", "2", "--sampling-steps", "2", "-o", "out")
STEPS = ("--steps", "2")
MIMIC = ("mimic", "a.png", "a_protected.png", *STEPS, *QUICK)
REPAINT = ("mimic", "a.png", "a_protected.png", "--imitator", "repaint", *QUICK)
Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def pair() -> None:
    """A painting and its protected copy, and two prompts."""
    paint("a.png", seed=1), paint("a_protected.png", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\n  a boat in {}\n", encoding="utf-8-sig")


def names(count: int, *learned: str) -> list[str]:
    """What a run writes of so many pictures a side."""
    files = [f"{side.replace(' ', '_')}_{i:02}.png" for side in SIDES for i in range(1, count + 1)]
    return sorted([*files, "sheet.png", "report.json", *(f"{side}.safetensors" for side in learned)])


@pytest.mark.parametrize(
    ("imitator", "own"),
    [("inversion", {"vectors": 3}), ("lora", {"rank": 5}), ("repaint", {"repaint_strength": 0.7})],
)
def test_three_sides_and_what_is_said_of_them(
    pair: None, imitator: str, own: dict[str, float], workplace: Path, capsys: Capture
) -> None:
    ((name, value),) = own.items()
    options = ["--imitator", imitator, f"--{name.replace('_', '-')}", value, "--report", "log/r.json", *QUICK]
    options += () if imitator == "repaint" else STEPS
    assert run("mimic", workplace / "a.png", "a_protected.png", *options) == 0
    learned = () if imitator == "repaint" else ("original", "protected", "random_noise")
    assert sorted(os.listdir("out")) == names(4, *learned)
    assert all(Image.open(f"out/{side}_01.png").size == (64, 64) for side in ("original", "prompt_only"))
    assert all(load_file(f"out/{side}.safetensors") for side in learned)

    text = Path("out/report.json").read_text()
    report = json.loads(text, parse_constant=pytest.fail)
    assert report == json.loads(Path("log/r.json").read_text()) and str(workplace) not in text
    out, err = capsys.readouterr()
    assert (out, err) == (f"{report['sentence']}\nSee out/sheet.png.\n", "")
    assert own.items() <= report.items()
    assert (report["imitator"], report["model"], report["count"], report["seed"]) == (imitator, "tiny", 2, 0)
    assert (report["paintings"], report["copies"]) == (["a.png"], ["a_protected.png"])
    assert report["prompts"] == ["a painting in the style of {}", "a boat in {}"]
    assert report["gain_low"] <= report["gain"] <= report["gain_high"]
    assert list(report["imitation"]) == ["protected", "random noise"]
    assert all(set(one) == {"value", "low", "high"} for one in report["imitation"].values())
    assert list(report["sides"]) == list(SIDES)
    seen = asdict(compare(read_painting("a.png"), read_painting("a_protected.png")))
    protected = report["sides"]["protected"]
    assert {name: protected[name] for name in seen} == seen
    assert report["sides"]["random noise"]["max_change"] == seen["max_change"], "the control is as strong as the copy"
    assert report["sides"]["original"]["psnr"] is None and report["sides"]["original"]["max_change"] == 0
    assert all(protected[name] >= 0 for name in ("noise_error", "frechet_distance", "knn_precision"))


def test_a_run_over_an_earlier_one_repeats_it_and_replaces_its_pictures_alone(pair: None) -> None:
    Path("out").mkdir()
    Path("out/original_57.png").write_bytes(b"somebody's own, where mimic never wrote")
    assert run(*MIMIC, "--seed", 5) == 0
    Path("out/original_57.png").rename("out/original_sketch.png")
    before = {name: Path("out", name).read_bytes() for name in os.listdir("out") if name != "report.json"}
    assert run(*MIMIC, "--seed", 5) == 0
    assert {name: Path("out", name).read_bytes() for name in before} == before
    assert run(*REPAINT, "--count", 3) == 0
    assert sorted(os.listdir("out")) == sorted([*names(6), "original_sketch.png"])


def test_a_copy_of_another_size_has_a_control_too_and_no_visible_change(pair: None) -> None:
    Image.open("a.png").resize((64, 70)).save("a_protected.png")
    assert run(*REPAINT) == 0
    sides = json.loads(Path("out/report.json").read_text())["sides"]
    assert "psnr" not in sides["protected"] and sides["random noise"]["max_change"] == 8


def test_a_pair_of_two_paintings_is_doubted(pair: None, capsys: Capture) -> None:
    Image.open("a.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("a_protected.png")
    assert run(*REPAINT) == 0
    assert capsys.readouterr().err.startswith("The pictures do not look like the same painting")


def test_pairs_go_by_name(capsys: Capture) -> None:
    """Also of two paintings with one stem, whose copies would be swapped in order of their names."""
    for name in ("shed/a.jpg", "shed/a.png", "shed/a_b.jpg", "shed/.x_protected.png"):
        paint(name)
    for folder in ("out", "shed"):
        assert run("protect", "shed", "-o", folder, "--steps", "1") == 0
        capsys.readouterr()
        assert {original.name: copy.name for original, copy in find_pairs(Path("shed"), Path(folder))} == {
            "a.jpg": "a_protected.png",
            "a.png": "a_png_protected.png",
            "a_b.jpg": "a_b_protected.png",
        }
        assert "a_protected.png" not in capsys.readouterr().err, "a copy that is used was not skipped"
    for number in range(3):
        paint(f"copies/{number}.png")
    assert [copy.name for _, copy in find_pairs(Path("shed"), Path("copies"))] == ["0.png", "1.png", "2.png"]
    assert find_pairs(Path("shed/a.png"), Path("copies/1.png")) == [(Path("shed/a.png"), Path("copies/1.png"))]


def test_one_renamed_copy_is_not_guessed() -> None:
    for name in ("shed/a.png", "shed/b.png", "copies/a_protected.png", "copies/best_protected.png"):
        paint(name)
    with pytest.raises(AdvDMError, match=r"copy of b.png\?"):
        find_pairs(Path("shed"), Path("copies"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "gone.png"], "gone.png cannot be found."),
        (["a.png", "bad.png"], "bad.png is not a PNG"),
        (["a.png", "empty"], "There is no picture in empty."),
        (["shed", "a.png"], "Originals: 2, protected copies: 1"),
        (["a.png", "b.png", "-o", "."], "holds the paintings; choose another."),
        (["a.png", "b.png", "-o", "bad.png"], "bad.png is a file, not a folder."),
        (["a.png", "b.png", "--prompts", "gone.txt"], "gone.txt cannot be read: no such file"),
        (["a.png", "b.png", "--prompts", "a.png"], "a.png is not a text file in UTF-8."),
        (["a.png", "b.png", "--prompts", "plain.txt"], "Each prompt in plain.txt needs {} in the place"),
        (["a.png", "b.png", "--prompts", "blank.txt"], "There is no prompt in blank.txt."),
        (["a.png", "b.png", "--count", "1"], "At least 4 pictures of each imitator are needed"),
        (["a.png", "b.png", "--vectors", "99"], "Vectors must lie between"),
        (["a.png", "b.png", "--rank", "8"], "The imitator 'inversion' has no rank."),
        (["a.png", "b.png", "--imitator", "forger"], "argument --imitator: invalid choice: 'forger'"),
        (["a.png", "b.png", "--report", "a.png"], "The report a.png must be a .json."),
    ],
)
def test_refused_in_one_line(pair: None, arguments: list[str], words: str, no_model: None, capsys: Capture) -> None:
    for name in ("b.png", "shed/a.png", "shed/b.png"):
        paint(name)
    Path("empty").mkdir(), Path("bad.png").write_text("no picture")
    Path("plain.txt").write_text("a boat\n"), Path("blank.txt").write_text(" \n")
    before = written()
    assert run("mimic", *STEPS, *QUICK, *arguments) == 2
    assert words in refusal(capsys)
    assert written() == before and not Path("out").exists()


def test_a_prompt_too_long_is_refused_before_the_learning(
    pair: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("advdm.mimicry.learn", lambda *_: pytest.fail("it began"))
    Path("prompts.txt").write_text("a " * 60 + "{}\na {}\n")
    assert run(*MIMIC) == 2
    assert "is too long: its word must come within" in refusal(capsys)


def test_stopped_it_leaves_nothing(pair: None, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    before = written()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("advdm.mimicry.paint", stop)
    assert run(*MIMIC) == 130
    assert refusal(capsys) == "Stopped." and written() == before
