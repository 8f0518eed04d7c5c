"""evaluate and robustness end to end on the tiny model: sides, cleaners, cells, resumption, files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from advdm.experiments import cells, robustness
from advdm.experiments.evaluate import Evaluation
from advdm.experiments.measure import Side, measure, ticks
from advdm.experiments.robustness import CLEANERS, Robustness, cleaned
from advdm.experiments.tables import COLUMNS
from advdm.metrics import compare, noise_error
from advdm.mimicry import ORIGINAL, PROMPT_ONLY, PROTECTED, RANDOM
from advdm.models import LatentDiffusion, StableDiffusion
from advdm.paintings import Painting
from advdm.protection import protect
from advdm.settings import AS_PUBLISHED, MimicrySettings, RepaintSettings, Sampling, Settings
from tests.command_line import ENVIRONMENT, paint, refusal, run, written
from tests.tiny import tiny_pipeline

PAINT = ("--imitator", "repaint", "--prompts", "prompts.txt", "--count", "2", "--sampling-steps", "2")
QUICK = ("--steps", "2", "--epsilons", "4,8", *PAINT)
ONE_COPY = ("--epsilons", "4", "--objectives", "advdm")
SIDES = [PROMPT_ONLY, ORIGINAL, *(f"{name} {e}" for name in (RANDOM, "advdm", AS_PUBLISHED) for e in (4, 8))]
MIMICRY = MimicrySettings(RepaintSettings(), ("a {}", "a boat"), 2, Sampling(2))
Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture(autouse=True)
def pictures(workplace: Path) -> None:
    """Two pictures in DIR, and prompts."""
    paint("DIR/a.png", seed=1), paint("DIR/b.jpg", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\na boat in {}\n")


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of sides of each experiment that set out."""
    calls: list[int] = []
    whole = cells.measure
    monkeypatch.setattr(
        cells, "measure", lambda model, sides, *given: calls.append(len(sides)) or whole(model, sides, *given)
    )
    return calls


def label(row: dict) -> str:
    return str(Side(row["copy"], int(row["epsilon"]), row["cleaner"]))


def test_evaluate_from_files_to_tables_and_again(learning: list[int], capsys: Capture) -> None:
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert learning == [7, 7], "once for each picture, all sides together"
    results = {name: Path("out", name).read_bytes() for name in os.listdir("out") if name != "cells"}
    assert sorted(results) == ["evaluation.csv", "evaluation.md", "evaluation_subjects.csv"]
    text = results["evaluation.md"].decode()
    assert capsys.readouterr() == (text, "")
    assert text.startswith("# Evaluation: 2 subjects, 1 seed, tiny\n\n| learned from |")
    assert json.loads(text.split("Settings: `")[1].split("`")[0])["attack"]["steps"] == 2
    assert not list(Path("out").rglob(".*")), "nothing half written stays"
    sheets = [np.asarray(Image.open(path)) for path in Path("out").glob("cells/*/sheet.jpg")]
    assert len(sheets) == 2 and all(sheet.shape[1] > 5 * 64 and sheet.std() > 5 for sheet in sheets)

    rows = pd.read_csv("out/evaluation_subjects.csv")
    assert list(rows["subject"].unique()) == ["a.png", "b.jpg"]
    table = pd.read_csv("out/evaluation.csv")
    assert [label(row) for row in table.to_dict("records")] == SIDES
    assert {*COLUMNS} <= {*table.columns} and table["visibility"].notna().sum() == len(SIDES) - 1
    mean = rows.groupby(["copy", "epsilon"], sort=False)["distance"].mean()
    assert list(table["distance"]) == pytest.approx(list(mean))

    made = {path: path.stat().st_mtime_ns for path in Path("out").glob("cells/*/*")}
    assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert len(learning) == 2, "a second run learns nothing"
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("cells/*/*")} == made
    assert {name: Path("out", name).read_bytes() for name in results} == results


