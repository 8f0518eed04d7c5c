"""The command line, mostly in process, on a tiny model: files, exit codes, and what is said where."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from advdm import cli
from advdm.commands import mimic, protect
from advdm.commands.shared import OBJECTIVE_NAMES, attack_settings, mimicry_settings
from advdm.errors import AdvDMError
from advdm.imitators.inversion import load_word
from advdm.metrics import compare
from advdm.mimicry import MimicrySettings
from advdm.models.latent_diffusion import SHORT_NAMES, is_here
from advdm.objectives import OBJECTIVES
from advdm.paintings import read_painting
from advdm.protection import Settings
from tests.tiny import tiny_pipeline

ROOT = Path(__file__).parents[1]
QUICK = ("--steps", "2")


@pytest.fixture(scope="session")
def saved_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a diffusers folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def workplace(saved_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the tiny model as the default."""
    monkeypatch.setenv("ADVDM_MODEL", str(saved_tiny))
    monkeypatch.delenv("ADVDM_DEVICE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> int:
    """The exit code, whether argparse or a command ended the run."""
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def paint(path: str, mode: str = "RGB", size: tuple[int, int] = (80, 72), seed: int = 0) -> Path:
    """A picture file of noisy slopes, never black or white, so that nothing is clipped."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, bands))
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


def test_default_output_is_beside_the_painting(capsys: pytest.CaptureFixture[str]) -> None:
    paint("folder/harvest.png")
    assert run("protect", "folder/harvest.png", *QUICK) == 0
    assert written() == ["folder/harvest.png", "folder/harvest_protected.png"]
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err == ""
    assert out.startswith("harvest.png: largest change 2, PSNR ") and out.endswith(", folder/harvest_protected.png\n")


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    painting = paint("a.png")
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        assert run("protect", painting, "-o", f"{name}.png", "--seed", seed, *QUICK) == 0
    one, two, three = (Path(f"{name}.png").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three


def test_again_over_an_earlier_output() -> None:
    paint("a.png")
    first = [run("protect", "a.png", *QUICK), Path("a_protected.png").read_bytes()]
    assert [run("protect", "a.png", *QUICK), Path("a_protected.png").read_bytes()] == first
    assert written() == ["a.png", "a_protected.png"]


def test_files_and_folders_into_a_new_folder(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), paint("shed/b.jpg"), paint("shed/c.webp"), Path("shed/notes.txt").write_text("no picture")
    assert run("protect", "a.png", "shed", "-o", "new/out", *QUICK) == 0
    assert {path for path in written() if path.startswith("new")} == {f"new/out/{stem}_protected.png" for stem in "abc"}
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["a.png", "b.jpg", "c.webp"]


def test_a_target_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), Path("b.png").write_text("no picture")
    assert run("protect", "a.png", "--objective", "mist", "--target", "b.png") == 2
    assert refusal(capsys).startswith("b.png ")


def test_each_painting_gets_what_it_gets_alone() -> None:
    paint("a.png", seed=1), paint("b.png", seed=2)
    assert run("protect", "a.png", "b.png", *QUICK) == 0
    assert run("protect", "b.png", "-o", "alone.png", *QUICK) == 0
    assert Path("b_protected.png").read_bytes() == Path("alone.png").read_bytes()


def test_one_bad_file_does_not_stop_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), paint("c.png")
    Path("b.png").write_bytes(Path("a.png").read_bytes()[:2000])
    assert run("protect", "a.png", "b.png", "none.png", "c.png", "--report", "r.json", *QUICK) == 2
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in err.splitlines()] == ["b.png", "none.png"]
    assert len(out.splitlines()) == 2
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "c_protected.png", "r.json"]
    reports = json.loads(Path("r.json").read_text())
    assert [report["painting"] for report in reports] == ["a.png", "b.png", "none.png", "c.png"]
    assert [report["error"] for report in reports if "error" in report] == err.splitlines()
    assert ["protected" in report for report in reports] == [True, False, False, True]


def test_a_painting_that_fails_in_the_midst(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), paint("b.png")
    Path("a_protected.png").mkdir()  # cannot be replaced by a file
    assert run("protect", "a.png", "b.png", *QUICK) == 2
    out, err = capsys.readouterr()
    assert err.startswith("a_protected.png cannot be written") and err.count("\n") == 1
    assert out.startswith("b.png: ") and written() == ["a.png", "b.png", "b_protected.png"]


def test_alone_and_bad_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.png").write_text("no picture")
    assert run("protect", "a.png", "-o", "new/a.png", "--report", "r.json") == 2
    assert refusal(capsys).startswith("a.png ")
    assert written() == ["a.png"] and not Path("new").exists()


def test_same_stems_do_not_collide() -> None:
    sources = [paint(name, seed=i) for i, name in enumerate(["h.png", "h.jpg", "x/h.jpg", "x/H.JPG", "h.webp"])]
    targets = protect.plan_targets(sources, Path("out"))
    assert [target.name for target in targets.values()] == [
        "h_protected.png",
        "h_jpg_protected.png",
        "h_jpg_2_protected.png",
        "H_JPG_3_protected.png",
        "h_webp_protected.png",
    ]
    assert protect.plan_targets(sources[2:3], None) == {sources[2]: Path("x/h_protected.png")}


def test_a_target_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png", seed=1), paint("aim.png", seed=2)
    before = Path("aim.png").read_bytes()
    assert run("protect", "a.png", "--objective", "mist", "--target", "aim.png", "-o", "aim.png") == 2
    assert "aim.png is the target" in refusal(capsys)
    assert Path("aim.png").read_bytes() == before


def test_an_input_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png", seed=1), paint("a_protected.png", seed=2)
    before = [Path(name).read_bytes() for name in ("a.png", "a_protected.png")]
    assert run("protect", "a.png", "a_protected.png", *QUICK) == 0
    assert written() == ["a.png", "a_png_protected.png", "a_protected.png", "a_protected_protected.png"]
    capsys.readouterr()
    assert run("protect", "a.png", "-o", "./a.png") == 2
    assert "a.png is the painting itself" in refusal(capsys)
    Path("link.png").symlink_to("a.png")
    assert run("protect", "a.png", "-o", "link.png") == 2
    paint("b.json.png").rename("b.json")
    assert run("protect", "b.json", "--report", "b.json") == 2
    assert [Path(name).read_bytes() for name in ("a.png", "a_protected.png")] == before
    assert Image.open("b.json").format == "PNG"


def test_odd_names() -> None:
    long, odd = paint(f"{'ü' * 120}.png"), paint("two\nlines \udcff?.png")
    assert run("protect", long, odd, "-o", "out", *QUICK) == 0
    assert sorted(os.listdir("out")) == ["twolines __protected.png", f"{'ü' * 100}_protected.png"]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("one.png", "one.png is one file for 2 paintings; name a folder instead."),
        ("one.jpg", "one.jpg must be a .png: lossy formats like JPEG weaken the protection."),
        ("a.txt", "a.txt is a file, not a folder."),
        ("a.txt/deeper", "a.txt is a file, not a folder."),
    ],
)
def test_outputs_that_cannot_be(output: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), paint("b.png"), Path("a.txt").write_text("notes")
    assert run("protect", "a.png", "b.png", "-o", output) == 2
    assert refusal(capsys) == sentence
    assert written() == ["a.png", "a.txt", "b.png"]


def test_a_folder_may_be_called_like_a_picture() -> None:
    paint("a.png"), Path("album.png").mkdir()
    assert run("protect", "a.png", "-o", "album.png", *QUICK) == 0
    assert written() == ["a.png", "album.png/a_protected.png"]


def test_read_only_folder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    paint("locked/a.png")
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).name != "locked")  # root may write anywhere
    for arguments in (["locked/a.png"], ["locked/a.png", "-o", "locked/new"]):
        assert run("protect", *arguments) == 2
        assert refusal(capsys) == "The folder locked cannot be written to."


def test_empty_folder(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert run("protect", "empty") == 2
    assert refusal(capsys) == "There is no picture in empty."


def test_report_says_what_the_saved_file_says(saved_tiny: Path) -> None:
    paint("a.png")
    settings = {"epsilon": 5, "steps": 3, "samples": 2, "step_size": 2.5, "objective": "advdm", "seed": 9}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    assert run("protect", "a.png", "-o", "out", *options, "--robust", "--device", "cpu", "--report", "log/r.json") == 0
    report: dict[str, Any] = json.loads(Path("log/r.json").read_text())
    assert report.pop("seconds") > 0
    seen = compare(read_painting("a.png"), read_painting("out/a_protected.png"))
    assert seen.max_change == 5  # three steps of 2.5 reach it and pass it
    assert report == settings | {
        "robust": True,
        "model": str(saved_tiny),
        "device": "cpu",
        "dtype": "float32",
        "painting": "a.png",
        "protected": "out/a_protected.png",
        "max_change": seen.max_change,
        "psnr": seen.psnr,
        "ssim": seen.ssim,
        "perceptual": seen.perceptual,
    }


def test_report_of_a_change_too_small_to_save() -> None:
    paint("a.png")
    assert run("protect", "a.png", "--steps", 1, "--step-size", 0.01, "--report", "r.json") == 0
    report = json.loads(Path("r.json").read_text(), parse_constant=pytest.fail)  # Infinity is not JSON
    assert (report["max_change"], report["psnr"], report["step_size"]) == (0, None, 0.01)


def test_report_of_one_is_an_object_and_of_a_folder_a_list() -> None:
    paint("shed/a.png"), paint("shed/b.png")
    assert run("protect", "shed/a.png", "--report", "one.json", *QUICK) == 0
    assert run("protect", "shed", "--report", "all.json", *QUICK) == 0
    one, both = (json.loads(Path(name).read_text()) for name in ("one.json", "all.json"))
    assert isinstance(one, dict) and one["step_size"] == 1.0
    assert [report["protected"] for report in both] == ["shed/a_protected.png", "shed/b_protected.png"]


def test_report_needs_its_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png")
    assert run("protect", "a.png", "--report", "a.png") == 2
    assert refusal(capsys) == "The report a.png must be a .json."


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(81, 97), (133, 64)])
def test_mode_and_size_stay(mode: str, size: tuple[int, int]) -> None:
    paint("a.png", mode, size)
    assert run("protect", "a.png", "--epsilon", 3, "--step-size", 2, *QUICK) == 0
    before, after = Image.open("a.png"), Image.open("a_protected.png")
    assert (after.mode, after.size) == (mode, size)
    change = np.abs(np.asarray(after).astype(int) - np.asarray(before)).reshape(size[1], size[0], -1)
    assert change.max() == 3
    if mode.endswith("A"):
        assert change[..., -1].max() == 0


def test_notes_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(paint("rgb.png")).quantize().save("a.png")
    assert run("protect", "a.png", *QUICK) == 0
    out, err = capsys.readouterr()
    assert err.startswith("a.png: Its palette ") and out.count("\n") == err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--epsilon", "0", "Epsilon must lie between"),
        ("--epsilon", "65", "Epsilon must lie between"),
        ("--epsilon", "eight", "argument --epsilon: invalid int value: 'eight'"),
        ("--steps", "0", "Steps must lie between"),
        ("--samples", "-1", "Samples must lie between"),
        ("--step-size", "nan", "Step size must lie between"),
        ("--step-size", "0", "Step size must lie between"),
        ("--seed", str(2**63), "Seed must lie between"),
        ("--objective", "magic", "There is no objective 'magic'"),
        ("--target", "a.png", "The objective 'advdm' has no target"),
        ("--device", "abacus", "(--device or ADVDM_DEVICE)"),
        ("--model", "nobody/nothing", "ADVDM_MODEL"),
        ("--model", "no such\nmodel", "ADVDM_MODEL"),
        ("--model", "runwayml/stable-diffusion-v1-5", "use sd15"),
        ("--colour", "red\nblue", "unrecognized arguments: --colour red blue"),
    ],
)
def test_refused_in_one_line(option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png")
    assert run("protect", "a.png", option, value, "--report", "r.json") == 2
    assert words in refusal(capsys)
    assert written() == ["a.png"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that must be missing")
def test_missing_device(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png")
    monkeypatch.setenv("ADVDM_DEVICE", "cuda")
    assert run("protect", "a.png") == run("models") == 2
    assert capsys.readouterr().err.count("'cuda' is not available here") == 2


def test_nothing_is_loaded_for_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    paint("a.png"), Path("b.png").touch()
    for arguments in (["b.png"], ["c.png"], ["a.png", "--epsilon", "99"], ["a.png", "-o", "b.png/deep"]):
        assert run("protect", *arguments) == 2


def test_broken_model_folder_is_one_line(saved_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paint("a.png"), Path("model").mkdir()
    Path("model/model_index.json").write_bytes((saved_tiny / "model_index.json").read_bytes())
    assert run("protect", "a.png", "--model", "model") == 2
    assert "'model' is not a complete Stable Diffusion pipeline" in refusal(capsys)


def test_defaults_are_those_of_the_library() -> None:
    options = cli.parser().parse_args(["protect", "a.png"])
    assert attack_settings(options) == Settings() and not options.robust


def test_help_names_every_objective() -> None:
    assert OBJECTIVE_NAMES.replace(" or ", ", ").split(", ") == list(OBJECTIVES)


def test_target_of_ones_own() -> None:
    paint("a.png"), Image.new("RGB", (64, 64), (255, 0, 0)).save("red.png")
    options = ["a.png", "--objective", "textural", *QUICK]
    assert run("protect", *options, "-o", "pattern.png") == 0
    assert run("protect", *options, "-o", "red_target.png", "--target", "red.png", "--report", "r.json") == 0
    assert Path("pattern.png").read_bytes() != Path("red_target.png").read_bytes()
    assert json.loads(Path("r.json").read_text())["target"] == "red.png"


@pytest.mark.parametrize("command", [[], ["protect"], ["mimic"], ["evaluate"], ["robustness"], ["models"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m advdm") and "(default: None)" not in out and err == ""
    assert "(default: False)" not in out
    assert ("(default: 100)" in out) == (command in (["protect"], ["evaluate"], ["robustness"]))


def test_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "COMMAND" in refusal(capsys)


def test_models(saved_tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    *table, device, hint = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in table}
    assert list(rows) == [*SHORT_NAMES, str(saved_tiny)]
    assert rows[str(saved_tiny)].endswith("  here, default")
    assert SHORT_NAMES["sd15"] in rows["sd15"] and not rows["sd15"].endswith("default")
    assert device == f"Device: {'cuda' if torch.cuda.is_available() else 'cpu'}"
    assert "ADVDM_MODEL" in hint and "--model" in hint
    monkeypatch.delenv("ADVDM_MODEL")
    assert run("models") == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("here, default")


def test_models_on_this_machine(saved_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = Path("hub/models--someone--something/snapshots/123").absolute()
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(saved_tiny)
    reference = Path("hub/models--someone--something/refs/main")
    reference.parent.mkdir()
    reference.write_text("123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path("hub").absolute()))
    assert is_here("someone/something") and is_here(str(saved_tiny))
    assert not is_here("someone/else") and not is_here("no such model") and not is_here("x" * 300)
    Path("half").mkdir()
    Path("half/model_index.json").write_bytes((saved_tiny / "model_index.json").read_bytes())
    assert not is_here("half")


def start(*arguments: str) -> subprocess.Popen[str]:
    """python -m advdm, in the working folder, on one core."""
    return subprocess.Popen(
        [sys.executable, "-m", "advdm", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that put the tests in the background has made them, and what they start, deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_as_a_program() -> None:
    paint("a.png")
    # Only a process of its own shows what the libraries log.
    refused = start("protect", "a.png", "-o", "b.png", "--model", "nobody/nothing")
    process = start("protect", "a.png", "gone.png", *QUICK)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, "gone.png cannot be found.\n")
    assert out.startswith("a.png: largest change 2, ")
    out, err = refused.communicate(timeout=120)
    assert (refused.returncode, out, err.count("\n")) == (2, "", 1) and "ADVDM_MODEL" in err
    assert written() == ["a.png", "a_protected.png"]


def interrupt(kind: signal.Signals) -> tuple[int, str]:
    """Protect three paintings, and strike while the second, whose noise takes long to compress, is being written."""
    paint("a.png"), paint("b.png", size=(2000, 1600)), paint("c.png")
    process = start("protect", "a.png", "b.png", "c.png", "--report", "r.json", "--steps", "1")
    deadline = time.monotonic() + 120
    while not (Path("a_protected.png").exists() and any(Path().glob(".*.png"))):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    process.send_signal(kind)
    _, err = process.communicate(timeout=60)
    assert not Path("b_protected.png").exists() and not Path("c_protected.png").exists()
    read_painting("a_protected.png")
    return process.returncode, err


def test_ctrl_c_leaves_finished_files_whole_and_no_half_file() -> None:
    assert interrupt(signal.SIGINT) == (130, "Stopped.\n")
    assert written() == ["a.png", "a_protected.png", "b.png", "c.png", "r.json"]
    assert [report["protected"] for report in json.loads(Path("r.json").read_text())] == ["a_protected.png"]


def test_kill_leaves_no_half_file_under_a_final_name() -> None:
    assert interrupt(signal.SIGKILL) == (-signal.SIGKILL, "")
    assert run("protect", "a.png", "b.png", "-o", "again", "--steps", "1") == 0
    assert Path("again/a_protected.png").read_bytes() == Path("a_protected.png").read_bytes()


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, advdm, advdm.cli; advdm.cli.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[1], check=False).returncode == 0


MIMIC = ("--steps", "2", "--vectors", "1", "--prompts", "prompts.txt", "--sampling-steps", "4", "-o", "out")


@pytest.fixture
def pair() -> None:
    """A painting and its protected copy, and two prompts."""
    paint("a.png", seed=1), paint("a_protected.png", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\n  a boat in {}\n", encoding="utf-8-sig")


def test_mimic(pair: None, saved_tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mimic", "a.png", "a_protected.png", "--count", 2, "--report", "log/r.json", *MIMIC) == 0
    out, err = capsys.readouterr()
    sides = ("original", "protected", "unseen")
    names = [f"{side}_{number:02}.png" for side in sides for number in (1, 2, 3, 4)]
    assert sorted(os.listdir("out")) == sorted(
        [*names, "sheet.png", "original.safetensors", "protected.safetensors", "report.json"]
    )
    assert all(Image.open(f"out/{name}").size == (64, 64) for name in names)
    report = json.loads(Path("out/report.json").read_text(), parse_constant=pytest.fail)
    assert report == json.loads(Path("log/r.json").read_text())
    assert (out, err) == (f"{report['verdict']['sentence']}\nSee out/sheet.png.\n", "")
    assert report["verdict_repainted"] is None
    for metric in ("style_distance", "frechet_distance", "knn_precision"):
        assert sorted(report[metric]) == sorted(sides)
    seen = compare(read_painting("a.png"), read_painting("a_protected.png"))
    assert {name: report[name] for name in asdict(seen)} == asdict(seen)
    assert report["prompts"] == ["a painting in the style of {}", "a boat in {}"]
    assert (report["model"], report["inversion"]["steps"], report["count"]) == (str(saved_tiny), 2, 2)
    assert report["verdict"]["original"] == report["style_distance"]["original"]
    assert load_word("out/protected.safetensors").vectors.shape == (1, 16)


def test_mimic_repeats_also_over_an_earlier_run_and_paints_over(pair: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mimic", "a.png", "a_protected.png", "--seed", 5, *MIMIC) == 0
    before = {name: Path("out", name).read_bytes() for name in os.listdir("out") if name != "report.json"}
    assert run("mimic", "a.png", "a_protected.png", "--seed", 5, "--strength", 0.5, *MIMIC) == 0
    changed = {name for name, data in before.items() if Path("out", name).read_bytes() != data}
    assert changed == {"sheet.png"}, "which has two rows more"
    assert Path("out/original_repainted_02.png").exists() and Path("out/protected_repainted_02.png").exists()
    report = json.loads(Path("out/report.json").read_text())
    learned, over, distances = report["verdict"], report["verdict_repainted"], report["style_distance"]
    assert capsys.readouterr().out.endswith(f"{learned['sentence']}\n{over['sentence']}\nSee out/sheet.png.\n")
    assert "painted over the original" in over["sentence"] and "learned from" not in over["sentence"]
    assert over["baseline"] == learned["baseline"]
    assert [over[side] for side in ("original", "protected")] == [
        distances[f"{side}_repainted"] for side in ("original", "protected")
    ]
    assert not any(name.startswith(".") for name in os.listdir("out"))


def test_mimic_doubts_a_pair_of_two_paintings(pair: None, capsys: pytest.CaptureFixture[str]) -> None:
    Image.open("a.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.png")
    assert run("mimic", "a.png", "b.png", *MIMIC) == 0
    assert capsys.readouterr().err.startswith("The pictures do not look like the same painting")


def test_mimic_leaves_no_pictures_of_an_earlier_run(pair: None) -> None:
    assert run("mimic", "a.png", "a_protected.png", "--count", 2, "--strength", 0.5, *MIMIC) == 0
    own = ("original_sketch", "original_sketch_2019", "protected_harvest_2")
    for name in own:
        Path(f"out/{name}.png").write_bytes(b"somebody's own")
    assert run("mimic", "a.png", "a_protected.png", *MIMIC) == 0
    report = json.loads(Path("out/report.json").read_text())
    left = {
        f"{side}_{i:02}" for side in ("unseen", "original", "protected") for i in range(1, len(report["prompts"]) + 1)
    }
    assert {path.stem for path in Path("out").glob("*.png")} == {*left, "sheet", *own}


def test_mimic_removes_nothing_where_it_never_wrote(pair: None) -> None:
    Path("out").mkdir()
    Path("out/original_57.png").write_bytes(b"somebody's own")
    assert run("mimic", "a.png", "a_protected.png", *MIMIC) == 0
    assert Path("out/original_57.png").exists()


def test_mimic_learns_the_same_from_equal_pictures(pair: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advdm.mimicry.LEAST_GAIN", -math.inf)  # a tiny model learns too little to be put on the scale
    assert run("mimic", "a.png", "a.png", *MIMIC) == 0
    levels = [np.asarray(Image.open(f"out/{side}_01.png")).astype(int) for side in ("original", "protected")]
    assert np.abs(levels[0] - levels[1]).max() <= 1  # the words have other places in the batch: rounded otherwise
    report = json.loads(Path("out/report.json").read_text())
    assert (report["max_change"], report["psnr"]) == (0, None)
    assert report["verdict"]["imitation"] == pytest.approx(100, abs=1)


def test_pairs_go_by_name() -> None:
    for name in (
        "shed/a.png",
        "shed/a_b.jpg",
        "shed/a_protected.png",
        "shed/a_b_protected.png",
        "shed/.x_protected.png",
    ):
        paint(name)
    expected = [
        (Path(f"shed/{stem}"), Path(f"shed/{copy}_protected.png"))
        for stem, copy in (("a.png", "a"), ("a_b.jpg", "a_b"))
    ]
    assert mimic.find_pairs(Path("shed"), Path("shed")) == expected
    paint("copies/1.png"), paint("copies/2.png")
    assert [copy.name for _, copy in mimic.find_pairs(Path("shed"), Path("copies"))] == ["1.png", "2.png"]
    assert mimic.find_pairs(Path("shed/a.png"), Path("copies/1.png")) == [(Path("shed/a.png"), Path("copies/1.png"))]


def test_pairs_of_two_paintings_with_one_stem() -> None:
    """Their copies are a_protected.png and a_png_protected.png, which in order of their names would be swapped."""
    for name in ("shed/a.jpg", "shed/a.png"):
        paint(name)
    assert run("protect", "shed", "-o", "out", "--steps", "1") == 0
    pairs = mimic.find_pairs(Path("shed"), Path("out"))
    assert {original.name: copy.name for original, copy in pairs} == {
        "a.jpg": "a_protected.png",
        "a.png": "a_png_protected.png",
    }


def test_one_renamed_copy_is_not_guessed() -> None:
    for name in ("shed/a.png", "shed/b.png", "copies/a_protected.png", "copies/best_protected.png"):
        paint(name)
    with pytest.raises(AdvDMError, match=r"copy of b.png\?"):
        mimic.find_pairs(Path("shed"), Path("copies"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png", "gone.png"], "gone.png cannot be found."),
        (["a.png", "bad.png"], "bad.png is not a PNG"),
        (["a.png", "empty"], "There is no picture in empty."),
        (["shed", "a.png"], "Originals: 2, protected copies: 1"),
        (["a.png", "a_protected.png", "-o", "."], "holds the paintings; choose another."),
        (["a.png", "a_protected.png", "-o", "bad.png"], "bad.png is a file, not a folder."),
        (["a.png", "a_protected.png", "--prompts", "gone.txt"], "gone.txt cannot be read: no such file"),
        (["a.png", "a_protected.png", "--prompts", "a.png"], "a.png is not a text file in UTF-8."),
        (["a.png", "a_protected.png", "--prompts", "plain.txt"], "Each prompt in plain.txt needs {} in the place"),
        (["a.png", "a_protected.png", "--steps", "0"], "Steps must lie between"),
        (["a.png", "a_protected.png", "--vectors", "99"], "Vectors must lie between"),
        (["a.png", "a_protected.png", "--learning-rate", "2"], "Learning rate must lie between"),
        (["a.png", "a_protected.png", "--strength", "2"], "Strength must lie between"),
        (["a.png", "a_protected.png", "--report", "a.png"], "The report a.png must be a .json."),
    ],
)
def test_mimic_refuses_in_one_line(
    pair: None, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    paint("shed/a.png"), paint("shed/b.png"), Path("empty").mkdir()
    Path("bad.png").write_text("no picture"), Path("plain.txt").write_text("a boat\n")
    before = written()
    assert run("mimic", *MIMIC, *arguments) == 2
    assert words in refusal(capsys)
    assert written() == before and not Path("out").exists()


@pytest.mark.parametrize("command", (["evaluate", "shed"], ["robustness", "shed", "-o", "out"]))
def test_experiments_find_a_damaged_file_before_they_begin(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A JPEG cut off in the middle, whose head is whole: what only decoding tells."""
    monkeypatch.setattr("advdm.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    paint("shed/a.png")
    cut = paint("shed/b.jpg", size=(400, 300))
    cut.write_bytes(cut.read_bytes()[:-3000])
    assert run(*command) == 2
    assert "b.jpg" in refusal(capsys)


def test_mimic_stopped_or_failing_leaves_nothing(
    pair: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("advdm.mimicry.imitate", stop)
    assert run("mimic", "a.png", "a_protected.png", *MIMIC) == 130
    assert refusal(capsys) == "Stopped." and written() == before


def test_mimic_defaults_are_those_of_the_library() -> None:
    options = cli.parser().parse_args(["mimic", "a.png", "b.png", "-o", "out"])
    assert mimicry_settings(options, options.steps, options.seed, options.strength) == MimicrySettings()
    options = cli.parser().parse_args(["mimic", "a.png", "b.png", "-o", "out", "--learning-rate", "0.005"])
    assert mimicry_settings(options, options.steps).inversion.learning_rate == 0.005
