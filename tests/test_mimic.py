"""mimic: what is written and reported, and which copy belongs to which original."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from advdm import compare, read_painting
from advdm.commands.mimic import find_pairs
from tests.command_line import paint, refusal, run, written

SIDES = ["prompt only", "original", "protected", "random noise"]
QUICK = "--prompts prompts.txt --count 2 --sampling-steps 2 -o out"
REPAINT = f"mimic a.png a_protected.png --imitator repaint {QUICK}"
INVERSION = f"mimic a.png a_protected.png --steps 2 {QUICK}"
pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture
def pair():
    """A painting and its protected copy, and two prompts."""
    paint("a.png", seed=1), paint("a_protected.png", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\n  a boat in {}\n", encoding="utf-8-sig")


def names(count, learned=()):
    """What a run writes of so many pictures a side."""
    files = [f"{side.replace(' ', '_')}_{i:02}.png" for side in SIDES for i in range(1, count + 1)]
    return sorted([*files, "sheet.png", "report.json", *(f"{side}.safetensors" for side in learned)])


@pytest.mark.parametrize(
    ("imitator", "options", "own"),
    [
        ("inversion", "--steps 2 --vectors 3", {"vectors": 3, "steps": 2}),
        ("lora", "--steps 2 --rank 5", {"rank": 5}),
        ("repaint", "--repaint-strength 0.7", {"repaint_strength": 0.7}),
    ],
)
def test_four_sides_and_what_is_said_of_them(pair, imitator, options, own, workplace, capsys):
    line = f"mimic {workplace}/a.png a_protected.png --imitator {imitator} {options} --report log/r.json {QUICK}"
    assert run(line) == 0
    learned = () if imitator == "repaint" else ("original", "protected", "random_noise")
    assert sorted(os.listdir("out")) == names(4, learned)
    assert all(Image.open(f"out/{side}_01.png").size == (64, 64) for side in ("original", "prompt_only"))
    assert all(load_file(f"out/{side}.safetensors") for side in learned)

    text = Path("out/report.json").read_text()
    report = json.loads(text, parse_constant=pytest.fail)
    assert report == json.loads(Path("log/r.json").read_text()) and str(workplace) not in text
    assert capsys.readouterr() == (f"{report['sentence']}\nSee out/sheet.png.\n", "")
    own |= {"imitator": imitator, "model": "tiny", "count": 2, "seed": 0, "paintings": ["a.png"]}
    own |= {"copies": ["a_protected.png"], "prompts": ["a painting in the style of {}", "a boat in {}"]}
    assert own.items() <= report.items()
    assert report["gain_low"] <= report["gain"] <= report["gain_high"]
    assert list(report["imitation"]) == ["protected", "random noise"]
    sides = report["sides"]
    assert list(sides) == SIDES
    seen = asdict(compare(read_painting("a.png"), read_painting("a_protected.png")))
    assert seen.items() <= sides["protected"].items()
    assert sides["random noise"]["max_change"] == seen["max_change"], "the control is as strong as the copy"
    assert sides["original"]["psnr"] is None and sides["original"]["max_change"] == 0
    assert all(sides["protected"][name] >= 0 for name in ("noise_error", "frechet_distance", "knn_precision"))


def test_a_run_over_an_earlier_one_repeats_it_and_replaces_its_pictures_alone(pair):
    Path("out").mkdir()
    Path("out/original_57.png").write_bytes(b"somebody's own, where mimic never wrote")
    assert run(f"{INVERSION} --seed 5") == 0
    Path("out/original_57.png").rename("out/original_sketch.png")
    before = {name: Path("out", name).read_bytes() for name in os.listdir("out") if name != "report.json"}
    assert run(f"{INVERSION} --seed 5") == 0
    assert {name: Path("out", name).read_bytes() for name in before} == before
    assert run(f"{REPAINT} --count 3") == 0
    assert sorted(os.listdir("out")) == sorted([*names(6), "original_sketch.png"])


def test_a_copy_of_another_size_has_a_control_too_and_no_visible_change(pair):
    Image.open("a.png").resize((64, 70)).save("a_protected.png")
    assert run(REPAINT) == 0
    sides = json.loads(Path("out/report.json").read_text())["sides"]
    assert "psnr" not in sides["protected"] and sides["random noise"]["max_change"] == 8


def test_a_pair_of_two_paintings_is_doubted(pair, capsys):
    Image.open("a.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("a_protected.png")
    assert run(REPAINT) == 0
    assert capsys.readouterr().err.startswith("The pictures do not look like the same painting")


def test_pairs_go_by_name(capsys):
    """Also of two paintings with one stem, whose copies would be swapped in order of their names."""
    bare = [f"bare/{number}.png" for number in range(3)]
    for name in ("shed/a.jpg", "shed/a.png", "shed/a_b.jpg", "shed/.x_protected.png", *bare):
        paint(name)
    pairs = {"a.jpg": "a_protected.png", "a.png": "a_png_protected.png", "a_b.jpg": "a_b_protected.png"}
    for folder in ("out", "shed"):
        assert run(f"protect shed -o {folder} --steps 1") == 0
        capsys.readouterr()
        found = find_pairs(Path("shed"), Path(folder))
        assert {original.name: copy.name for original, copy in found} == pairs
        assert "a_protected.png" not in capsys.readouterr().err, "a copy that is used was not skipped"
    assert [str(copy) for _, copy in find_pairs(Path("shed"), Path("bare"))] == bare, "in order where no name tells"
    assert find_pairs(Path("shed/a.png"), Path("bare/1.png")) == [(Path("shed/a.png"), Path("bare/1.png"))]


def test_stopped_it_leaves_nothing(pair, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    before = written()
    monkeypatch.setattr("advdm.mimicry.paint", stop)
    assert run(INVERSION) == 130
    assert refusal(capsys) == "Stopped." and written() == before