def test_a_run_that_stops_in_the_midst_goes_on(learning: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ("evaluate", "DIR", "-o", "out", *QUICK, *ONE_COPY)
    whole = cells.measure

    def interrupted(*given: object) -> object:
        if learning:
            raise KeyboardInterrupt
        return whole(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "measure", interrupted)
        assert run(*quick) == 130
    assert os.listdir("out") == ["cells"] and len(os.listdir("out/cells")) == 1, "the finished cell, and no other"
    assert run(*quick) == 0
    assert len(learning) == 2

    # Another seed for one picture alone, whose first cell is lost: only these two are made.
    Path("DIR/b.jpg").unlink()
    lost = next(Path("out").glob("cells/a.png-0-*"))
    before = {path.name: path.read_bytes() for path in lost.iterdir()}
    shutil.rmtree(lost)
    assert run(*quick, "--seeds", 2) == 0
    assert len(learning) == 4
    assert {path.name: path.read_bytes() for path in lost.iterdir()} == before, "the same seed gives the same cell"


def test_a_folder_is_one_painter_and_what_was_written_is_none(
    learning: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    paint("DIR/vincent/a.png", seed=1), paint("DIR/vincent/b.png", size=(70, 99), seed=2)
    for _ in range(2):
        quick = (*ONE_COPY, *(x.replace("prompts.txt", "../prompts.txt") for x in PAINT))
        with monkeypatch.context() as there:
            there.chdir("DIR")
            assert run("evaluate", ".", "-o", "out", "--steps", 1, *quick) == 0
    assert len(learning) == 3
    assert set(pd.read_csv("DIR/out/evaluation_subjects.csv")["subject"]) == {"a.png", "b.jpg", "vincent"}


def test_sides_are_what_they_are_called(tiny: LatentDiffusion, painting: Painting) -> None:
    attack = Settings(steps=2, step_size=4)
    experiment = Evaluation((8,), ("advdm", AS_PUBLISHED), 1, attack, MIMICRY)
    counted: list[int] = []
    sides = experiment.sides([painting], 3, tiny, counted.append)
    assert sum(counted) + ticks(MIMICRY, len(sides)) == experiment.ticks(1)
    assert list(sides) == [Side(ORIGINAL), Side(RANDOM, 8), Side("advdm", 8), Side(AS_PUBLISHED, 8)]
    for name, published in (("advdm", False), (AS_PUBLISHED, True)):
        expected = protect(painting, tiny, steps=2, step_size=4, seed=3, as_published=published)
        assert np.array_equal(sides[Side(name, 8)][0].levels, expected.levels)
    outcome = measure(tiny, sides, MIMICRY, counted.append)
    assert sum(counted) == experiment.ticks(1)
    assert list(outcome.rows) == list(outcome.pictures) == [Side(PROMPT_ONLY), *sides]
    assert all(pictures.shape == (4, 3, 64, 64) for pictures in outcome.pictures.values())
    for side, (copy,) in sides.items():
        row, seen = outcome.rows[side], compare(painting, copy)
        assert (row["max_change"], row["ssim"]) == (seen.max_change, seen.ssim)
        assert row["psnr"] == (seen.psnr if side.epsilon else None)
        assert row["noise_error"] == noise_error(copy, tiny)
        assert row["distance"] == outcome.finding.distance[str(side)]
    assert "noise_error" not in outcome.rows[Side(PROMPT_ONLY)]


def test_cleaners(tiny: LatentDiffusion, painting: Painting) -> None:
    done = {name: cleaned(painting, name, tiny).levels for name in CLEANERS}
    assert np.array_equal(done.pop("none"), painting.levels)
    assert done["JPEG and half size"].shape == (35, 45, 3)
    for name, levels in done.items():
        assert levels.dtype == np.uint8 and levels.std() > 1, name
        assert np.array_equal(cleaned(painting, name, tiny).levels, levels), "the same again"


def test_the_adaptive_cleaner_descends_and_keeps_its_bound(
    tiny: LatentDiffusion, painting: Painting, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = robustness.seen_whole(painting.levels, tiny)

    def gap(levels: np.ndarray) -> float:
        pixels = robustness.seen_whole(levels, tiny)
        return float((tiny.reconstruct(pixels) - pixels).square().mean())

    after = robustness.consistent(painting.levels, tiny)
    assert gap(after) < gap(painting.levels)
    monkeypatch.setattr(robustness, "BOUND", 2 / 255)
    near = robustness.seen_whole(robustness.consistent(painting.levels, tiny), tiny)
    assert (near - before).square().mean().sqrt() < 2.5 / 255


@pytest.mark.parametrize(("options", "epsilon"), [((), 8), (("--strength", "subtle"), 0)])
def test_robustness_from_files_to_tables(
    options: tuple[str, ...], epsilon: int, learning: list[int], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    few = {name: CLEANERS[name] for name in ("none", "autoencoder")}
    monkeypatch.setattr(robustness, "CLEANERS", few)
    paint("more/a.png", seed=3)
    assert run("robustness", "DIR/a.png", "more", "-o", "out", "--steps", 2, *options, *PAINT) == 0
    assert learning == [6, 6]
    table = pd.read_csv("out/robustness.csv").to_dict("records")
    best, other = sorted(
        few, key=lambda way: next(r["distance"] for r in table if r["copy"] == PROTECTED and r["cleaner"] == way)
    )
    copies = (Side(ORIGINAL), Side(RANDOM, epsilon), Side(PROTECTED, epsilon))
    ways = [str(replace(copy, cleaner=way)) for way in (best, other) for copy in copies]
    assert [label(row) for row in table] == [PROMPT_ONLY, *ways], "the imitator's best way comes first"
    assert f"- The imitator does best with: {best}.\n" in capsys.readouterr().out
    assert set(pd.read_csv("out/robustness_subjects.csv")["subject"]) == {"a.png (1)", "a.png (2)"}
    assert Robustness(Settings(steps=2), MIMICRY).ticks(1) == 2 + 6 + ticks(MIMICRY, 6)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["evaluate", "DIR", "--epsilons", "4,99"], "Epsilon must lie between"),
        (["evaluate", "DIR", "--epsilons", "4,,8"], "argument --epsilons"),
        (["evaluate", "DIR", "--objectives", "advdm,magic"], "There is no objective 'magic'"),
        (["evaluate", "DIR", "--seeds", "0"], "Seeds must lie between"),
        (["evaluate", "DIR", "--imitator", "repaint", "--imitator-steps", "9"], "The imitator 'repaint' has no steps."),
        (["evaluate", "DIR", "-o", "DIR"], "The folder DIR holds the paintings"),
        (["evaluate", "nowhere"], "nowhere is not a folder."),
        (["evaluate", "empty"], "There is no picture in empty."),
        (["evaluate", "cut"], "c.jpg is damaged"),
        (["robustness", "DIR", "-o", "DIR"], "The folder DIR holds the paintings"),
        (["robustness", "cut", "-o", "out"], "c.jpg is damaged"),
        (["robustness", "DIR"], "-o/--output"),
    ],
)
def test_refused_in_one_line(command: list[str], words: str, no_model: None, capsys: Capture) -> None:
    Path("empty").mkdir()
    whole = paint("cut/c.jpg", size=(400, 300))  # whose head is whole: only decoding tells
    whole.write_bytes(whole.read_bytes()[:-3000])
    before = written()
    assert run(*command) == 2
    assert words in refusal(capsys)
    assert written() == before


def test_another_sampler_or_weight_is_another_model(tiny: LatentDiffusion) -> None:
    other, heavier = tiny_pipeline(), tiny_pipeline()
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, beta_end=0.02)
    heavier.text_encoder.get_input_embeddings().weight.data[0, 0] += 1
    prints = {cells.fingerprint(StableDiffusion(one, "tiny")) for one in (other, heavier)} | {cells.fingerprint(tiny)}
    assert len(prints) == 3
    assert cells.fingerprint(StableDiffusion(tiny_pipeline(), "tiny")) in prints


