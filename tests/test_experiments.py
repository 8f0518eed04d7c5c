"""evaluate and robustness end to end on the tiny model: sides, cleaners, cells, resumption, files."""

import json
import os
import shutil
import socket
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
from advdm.models import StableDiffusion
from advdm.paintings import read_painting
from advdm.protection import protect, protection_steps
from advdm.settings import AS_PUBLISHED, MimicrySettings, RepaintSettings, Sampling, Settings
from tests.command_line import paint, run, start
from tests.tiny import tiny_pipeline

PAINT = "--imitator repaint --prompts prompts.txt --count 2 --sampling-steps 2"
EVALUATE = f"evaluate DIR -o out --steps 2 {PAINT}"
ONE_COPY = "--epsilons 4 --objectives advdm"
SIDES = [PROMPT_ONLY, ORIGINAL, *(f"{name} {e}" for name in (RANDOM, "advdm", AS_PUBLISHED) for e in (4, 8))]
MIMICRY = MimicrySettings(RepaintSettings(), ("a {}", "a boat"), 2, Sampling(2))
pytestmark = pytest.mark.usefixtures("workplace")


@pytest.fixture(autouse=True)
def pictures(workplace):
    """Two pictures in DIR, and prompts."""
    paint("DIR/a.png", seed=1), paint("DIR/b.jpg", seed=2)
    Path("prompts.txt").write_text("a painting in the style of {}\n\na boat in {}\n")


@pytest.fixture
def learning(monkeypatch):
    """The number of sides of each experiment that set out."""
    calls, whole = [], cells.measure
    monkeypatch.setattr(cells, "measure", lambda *given: calls.append(len(given[1])) or whole(*given))
    return calls


def labels(table):
    return [str(Side(row["copy"], int(row["epsilon"]), row["cleaner"])) for row in table.to_dict("records")]


