"""protect, and what all commands share: files, exit codes, and what is said where."""

import json
import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advdm import cli, compare, read_painting
from advdm.commands.options import attack_settings, mimicry_settings
from advdm.commands.outputs import plan_outputs
from advdm.settings import EvaluationSettings, InversionSettings, LoraSettings, MimicrySettings, Settings
from tests.app_server import wait_until
from tests.command_line import paint, refusal, run, start, written

pytestmark = pytest.mark.usefixtures("workplace")


def test_the_copy_lies_beside_the_painting_and_replaces_an_earlier_one(capsys):
    paint("folder/harvest.png")
    for _ in range(2):
        assert run("protect folder/harvest.png --steps 2") == 0
        assert written() == ["folder/harvest.png", "folder/harvest_protected.png"]
        out, err = capsys.readouterr()
        assert out.startswith("harvest.png: largest change 2, ") and out.endswith(", folder/harvest_protected.png\n")
        assert out.count("\n") == 1 and err == ""


def test_same_seed_same_bytes_and_another_seed_others_also_beside_other_paintings():
    paint("a.png"), paint("b.png", seed=1)
    assert run("protect b.png -o three.png --seed 3 --steps 2") == 0
    assert run("protect b.png -o four.png --seed 4 --steps 2") == 0
    assert run("protect a.png b.png --seed 3 --steps 2") == 0
    both, three, four = (Path(name).read_bytes() for name in ("b_protected.png", "three.png", "four.png"))
    assert both == three != four


def test_files_and_folders_into_a_new_folder(capsys):
    paint("a.png"), paint("shed/b.jpg"), paint("shed/d.png").rename("shed/d"), paint("shed/1888/june/b.webp")
    Path("shed/e.gif").write_bytes(b"GIF89a")
    assert run("protect a.png shed -o new/out --steps 2") == 0
    assert sorted(os.listdir("new/out")) == ["a_protected.png", "b_protected.png", "d_protected.png"]
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.png", "b.jpg", "d"]
    deep, gif = err.splitlines()
    assert "1888 is a folder" in deep and "e.gif is a GIF" in gif
    assert run("protect shed --recursive -o deep --steps 2") == 0
    copies = [path for path in written() if path.startswith("deep")]
    assert copies == ["deep/1888/june/b_protected.png", "deep/b_protected.png", "deep/d_protected.png"]


def test_one_bad_file_does_not_stop_the_rest(capsys):
    paint("a.png"), paint("c.png"), paint("d.png")
    Path("b.png").write_bytes(Path("a.png").read_bytes()[:2000])
    Path("d_protected.png").mkdir()  # cannot be replaced by a file: fails in the midst
    assert run("protect a.png b.png none.png d.png c.png --report r.json --steps 2") == 2
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines()] == ["b.png", "none.png", "d_protected.png"]
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.png", "c.png"]
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "c_protected.png", "d.png", "r.json"]
    reports = json.loads(Path("r.json").read_text())
    assert [report["painting"] for report in reports] == ["a.png", "b.png", "none.png", "d.png", "c.png"]
    assert [report["error"] for report in reports if "protected" not in report] == err.splitlines()


def test_no_two_outputs_collide_and_none_lands_on_a_painting():
    sources = list(map(Path, ("h.png", "h.jpg", "x/h.jpg", "x/H.JPG", "h.webp", "h_protected.png")))
    stems = ("h", "h_jpg", "h_jpg_2", "H_JPG_3", "h_webp", "h_protected")
    assert list(plan_outputs(sources, Path("out")).values()) == [Path("out", f"{s}_protected.png") for s in stems]
    beside = plan_outputs([Path("a.png"), Path("a_protected.png")], None)
    assert list(map(str, beside.values())) == ["a_png_protected.png", "a_protected_protected.png"]


def test_odd_names():
    paint(f"in/{'ü' * 120}.png"), paint("in/two\nlines \udcff?.png")
    Path("album.png").mkdir()  # a folder may be called like a picture
    assert run("protect in -o album.png --steps 2") == 0
    assert sorted(os.listdir("album.png")) == ["twolines __protected.png", f"{'ü' * 100}_protected.png"]


def test_the_report_says_what_the_saved_file_says_and_nothing_of_this_machine(workplace):
    paint("shed/a.png")
    settings = {"epsilon": 5, "steps": 3, "samples": 2, "step_size": 2.5, "objective": "advdm", "seed": 9}
    options = " ".join(f"--{name.replace('_', '-')}={value}" for name, value in settings.items())
    assert run(f"protect {workplace}/shed/a.png -o {workplace}/out {options} --even --report log/r.json") == 0
    text = Path("log/r.json").read_text()
    report = json.loads(text)
    assert report.pop("seconds") > 0 and str(workplace) not in text
    seen = compare(read_painting("shed/a.png"), read_painting("out/a_protected.png"))
    assert seen.max_change == 5  # three steps of 2.5 reach it and pass it
    used = settings | {"even": True, "as_published": False, "model": "tiny", "device": "cpu", "dtype": "float32"}
    assert report == used | asdict(seen) | {"painting": "a.png", "protected": "a_protected.png"}


