"""protect, and what all commands share: files, exit codes, and what is said where."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advdm import cli, compare, read_painting
from advdm.commands.options import attack_settings, mimicry_settings
from advdm.commands.outputs import plan_outputs
from advdm.settings import STRENGTHS, EvaluationSettings, InversionSettings, LoraSettings, MimicrySettings, Settings
from tests.command_line import ENVIRONMENT, paint, refusal, run, written

QUICK = ("--steps", "2")
Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("workplace")


def test_default_output_is_beside_the_painting(capsys: Capture) -> None:
    paint("folder/harvest.png")
    for _ in range(2):  # also over an earlier output
        assert run("protect", "folder/harvest.png", *QUICK) == 0
        assert written() == ["folder/harvest.png", "folder/harvest_protected.png"]
        out, err = capsys.readouterr()
        assert out.startswith("harvest.png: largest change 2, ") and out.count("\n") == 1 and err == ""
        assert out.endswith(", folder/harvest_protected.png\n")


def test_same_seed_same_bytes_and_another_seed_others_also_beside_other_paintings() -> None:
    for i, name in enumerate(("a.png", "b.png")):
        paint(name, seed=i)
    for name, seed in (("one", 3), ("two", 4)):
        assert run("protect", "b.png", "-o", f"{name}.png", "--seed", seed, *QUICK) == 0
    assert run("protect", "a.png", "b.png", "--seed", 3, *QUICK) == 0
    both, one, two = (Path(name).read_bytes() for name in ("b_protected.png", "one.png", "two.png"))
    assert both == one != two


def test_files_and_folders_into_a_new_folder(capsys: Capture) -> None:
    paint("a.png"), paint("shed/b.jpg"), paint("shed/d.png").rename("shed/d"), paint("shed/1888/june/b.webp")
    Path("shed/e.gif").write_bytes(b"GIF89a"), Path("shed/notes.txt").write_text("no picture")
    assert run("protect", "a.png", "shed", "-o", "new/out", *QUICK) == 0
    assert sorted(os.listdir("new/out")) == ["a_protected.png", "b_protected.png", "d_protected.png"]
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.png", "b.jpg", "d"]
    deep, gif, counted = err.splitlines()
    assert "1888 is a folder" in deep and "e.gif is a GIF" in gif and "1 file that is hidden or no picture" in counted
    assert run("protect", "shed", "--recursive", "-o", "deep", *QUICK) == 0
    copies = [path for path in written() if path.startswith("deep")]
    assert copies == ["deep/1888/june/b_protected.png", "deep/b_protected.png", "deep/d_protected.png"]


def test_one_bad_file_does_not_stop_the_rest(capsys: Capture) -> None:
    paint("a.png"), paint("c.png"), paint("d.png")
    Path("b.png").write_bytes(Path("a.png").read_bytes()[:2000])
    Path("d_protected.png").mkdir()  # cannot be replaced by a file: fails in the midst
    assert run("protect", "a.png", "b.png", "none.png", "d.png", "c.png", "--report", "r.json", *QUICK) == 2
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines()] == ["b.png", "none.png", "d_protected.png"]
    assert [line.split(":")[0] for line in out.splitlines()] == ["a.png", "c.png"]
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "c_protected.png", "d.png", "r.json"]
    reports = json.loads(Path("r.json").read_text())
    assert [report["painting"] for report in reports] == ["a.png", "b.png", "none.png", "d.png", "c.png"]
    assert [report["error"] for report in reports if "error" in report] == err.splitlines()
    assert ["protected" in report for report in reports] == [True, False, False, False, True]


def test_alone_and_bad_leaves_nothing(no_model: None, capsys: Capture) -> None:
    Path("a.png").write_text("no picture")
    assert run("protect", "a.png", "-o", "new/a.png", "--report", "r.json") == 2
    assert refusal(capsys).startswith("a.png ")
    assert written() == ["a.png"] and not Path("new").exists()


def test_no_two_outputs_collide_and_none_lands_on_a_painting() -> None:
    sources = [paint(name, seed=i) for i, name in enumerate(["h.png", "h.jpg", "x/h.jpg", "x/H.JPG", "h.webp"])]
    assert [path.name for path in plan_outputs(sources, Path("out")).values()] == [
        "h_protected.png",
        "h_jpg_protected.png",
        "h_jpg_2_protected.png",
        "H_JPG_3_protected.png",
        "h_webp_protected.png",
    ]
    beside = plan_outputs([paint("a.png"), paint("a_protected.png")], None)
    assert [path.name for path in beside.values()] == ["a_png_protected.png", "a_protected_protected.png"]


def test_odd_names() -> None:
    long, odd = paint(f"{'ü' * 120}.png"), paint("two\nlines \udcff?.png")
    Path("album.png").mkdir()  # a folder may be called like a picture
    assert run("protect", long, odd, "-o", "album.png", *QUICK) == 0
    assert sorted(os.listdir("album.png")) == ["twolines __protected.png", f"{'ü' * 100}_protected.png"]


def test_report_says_what_the_saved_file_says_and_nothing_of_this_machine(workplace: Path) -> None:
    paint("shed/a.png")
    settings = {"epsilon": 5, "steps": 3, "samples": 2, "step_size": 2.5, "objective": "advdm", "seed": 9}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    painting = workplace / "shed" / "a.png"
    assert run("protect", painting, "-o", workplace / "out", *options, "--even", "--report", "log/r.json") == 0
    text = Path("log/r.json").read_text()
    report = json.loads(text)
    assert report.pop("seconds") > 0 and str(workplace) not in text
    seen = compare(read_painting("shed/a.png"), read_painting("out/a_protected.png"))
    assert seen.max_change == 5  # three steps of 2.5 reach it and pass it
    assert report == settings | asdict(seen) | {
        "even": True,
        "as_published": False,
        "model": "tiny",
        "device": "cpu",
        "dtype": "float32",
        "painting": "a.png",
        "protected": "a_protected.png",
    }


def test_a_copy_that_came_out_unchanged_is_said(capsys: Capture) -> None:
    paint("shed/a.png"), paint("shed/b.png")
    assert run("protect", "shed", "--steps", 1, "--step-size", 0.01, "--report", "r.json") == 0
    assert capsys.readouterr().err.count("The copy came out unchanged") == 2
    for report in json.loads(Path("r.json").read_text(), parse_constant=pytest.fail):  # Infinity is not JSON
        assert (report["max_change"], report["psnr"], report["step_size"]) == (0, None, 0.01)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_mode_and_size_stay(mode: str) -> None:
    paint("a.png", mode, (133, 64))
    assert run("protect", "a.png", "--epsilon", 3, "--step-size", 2, "--even", *QUICK) == 0
    before, after = Image.open("a.png"), Image.open("a_protected.png")
    assert (after.mode, after.size) == (mode, (133, 64))
    change = np.abs(np.asarray(after).astype(int) - np.asarray(before)).reshape(64, 133, -1)
    assert change.max() == 3
    if mode.endswith("A"):
        assert change[..., -1].max() == 0


def test_notes_go_to_stderr(capsys: Capture) -> None:
    Image.open(paint("rgb.png")).quantize().save("a.png")
    assert run("protect", "a.png", *QUICK) == 0
    out, err = capsys.readouterr()
    assert err.startswith("a.png: Its palette ") and out.count("\n") == err.count("\n") == 1


def test_a_mask_leaves_black_clean() -> None:
    paint("a.png", size=(80, 72))
    mask = np.full((72, 80), 255, np.uint8)
    mask[:, 40:] = 0
    Image.fromarray(mask).save("mask.png")
    assert run("protect", "a.png", "--mask", "mask.png", "--report", "r.json", *QUICK) == 0
    change = np.asarray(Image.open("a.png")).astype(int) - np.asarray(Image.open("a_protected.png"))
    assert np.abs(change[:, :40]).max() > 0 and (change[:, 40:] == 0).all()
    assert json.loads(Path("r.json").read_text())["mask"] == "mask.png"


def test_a_strength_chooses_epsilon_for_the_painting() -> None:
    paint("a.png", size=(80, 72))
    reports = {}
    for strength in STRENGTHS:
        assert run("protect", "a.png", "--strength", strength, "--report", "r.json", *QUICK) == 0
        reports[strength] = json.loads(Path("r.json").read_text())
    assert all(report["strength"] == strength for strength, report in reports.items())
    epsilons = [report["epsilon"] for report in reports.values()]
    assert epsilons == sorted(epsilons) and epsilons[0] < epsilons[-1]
    half = np.full((72, 80), 255, np.uint8)
    half[:, 40:] = 0
    Image.fromarray(half).save("mask.png")
    assert run("protect", "a.png", "--strength", strength, "--mask", "mask.png", "--report", "r.json", *QUICK) == 0
    assert json.loads(Path("r.json").read_text())["epsilon"] == epsilons[-1], "the rest is no more visible for a mask"


@pytest.mark.parametrize(
    ("plain", "more"),
    [(["--objective", "textural"], ["--target", "red.png"]), ([], ["--as-published"]), ([], ["--even"])],
)
def test_what_else_changes_the_copy(plain: list[str], more: list[str]) -> None:
    paint("a.png"), Image.new("RGB", (64, 64), (255, 0, 0)).save("red.png")
    assert run("protect", "a.png", "-o", "plain.png", "--steps", 9, *plain) == 0
    assert run("protect", "a.png", "-o", "other.png", "--steps", 9, *plain, *more) == 0
    assert Path("plain.png").read_bytes() != Path("other.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epsilon", "65"], "Epsilon must lie between"),
        (["--epsilon", "eight"], "argument --epsilon: invalid int value: 'eight'"),
        (["--objective", "magic"], "There is no objective 'magic'"),
        (["--objective", "mist", "--as-published"], "works only with the objective advdm"),
        (["--target", "b.png"], "The objective 'advdm' has no target"),
        (["--objective", "mist", "--target", "a.txt"], "a.txt is not a PNG"),
        (["--objective", "mist", "--target", "b.png", "-o", "b.png"], "b.png would be replaced"),
        (["--mask", "b.png", "-o", "b.png"], "b.png would be replaced"),
        (["--mask", "gone.png"], "gone.png cannot be found"),
        (["b.png", "--mask", "c.png"], "c.png is the mask of one painting, not of 2"),
        (["--colour", "red\nblue"], "unrecognized arguments: --colour red blue"),
        (["b.png", "-o", "one.png"], "one.png is one file for 2 paintings; name a folder instead."),
        (["-o", "one.jpg"], "one.jpg must be a .png: lossy formats like JPEG weaken the protection."),
        (["-o", "./a.png"], "a.png is the painting itself"),
        (["-o", "link.png"], "link.png is the painting itself"),
        (["-o", "a.txt"], "a.txt is a file, not a folder."),
        (["-o", "a.txt/deeper"], "a.txt is a file, not a folder."),
        (["--report", "b.png"], "The report b.png must be a .json."),
        (["picture.json", "--report", "picture.json"], "picture.json would replace a painting"),
    ],
)
def test_refused_in_one_line(arguments: list[str], words: str, no_model: None, capsys: Capture) -> None:
    paint("a.png"), paint("b.png"), Path("a.txt").write_text("notes"), Path("link.png").symlink_to("a.png")
    paint("c.png"), paint("d.png").rename("picture.json")
    before = written()
    assert run("protect", "a.png", *arguments) == 2
    assert words in refusal(capsys)
    assert written() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "no such\nmodel"], "there is no such folder or file on this machine"),
        (["--mask", "small.png"], "The mask must be as large as the painting"),
    ],
)
def test_refused_later(arguments: list[str], words: str, capsys: Capture) -> None:
    paint("a.png"), paint("small.png", size=(70, 70))
    assert run("protect", "a.png", *arguments) == 2
    assert words in refusal(capsys)
    assert written() == ["a.png", "small.png"]


def test_read_only_and_empty_folders(monkeypatch: pytest.MonkeyPatch, no_model: None, capsys: Capture) -> None:
    paint("locked/a.png"), Path("empty").mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "locked")  # root may write anywhere
    for arguments in (["locked/a.png"], ["locked/a.png", "-o", "locked/new"]):
        assert run("protect", *arguments) == 2
        assert refusal(capsys) == "The folder locked cannot be written to."
    assert run("protect", "empty") == 2
    assert refusal(capsys) == "There is no picture in empty."


def test_defaults_are_those_of_the_library() -> None:
    parse = cli.parser().parse_args
    assert attack_settings(parse(["protect", "a.png"])) == Settings()
    assert mimicry_settings(parse(["mimic", "a.png", "b.png", "-o", "out"])) == MimicrySettings()
    options = parse(["evaluate", "DIR", "--imitator", "lora"])
    evaluation = EvaluationSettings(options.epsilons, options.objectives, options.seeds)
    assert evaluation == EvaluationSettings()
    assert mimicry_settings(options) == MimicrySettings(LoraSettings())
    options = parse(["robustness", "a.png", "-o", "out", "--imitator-steps", "7", "--steps", "9"])
    assert attack_settings(options) == Settings(steps=9)
    assert mimicry_settings(options).imitator.steps == 7


@pytest.mark.parametrize("command", ["", "protect", "mimic", "evaluate", "robustness", "models"])
def test_help_tells_defaults(command: str, capsys: Capture) -> None:
    assert run(*command.split(), "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m advdm") and err == ""
    assert "(default: None)" not in out and "(default: False)" not in out and "%(" not in out
    text = " ".join(out.split())
    learning = f"(default: inversion {InversionSettings.steps}, lora {LoraSettings.steps})"
    assert (f"(default: {Settings.steps})" in text) == (command in ("protect", "evaluate", "robustness"))
    assert (learning in text) == (command in ("mimic", "evaluate", "robustness"))


def test_no_command(capsys: Capture) -> None:
    assert run() == 2
    assert "COMMAND" in refusal(capsys)


def test_a_device_of_the_environment_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    paint("a.png")
    monkeypatch.setenv("ADVDM_DEVICE", "abacus")
    assert run("protect", "a.png") == run("models") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("(--device or ADVDM_DEVICE)") == err.count("\n") == 2


def test_a_stop_on_the_way_leaves_finished_files_whole_and_no_half_file() -> None:
    """Ctrl-C comes while the second of three paintings, whose noise takes long to compress, is being written.

    The temporary file that it waits for is what saves from half files, also where the process is killed.
    """
    paint("a.png"), paint("b.png", size=(2000, 1600)), paint("c.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "advdm", "protect", "gone.png", "a.png", "b.png", "c.png", "--report", "r.json", *QUICK],
        env={**ENVIRONMENT, "ADVDM_MODEL": os.environ["ADVDM_MODEL"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests in the background has made them, and what they start, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while not (Path("a_protected.png").exists() and any(Path().glob(".*.png"))):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "gone.png cannot be found.\nStopped.\n"), "and no library's warnings"
    assert out.startswith("a.png: largest change ") and out.count("\n") == 1
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "r.json"]
    reports = json.loads(Path("r.json").read_text())
    assert [one.get("protected") for one in reports] == [None, "a_protected.png"]
    read_painting("a_protected.png")