def contents(folder):
    """Of every file in it and below."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_evaluate_from_files_to_tables_and_again(learning, capsys):
    assert run(f"{EVALUATE} --epsilons 4,8") == 0
    assert learning == [7, 7], "once for each picture, all sides together"
    made = contents("out")
    assert {path.name for path in made if "cells" not in path.parts} == {
        "evaluation.csv",
        "evaluation.md",
        "evaluation_subjects.csv",
    }
    text = Path("out/evaluation.md").read_text()
    assert capsys.readouterr() == (text, "")
    assert text.startswith("# Evaluation: 2 subjects, 1 seed, tiny\n\n| learned from |")
    assert json.loads(text.split("Settings: `")[1].split("`")[0])["attack"]["steps"] == 2
    sheets = [np.asarray(Image.open(path)) for path in Path("out").glob("cells/*/sheet.jpg")]
    assert len(sheets) == 2 and all(sheet.shape[1] > 5 * 64 and sheet.std() > 5 for sheet in sheets)

    rows, table = pd.read_csv("out/evaluation_subjects.csv"), pd.read_csv("out/evaluation.csv")
    assert list(rows["subject"].unique()) == ["a.png", "b.jpg"]
    assert labels(table) == SIDES
    assert {*COLUMNS} <= {*table.columns} and table["visibility"].notna().sum() == len(SIDES) - 1
    mean = rows.groupby(["copy", "epsilon"], sort=False)["distance"].mean()
    assert list(table["distance"]) == pytest.approx(list(mean))

    assert run(f"{EVALUATE} --epsilons 4,8") == 0
    assert len(learning) == 2, "a second run learns nothing"
    assert contents("out") == made


def test_a_run_that_stops_in_the_midst_goes_on(learning, monkeypatch):
    whole = cells.measure

    def interrupted(*given):
        if learning:
            raise KeyboardInterrupt
        return whole(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "measure", interrupted)
        assert run(f"{EVALUATE} {ONE_COPY}") == 130
    assert os.listdir("out") == ["cells"] and len(os.listdir("out/cells")) == 1, "the finished cell, and no other"
    assert run(f"{EVALUATE} {ONE_COPY}") == 0
    assert len(learning) == 2

    # Another seed for one picture alone, whose first cell is lost: only these two are made.
    Path("DIR/b.jpg").unlink()
    lost = next(Path("out").glob("cells/a.png-0-*"))
    before = contents(lost)
    shutil.rmtree(lost)
    assert run(f"{EVALUATE} {ONE_COPY} --seeds 2") == 0
    assert len(learning) == 4
    assert contents(lost) == before, "the same seed gives the same cell"


def test_a_folder_is_one_painter_and_what_was_written_is_none(learning, monkeypatch):
    paint("DIR/vincent/a.png", seed=1), paint("DIR/vincent/b.png", size=(70, 99), seed=2)
    monkeypatch.chdir("DIR")
    for _ in range(2):
        assert run(f"evaluate . -o out --steps 1 {ONE_COPY} {PAINT.replace('prompts.txt', '../prompts.txt')}") == 0
    assert len(learning) == 3
    assert set(pd.read_csv("out/evaluation_subjects.csv")["subject"]) == {"a.png", "b.jpg", "vincent"}


def test_sides_are_what_they_are_called(tiny, painting):
    experiment = Evaluation((8,), ("advdm", AS_PUBLISHED), 1, Settings(steps=2, step_size=4), MIMICRY)
    counted = []
    sides = experiment.sides([painting], 3, tiny, counted.append)
    assert list(sides) == [Side(ORIGINAL), Side(RANDOM, 8), Side("advdm", 8), Side(AS_PUBLISHED, 8)]
    for name, published in (("advdm", False), (AS_PUBLISHED, True)):
        expected = protect(painting, tiny, steps=2, step_size=4, seed=3, as_published=published)
        assert np.array_equal(sides[Side(name, 8)][0].levels, expected.levels)
    outcome = measure(tiny, sides, MIMICRY, counted.append)
    assert sum(counted) == experiment.ticks(1)
    assert list(outcome.rows) == list(outcome.pictures) == [Side(PROMPT_ONLY), *sides]
    for side, (copy,) in sides.items():
        row, seen = outcome.rows[side], compare(painting, copy)
        assert (row["max_change"], row["ssim"]) == (seen.max_change, seen.ssim)
        assert row["psnr"] == (seen.psnr if side.epsilon else None)
        assert row["noise_error"] == noise_error(copy, tiny)
        assert row["distance"] == outcome.finding.distance[str(side)]
    assert "noise_error" not in outcome.rows[Side(PROMPT_ONLY)]


def test_cleaners_clean_and_repeat(tiny, painting):
    done = {name: cleaned(painting, name, tiny).levels for name in CLEANERS}
    assert np.array_equal(done.pop("none"), painting.levels)
    assert done["JPEG and half size"].shape == (35, 45, 3)
    for name, levels in done.items():
        assert levels.dtype == np.uint8 and levels.std() > 1, name
        assert np.array_equal(cleaned(painting, name, tiny).levels, levels), name


def test_the_adaptive_cleaner_descends_and_keeps_its_bound(tiny, painting, monkeypatch):
    def gap(levels):
        pixels = robustness.seen_whole(levels, tiny)
        return (tiny.reconstruct(pixels) - pixels).square().mean()

    assert gap(robustness.consistent(painting.levels, tiny)) < gap(painting.levels)
    monkeypatch.setattr(robustness, "BOUND", 2 / 255)
    near = robustness.seen_whole(robustness.consistent(painting.levels, tiny), tiny)
    moved = near - robustness.seen_whole(painting.levels, tiny)
    assert moved.square().mean().sqrt() < 2.5 / 255


def test_the_adaptive_cleaner_runs_where_half_precision_overflows(painting):
    pipeline = tiny_pipeline().to(torch.float16)
    weight = pipeline.vae.encoder.conv_in.weight
    weight.data = (weight.float() * 3e4 / weight.float().abs().max()).half()
    cleaned = robustness.consistent(painting.levels, StableDiffusion(pipeline, "half"))
    assert cleaned.std() > 5, "no black picture"


@pytest.mark.parametrize(("options", "epsilon"), [("", 8), ("--strength subtle", 0)])
def test_robustness_from_files_to_tables(options, epsilon, learning, monkeypatch, capsys):
    few = {name: CLEANERS[name] for name in ("none", "autoencoder")}
    monkeypatch.setattr(robustness, "CLEANERS", few)
    paint("more/a.png", seed=3)
    assert run(f"robustness DIR/a.png more -o out --steps 2 {options} {PAINT}") == 0
    assert learning == [6, 6]
    table = pd.read_csv("out/robustness.csv")
    distance = table[table["copy"] == PROTECTED].set_index("cleaner")["distance"]
    best, other = sorted(few, key=distance.get)
    copies = (Side(ORIGINAL), Side(RANDOM, epsilon), Side(PROTECTED, epsilon))
    ways = [str(replace(copy, cleaner=way)) for way in (best, other) for copy in copies]
    assert labels(table) == [PROMPT_ONLY, *ways], "the imitator's best way comes first"
    named = "the copy as it is" if best == "none" else best
    assert f"- The imitator does best with: {named}.\n" in capsys.readouterr().out
    assert set(pd.read_csv("out/robustness_subjects.csv")["subject"]) == {"a.png (1)", "a.png (2)"}
    assert Robustness(Settings(steps=2), MIMICRY).ticks(1) == 2 + 6 + ticks(MIMICRY, 6)


def test_the_control_of_a_strength_is_noise_of_the_epsilon_that_it_chose(tiny, monkeypatch):
    monkeypatch.setattr(robustness, "CLEANERS", {"none": ()})
    original, strength = read_painting(paint("DIR/a.png")), "subtle"
    sides = Robustness(Settings(steps=2), MIMICRY, strength).sides([original], 0, tiny, print)
    (attack,) = protection_steps(original, tiny, Settings(steps=1), strength=strength)
    assert compare(original, sides[Side(RANDOM)][0]).max_change == attack.settings.epsilon != Settings.epsilon


def test_another_sampler_or_weight_is_another_model(tiny):
    other, heavier = tiny_pipeline(), tiny_pipeline()
    other.scheduler = type(other.scheduler).from_config(other.scheduler.config, beta_end=0.02)
    heavier.text_encoder.get_input_embeddings().weight.data[0, 0] += 1
    models = [tiny, *(StableDiffusion(one, "tiny") for one in (tiny_pipeline(), other, heavier))]
    first, again, *others = map(cells.fingerprint, models)
    assert first == again and len({first, *others}) == 3


def test_a_cell_that_another_run_made_meanwhile_is_kept(tmp_path):
    target = tmp_path / "cells" / "a-0"
    with cells.new_folder(target) as folder:
        (folder / "cell.json").write_text("mine")
        target.mkdir()
        (target / "cell.json").write_text("theirs")
    assert contents(tmp_path / "cells") == {target / "cell.json": b"theirs"}


def test_each_cell_is_of_one_process_also_where_there_are_more_processes_than_cells(monkeypatch):
    made = []
    monkeypatch.setattr(cells.Cell, "finished", False)  # still, when each process looks
    monkeypatch.setattr(cells, "make_cell", lambda cell, *_: made.append(cell.folder))
    state = SimpleNamespace(num_processes=3, is_main_process=False, wait_for_everyone=lambda: None)
    monkeypatch.setattr("advdm.commands.terminal.processes", lambda device: state)
    for state.process_index in range(3):
        assert run(EVALUATE) == 0
    assert len(made) == len(set(made)) == 2


BOTH = """
import sys
from advdm import cli
sys.exit([cli.main(line.split()) for line in sys.argv[1:]] != [2, 0])
"""


def test_two_processes_share_the_work():
    """As `accelerate launch` starts them, on two CPU processes; one of the paintings is bad."""
    for number in range(3):
        paint(f"shed/{number}.png", seed=number)
    Path("shed/bad.png").write_text("no picture")
    lines = ["protect shed -o copies --steps 1 --report r.json", f"{EVALUATE} {ONE_COPY}"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ADVDM_DEVICE": "cpu"}
    running = [start("-c", BOTH, *lines, **shared, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    said = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum(out.count("| learned from |") for out, _ in said) == 1, "only the first writes the tables"
    assert all(out.count("largest change") for out, _ in said), "each protects some"
    assert sum(err.count("bad.png ") for _, err in said) == 1
    reports = json.loads(Path("r.json").read_text())
    assert [one["painting"] for one in reports] == ["0.png", "1.png", "2.png", "bad.png"]
    copies, tables = contents("copies"), contents("out")
    shutil.rmtree("copies"), shutil.rmtree("out")
    assert [run(line) for line in lines] == [2, 0]
    assert contents("copies") == copies and contents("out") == tables, "the bytes that one process writes"