def test_a_copy_that_came_out_unchanged_is_said(capsys):
    paint("a.png")
    assert run("protect a.png --steps 1 --step-size 0.01 --report r.json") == 0
    assert "The copy came out unchanged" in capsys.readouterr().err
    report = json.loads(Path("r.json").read_text(), parse_constant=pytest.fail)  # Infinity is not JSON
    assert (report["max_change"], report["psnr"], report["step_size"]) == (0, None, 0.01)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_mode_size_and_transparency_stay(mode):
    paint("a.png", mode, (133, 64))
    assert run("protect a.png --steps 2") == 0
    before, after = Image.open("a.png"), Image.open("a_protected.png")
    assert (after.mode, after.size) == (mode, (133, 64))
    assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()


def test_notes_go_to_stderr(capsys):
    Image.open(paint("rgb.png")).quantize().save("a.png")
    assert run("protect a.png --steps 2") == 0
    out, err = capsys.readouterr()
    assert err.startswith("a.png: Its palette ") and out.count("\n") == err.count("\n") == 1


def test_a_strength_chooses_epsilon_and_a_mask_leaves_black_clean():
    paint("a.png")
    mask = Image.new("L", (80, 72))
    mask.paste(255, (0, 0, 40, 72))
    mask.save("mask.png")
    reports = []
    for options in ("subtle", "strong", "strong --mask mask.png"):
        assert run(f"protect a.png --strength {options} --report r.json --steps 2") == 0
        reports.append(json.loads(Path("r.json").read_text()))
    subtle, strong, masked = (report["epsilon"] for report in reports)
    assert subtle < strong == masked, "the rest is no more visible for a mask"
    assert (reports[2]["strength"], reports[2]["mask"]) == ("strong", "mask.png")
    changed = np.asarray(Image.open("a_protected.png")) != np.asarray(Image.open("a.png"))
    assert changed[:, :40].any() and not changed[:, 40:].any()


def test_objective_target_even_and_as_published_change_the_copy():
    paint("a.png"), Image.new("RGB", (64, 64), (255, 0, 0)).save("red.png")
    copies = set()
    for options in ("", "--even", "--as-published", "--objective textural", "--objective textural --target red.png"):
        assert run(f"protect a.png --steps 9 {options}") == 0
        copies.add(Path("a_protected.png").read_bytes())
    assert len(copies) == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "COMMAND"),
        ("protect a.png --epsilon eight", "argument --epsilon: invalid int value: 'eight'"),
        ("protect a.png --colour 'red\nblue'", "unrecognized arguments: --colour red blue"),
        ("protect a.png --objective 'ma\ngic'", "There is no objective 'ma gic'"),
        ("protect a.png --target b.png", "The objective 'advdm' has no target"),
        ("protect a.png --objective mist --target a.txt", "a.txt is not a PNG"),
        ("protect a.png --objective mist --target b.png -o b.png", "b.png would be replaced"),
        ("protect a.png --mask b.png -o b.png", "b.png would be replaced"),
        ("protect a.png --mask gone.png", "gone.png cannot be found"),
        ("protect a.png b.png --mask b.png", "b.png is the mask of one painting, not of 2"),
        ("protect a.png b.png -o one.png", "one.png is one file for 2 paintings; name a folder instead."),
        ("protect a.png -o one.jpg", "one.jpg must be a .png: lossy formats like JPEG weaken the protection."),
        ("protect a.png -o link.png", "link.png is the painting itself"),
        ("protect a.png -o a.txt/deeper", "a.txt is a file, not a folder."),
        ("protect a.png --report b.png", "The report b.png must be a .json."),
        ("protect a.png picture.json --report picture.json", "picture.json would replace a painting"),
        ("protect a.png --report folder.json", "The report folder.json is a folder; choose another name."),
        ("protect a.txt -o new/a.png --report r.json", "a.txt is not a PNG"),
        ("protect empty", "There is no picture in empty."),
        ("protect locked/a.png", "The folder locked cannot be written to."),
        ("protect a.png -o locked/new", "The folder locked cannot be written to."),
        ("mimic a.png gone.png -o out", "gone.png cannot be found."),
        ("mimic DIR a.png -o out", "Originals: 2, protected copies: 1"),
        ("mimic DIR copies -o out", "Which is the protected copy of b.png?"),
        ("mimic a.png b.png -o .", "holds the paintings; choose another."),
        ("mimic a.png b.png -o a.txt", "a.txt is a file, not a folder."),
        ("mimic a.png b.png -o out --prompts gone.txt", "gone.txt cannot be read: no such file"),
        ("mimic a.png b.png -o out --prompts a.png", "a.png is not a text file in UTF-8."),
        ("mimic a.png b.png -o out --prompts a.txt", "Each prompt in a.txt needs {} in the place"),
        ("mimic a.png b.png -o out --prompts blank.txt", "There is no prompt in blank.txt."),
        ("mimic a.png b.png -o out --vectors 99", "Vectors must lie between"),
        ("mimic a.png b.png -o out --report a.png", "The report a.png must be a .json."),
        ("evaluate DIR --epsilons 4,99", "Epsilon must lie between"),
        ("evaluate DIR --epsilons 4,,8", "argument --epsilons"),
        ("evaluate DIR --imitator repaint --imitator-steps 9", "The imitator 'repaint' has no steps."),
        ("evaluate DIR -o DIR", "The folder DIR holds the paintings"),
        ("evaluate nowhere", "nowhere is not a folder."),
        ("evaluate cut", "c.jpg is damaged"),
        ("robustness DIR -o DIR", "The folder DIR holds the paintings"),
    ],
)
def test_refused_in_one_line_before_the_model_is_loaded(line, words, no_model, monkeypatch, capsys):
    for name in ("a", "b", "DIR/a", "DIR/b", "copies/a_protected", "copies/best_protected", "locked/a"):
        paint(f"{name}.png")
    Path("link.png").symlink_to("a.png"), paint("c.png").rename("picture.json")
    (
        Path("a.txt").write_text("a boat\n"),
        Path("blank.txt").write_text(" \n"),
        Path("empty").mkdir(),
        Path("folder.json").mkdir(),
    )
    whole = paint("cut/c.jpg", size=(400, 300))  # whose head is whole: only decoding tells
    whole.write_bytes(whole.read_bytes()[:-3000])
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "locked")  # root may write anywhere
    before = sorted(Path().rglob("*"))
    assert run(line) == 2
    assert words in refusal(capsys)
    assert sorted(Path().rglob("*")) == before