def test_a_cell_that_another_run_made_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "cells" / "a-0"
    with cells.new_folder(target) as folder:
        (folder / "cell.json").write_text("mine")
        target.mkdir()
        (target / "cell.json").write_text("theirs")
    assert [path.name for path in target.parent.iterdir()] == ["a-0"]
    assert (target / "cell.json").read_text() == "theirs"


def test_each_cell_is_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are more processes than cells are missing; of these here each runs alone, one after another."""
    made: list[Path] = []
    # Both cells are missing still when each process looks.
    monkeypatch.setattr(cells.Cell, "finished", False)
    monkeypatch.setattr(cells, "make_cell", lambda cell, *_: made.append(cell.folder))
    for index in range(3):
        state = SimpleNamespace(
            process_index=index, num_processes=3, is_main_process=False, wait_for_everyone=lambda: None
        )
        monkeypatch.setattr("advdm.commands.terminal.processes", lambda device, state=state: state)
        assert run("evaluate", "DIR", "-o", "out", *QUICK) == 0
    assert len(made) == len(set(made)) == 2


BOTH = """
import sys
from advdm import cli
codes = [cli.main(line.split()) for line in sys.argv[1:]]
sys.exit(codes != [2, 0])
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With another number of threads sums are rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_two_processes_share_the_work(one_thread: None) -> None:
    """As `accelerate launch` starts them, on two CPU processes; one of the paintings is bad."""
    for number in range(3):
        paint(f"shed/{number}.png", seed=number)
    Path("shed/bad.png").write_text("no picture")
    protect_ = "protect shed -o {} --steps 1 --report {}.json"
    evaluate = f"evaluate DIR -o {{}} {' '.join(QUICK + ONE_COPY)}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = {**ENVIRONMENT, **shared, "ADVDM_MODEL": os.environ["ADVDM_MODEL"], "ADVDM_DEVICE": "cpu"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BOTH, protect_.format("two", "two"), evaluate.format("cells2")],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum(out.count("| learned from |") for out, _ in said) == 1, "only the first writes the tables"
    assert all(out.count("largest change") for out, _ in said), "each protects some"
    assert sum(err.count("bad.png ") for _, err in said) == 1
    reports = json.loads(Path("two.json").read_text())
    assert [one["painting"] for one in reports] == ["0.png", "1.png", "2.png", "bad.png"]
    run(*protect_.format("one", "one").split()), run(*evaluate.format("cells1").split())
    for path in Path("one").iterdir():
        assert path.read_bytes() == Path("two", path.name).read_bytes()
    assert Path("cells1/evaluation.csv").read_bytes() == Path("cells2/evaluation.csv").read_bytes()