def test_a_model_or_a_device_of_the_environment_that_is_not_there(monkeypatch, capsys):
    paint("a.png")
    assert run("protect a.png --model 'no such\nmodel'") == 2
    assert "there is no such folder or file on this machine" in refusal(capsys)
    monkeypatch.setenv("ADVDM_DEVICE", "abacus")
    for line in ("protect a.png", "models"):
        assert run(line) == 2
        assert "(--device or ADVDM_DEVICE)" in refusal(capsys)


def test_defaults_are_those_of_the_library():
    def options(line):
        return cli.parser().parse_args(line.split())

    assert attack_settings(options("protect a.png")) == Settings()
    assert mimicry_settings(options("mimic a.png b.png -o out")) == MimicrySettings()
    given = options("evaluate DIR --imitator lora")
    assert EvaluationSettings(given.epsilons, given.objectives, given.seeds) == EvaluationSettings()
    assert mimicry_settings(given) == MimicrySettings(LoraSettings())
    given = options("robustness a.png -o out --imitator-steps 7 --steps 9")
    assert (attack_settings(given), mimicry_settings(given).imitator.steps) == (Settings(steps=9), 7)


@pytest.mark.parametrize("command", ["", "protect", "mimic", "evaluate", "robustness", "models"])
def test_help_tells_defaults(command, capsys):
    assert run(f"{command} --help") == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m advdm") and err == ""
    assert "(default: None)" not in out and "(default: False)" not in out and "%(" not in out
    text = " ".join(out.split())
    learning = f"(default: inversion {InversionSettings.steps}, lora {LoraSettings.steps})"
    assert (f"(default: {Settings.steps})" in text) == (command in ("protect", "evaluate", "robustness"))
    assert (learning in text) == (command in ("mimic", "evaluate", "robustness"))


def test_a_stop_on_the_way_leaves_finished_files_whole_and_no_half_file():
    """Ctrl-C comes while the second of three paintings, whose noise takes long to compress, is being written."""
    paint("a.png"), paint("b.png", size=(2000, 1600)), paint("c.png")
    line = "protect gone.png a.png b.png c.png --report r.json --steps 2"
    process = start("-m", "advdm", *line.split())
    wait_until(lambda: process.poll() is not None or (Path("a_protected.png").exists() and any(Path().glob(".*.png"))))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "gone.png cannot be found.\nStopped.\n"), "and no library's warnings"
    assert out.startswith("a.png: largest change ") and out.count("\n") == 1
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "r.json"]
    reports = json.loads(Path("r.json").read_text())
    assert [one.get("protected") for one in reports] == [None, "a_protected.png"]
    read_painting("a_protected.png")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_one_line(error, monkeypatch, capsys):
    def full(*_):
        raise error

    paint("a.png")
    monkeypatch.setattr("advdm.protection.budget", full)
    assert run("protect a.png --steps 1") == 2
    assert "too little memory for that" in capsys.readouterr().err
    assert written() == ["a.png"]
